"""Equal steps of vergence: the focus axis of the volume."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class VergenceBins:
    """``count`` equal bins from ``min_dpt`` (farthest focus) to ``max_dpt`` (nearest focus)."""

    min_dpt: float
    max_dpt: float
    count: int

    @property
    def width_dpt(self) -> float:
        return (self.max_dpt - self.min_dpt) / self.count

    @cached_property
    def edges_dpt(self) -> NDArray[np.float64]:
        """Bin edges, ascending, shape [count + 1]."""
        return np.linspace(self.min_dpt, self.max_dpt, self.count + 1)

    @cached_property
    def centres_dpt(self) -> NDArray[np.float64]:
        """Bin centres, ascending, shape [count]."""
        return (self.edges_dpt[1:] + self.edges_dpt[:-1]) / 2.0

    def position(self, vergence_dpt: ArrayLike) -> NDArray[np.float64]:
        """Fractional bin position: 0 at the centre of the first bin, ``count - 1`` at the centre of the last."""
        return (np.asarray(vergence_dpt, float) - self.min_dpt) / self.width_dpt - 0.5

    def vergence_dpt(self, position: ArrayLike) -> NDArray[np.float64]:
        """Inverse of :meth:`position`."""
        return self.min_dpt + (np.asarray(position, float) + 0.5) * self.width_dpt
