"""Networks that can be trained, known without loading torch."""

from typing import Literal

NetworkName = Literal["edpn", "published", "event_stack"]
"""Ours; and, only to be compared with it, the published architecture and a U-Net on a stack of five bins."""
