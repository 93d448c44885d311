"""Times of things beside one another, on a machine that does other things, too."""

import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Work = Callable[[], object]


def least_seconds(works: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """Least processor time of this thread that each of ``works`` took, in seconds, over ``rounds`` in turn.

    They take turns, so that a busy spell hits all of them; what the thread waits for a processor does not count. One
    round before the first is for compiling and for caches.
    """
    seconds = dict.fromkeys(works, float("inf"))
    enabled = gc.isenabled()
    gc.disable()
    try:
        for round_number in range(rounds + 1):
            for name, work in works.items():
                begin = time.thread_time()
                work()
                if round_number:
                    seconds[name] = min(seconds[name], time.thread_time() - begin)
    finally:
        if enabled:
            gc.enable()
    return seconds


def processor_seconds(process_id: int) -> float:
    """Processor time that all threads of a process have used so far."""
    tasks = Path(f"/proc/{process_id}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) * 1e-9


def resident_mib(process_id: int) -> float:
    """Memory that a process holds at present."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024.0 for line in lines if line.startswith("VmRSS:"))
