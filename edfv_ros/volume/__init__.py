"""The Event-based Differential Focus Volume: signed event counts per pixel and vergence bin."""

from edfv_ros.volume.ring import SweepSnapshot, SweepVolume, VolumeRing
from edfv_ros.volume.same import same_mask

__all__ = ["SweepSnapshot", "SweepVolume", "VolumeRing", "same_mask"]
