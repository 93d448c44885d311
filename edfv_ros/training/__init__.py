"""Preparing and training networks: offline work, never imported by the runtime."""
