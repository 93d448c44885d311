"""What can be wrong with a lens at the end of a serial line. Each asks for something else of the user."""

from edfv_ros.errors import LensError


class LensGone(LensError):
    """The port is not there, cannot be had, or went away: nothing can be said about the lens."""


class LensSilent(LensError):
    """The port is there and nobody answers."""


class WrongAnswer(LensError):
    """Somebody answers, but not as this kind of lens does: another device, a wrong speed, a damaged frame."""


class LensRefused(LensError):
    """The lens understood and says no."""
