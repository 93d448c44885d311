"""What a benchmark says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: of what was measured.
        value: the number.
        unit: of it.
        ratio: the time over that of the group's reference, or the rate over its rate, measured in between: what is
            left of a change of the number when the machine is busy. None for what is neither.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that belong together.

    Attributes:
        name: short, as on the command line.
        title: what was measured.
        reference: what the ratios are relative to.
        rows: in the order to be shown.
    """

    name: str
    title: str
    reference: str
    rows: tuple[Row, ...]
