"""Thin-lens algebra and vergence bins, all in dioptres (1/m) unless a name says otherwise."""

from edfv_ros.optics.bins import VergenceBins
from edfv_ros.optics.thin_lens import ThinLens

__all__ = ["ThinLens", "VergenceBins"]
