"""A share of the million inputs of lens_fuzz.py, and that it would notice."""

import time

import lens_fuzz
import pytest
from lens_fuzz import FunctionTarget, Hang, ParserTarget

from edfv_ros.lens.protocols.lines import take_line


def test_a_share_of_the_million_inputs_does_no_harm() -> None:
    assert set(lens_fuzz.run(100_000).values()) == {10_000}


def test_another_seed_is_other_inputs_and_the_same_one_the_same() -> None:
    def seen(seed: int) -> list[bytes]:
        chunks: list[bytes] = []
        recorder = FunctionTarget("recorder", [b"frame"], chunks.append, lambda frame: frame)
        lens_fuzz.run(50, seed, [recorder])
        return chunks

    assert seen(1) == seen(1) != seen(2)


def test_what_raises_hangs_or_grows_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(received: bytearray) -> None:
        if b"\xff" in received:
            raise IndexError("an index")

    def hangs(received: bytearray) -> None:
        while b"\xff" in received:
            time.process_time()

    def endless(received: bytearray) -> bytes:
        return b""

    monkeypatch.setattr(lens_fuzz, "_CPU_S_PER_BATCH", 0.2)
    for take, found in (
        (raises, "IndexError"),
        (hangs, "did not end"),
        (endless, "more messages"),
        (lambda received: None, "bytes are kept"),
    ):
        with pytest.raises(AssertionError, match=rf"broken, seed 3, input \d+ of it: [0-9a-f -]+: .*{found}"):
            lens_fuzz.run(5_000, 3, [ParserTarget("broken", [b"fr\xffame"], take)])
    deaf = ParserTarget("deaf", [b"OK\n"], take_line, good=(b"OK\n", "NO"))
    with pytest.raises(AssertionError, match="was understood, not NO"):
        lens_fuzz.run(1, 3, [deaf])
    assert issubclass(Hang, AssertionError)
