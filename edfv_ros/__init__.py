"""Metric depth from an event camera whose lens sweeps focus."""

__version__ = "0.1.0"
