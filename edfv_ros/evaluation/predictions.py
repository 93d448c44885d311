"""What passes between the comparison and the methods that it compares."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import EdfvError
from edfv_ros.evaluation.held_out_items import HeldOutItem
from edfv_ros.rig import Rig
from edfv_ros.volume import SweepSnapshot


class Unavailable(EdfvError):
    """A recording lacks what a method looks at; the message says what, in a word or two."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A recording that methods are compared on.

    Attributes:
        folder: where it lies.
        rig: that recorded it.
        streams: of its events file, as in :class:`~edfv_ros.events.SourceInfo`.
        item: its description, if it is one of the held-out set.
        moves: whether camera or scene move, so that each sweep has a depth of its own.
    """

    folder: Path
    rig: Rig
    streams: tuple[str, ...]
    item: HeldOutItem | None
    moves: bool

    @property
    def kind(self) -> str:
        """Kind of scene, ``-`` where nobody says."""
        return self.item.kind if self.item is not None else "-"


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a method says of a sweep; both float32 [H, W].

    Attributes:
        vergence_dpt: inverse depth, NaN where unknown.
        sigma_dpt: its standard deviation, NaN where unknown; all NaN of a method that tells none.
    """

    vergence_dpt: NDArray[np.float32]
    sigma_dpt: NDArray[np.float32]


Predict = Callable[[SweepSnapshot], Prediction]
"""Depth for the latest sweep of a snapshot, which stays the caller's."""
