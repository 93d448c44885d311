"""The lens head on an Optotune Lens Driver 4: current and temperature to focal power."""

from dataclasses import dataclass

_REFERENCE_C = 25.0


@dataclass(frozen=True, slots=True)
class LensHead:
    """Focal power in proportion to the current, and to the temperature.

    Attributes:
        low_ma: lowest current.
        high_ma: highest current.
        low_dpt: focal power at the lowest current and 25 degrees.
        high_dpt: at the highest.
        dpt_per_c: what warmth adds.
    """

    low_ma: float
    high_ma: float
    low_dpt: float
    high_dpt: float
    dpt_per_c: float

    @property
    def dpt_per_ma(self) -> float:
        return (self.high_dpt - self.low_dpt) / (self.high_ma - self.low_ma)

    def focal_power_dpt(self, current_ma: float, temperature_c: float = _REFERENCE_C) -> float:
        """Focal power at a current."""
        cold = self.low_dpt + (current_ma - self.low_ma) * self.dpt_per_ma
        return cold + self.dpt_per_c * (temperature_c - _REFERENCE_C)

    def current_ma(self, focal_power_dpt: float, temperature_c: float = _REFERENCE_C) -> float:
        """Inverse of :meth:`focal_power_dpt`, not limited."""
        cold = focal_power_dpt - self.dpt_per_c * (temperature_c - _REFERENCE_C)
        return self.low_ma + (cold - self.low_dpt) / self.dpt_per_ma

    def reachable_dpt(self, low_c: float, high_c: float, low_ma: float, high_ma: float) -> tuple[float, float]:
        """Focal powers that currents between two limits reach at all temperatures between two limits."""
        lowest = max(self.focal_power_dpt(low_ma, t) for t in (low_c, high_c))
        highest = min(self.focal_power_dpt(high_ma, t) for t in (low_c, high_c))
        return lowest, highest
