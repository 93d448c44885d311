"""The --sweeps option."""

import pytest

from edfv_ros.errors import EdfvError
from edfv_ros.sweep_range import SweepRange


@pytest.mark.parametrize(
    ("text", "expected"), [("3", [0, 1, 2]), ("2:5", [2, 3, 4]), ("7:", [7, 8, 9]), (":2", [0, 1]), (" 1 ", [0])]
)
def test_ranges(text: str, expected: list[int]) -> None:
    wanted = SweepRange.parse(text)
    assert [index for index in range(10) if index in wanted] == expected
    assert wanted.is_past(9) == (expected[-1] != 9)


@pytest.mark.parametrize("text", ["", " ", "x", "-1", "1.5", "3:2", "2:2", "0", "1:2:3", "1-3", "9" * 30])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(EdfvError, match="--sweeps") as caught:
        SweepRange.parse(text)
    assert "\n" not in str(caught.value)


def test_range_against_the_recording() -> None:
    SweepRange.parse("2:4").check(4)
    SweepRange().check(1)
    with pytest.raises(EdfvError, match=r"sweep 4, but the recording has 4 sweeps, 0 to 3"):
        SweepRange.parse("2:5").check(4)
    with pytest.raises(EdfvError, match=r"sweep 2, but the recording has 1 sweep"):
        SweepRange.parse("2:").check(1)
    with pytest.raises(EdfvError, match=r"has no sweep"):
        SweepRange.parse("1").check(0)
