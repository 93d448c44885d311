"""How fast lenses are, as far as documents and the rig file say."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from edfv_ros.rig import Rig

_SETTLED = 3.0  # time constants, exp(-3) = 5 %


@dataclass(frozen=True, slots=True)
class LensResponse:
    """What limits a sweep. A number that no document gives is None and limits nothing.

    Attributes:
        source: where the numbers come from, a few words for messages.
        settle_s: time to settle after a step.
        resonance_hz: lowest resonance.
        max_rate_dpt_per_s: highest vergence rate of a lens that moves at a limited speed.
        practical_hz: frequency up to which full-range sweeps are held practical.
    """

    source: str
    settle_s: float | None = None
    resonance_hz: float | None = None
    max_rate_dpt_per_s: float | None = None
    practical_hz: float | None = None

    @property
    def damping(self) -> float | None:
        """Damping ratio of the resonator that settles to 5 % in ``settle_s``: 3 / (2 pi resonance_hz settle_s)."""
        if self.settle_s is None or self.resonance_hz is None:
            return None
        return _SETTLED / (2.0 * math.pi * self.resonance_hz * self.settle_s)


EL_10_30 = LensResponse("EL-10-30 data sheet", settle_s=0.015, resonance_hz=150.0, practical_hz=50.0)
EL_16_40 = LensResponse("EL-16-40-TC data sheet", settle_s=0.025, resonance_hz=52.0, practical_hz=50.0)

RESPONSES: Mapping[str, LensResponse] = MappingProxyType(
    {
        "virtual": LensResponse("the virtual lens's protocol", practical_hz=100.0),
        # Both controllers drive either lens and do not say which: the slower one decides.
        "optotune_ld4": EL_16_40,
        "optotune_icc": EL_16_40,
        "scf4": LensResponse("the motor"),
        "varioptic_usbm": LensResponse("no document at hand"),
        "edfv": LensResponse("the firmware's limits", practical_hz=100.0),
    }
)
"""Response by driver.

EL-10-30: a transient of 15 ms and a first resonance near 150 Hz, so a damping of 0.21. EL-16-40-TC: a response (10 to
90 %) of 5 ms, settled within 25 ms, which a single resonator does at 52 Hz with a damping of 0.37. Full-range sweeps of
20 to 50 Hz are held practical with either.
"""


def response_of(rig: Rig) -> LensResponse:
    """That of the rig's driver; resonance and settling are those of ``lens.response`` where the rig file has it."""
    known, told = RESPONSES[rig.lens.driver], rig.lens.response
    if told is None:
        return known
    settle_s = _SETTLED / (2.0 * math.pi * told.resonance_hz * told.damping)
    return replace(known, source="lens.response in the rig file", settle_s=settle_s, resonance_hz=told.resonance_hz)
