"""What is said of each point of a cloud."""

from typing import Final

CLOUD_FIELDS: Final = ("x", "y", "z", "intensity", "confidence", "uncertainty")
"""Metres in the optical frame; grey value or events; 0 to 1; standard deviation of z in metres."""
