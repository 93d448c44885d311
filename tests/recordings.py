"""Small sweep recordings made of random events, for tests that care about files and not about depth."""

from pathlib import Path

import numpy as np
import yaml

from edfv_ros.events import EVENT_DTYPE, TRIGGER_DTYPE, Aedat4Writer, SourceInfo, TriggerType
from edfv_ros.rig import Rig, load_rig

RIG_FILE = Path(__file__).parents[1] / "config" / "rig.yaml"
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
START_US = 1_700_000_000_000_000
SWEEP_US = 100_000


def small_rig(width_px: int = 64, height_px: int = 48, sync: str = "trigger") -> Rig:
    """The example rig with a small sensor."""
    data = load_rig(RIG_FILE).model_dump()
    data["camera"] |= {"width_px": width_px, "height_px": height_px}
    data["camera"]["intrinsics"] |= {"cx_px": width_px / 2 - 0.5, "cy_px": height_px / 2 - 0.5}
    data["sweep"]["sync"] = sync
    return Rig.model_validate(data)


def random_events(count: int, rig: Rig, duration_us: int, seed: int = 0) -> np.ndarray:
    """EVENT_DTYPE [count], ascending, uniform over the sensor and the time from START_US on."""
    random = np.random.default_rng(seed)
    events = np.zeros(count, EVENT_DTYPE)
    events["timestamp"] = START_US + np.sort(random.integers(0, duration_us, count))
    events["timestamp"][[0, -1]] = START_US, START_US + duration_us - 1
    events["x"] = random.integers(0, rig.camera.width_px, count)
    events["y"] = random.integers(0, rig.camera.height_px, count)
    events["polarity"] = random.integers(0, 2, count)
    return events


def write_rig(rig: Rig, path: Path) -> Path:
    path.write_text(yaml.safe_dump(rig.model_dump(mode="json", exclude_none=True)))
    return path


def write_small_recording(
    folder: Path, *, sweeps: int = 3, events: int = 30_000, lens: bool = True, triggers: bool = True, truth: bool = True
) -> Path:
    """Write a sweep recording that begins with an up-sweep."""
    folder.mkdir(parents=True)
    rig = small_rig()
    streams = ("events", "triggers") if triggers else ("events",)
    info = SourceInfo("TESTCAM_1", rig.camera.width_px, rig.camera.height_px, streams, live=False)
    turns_us = START_US + SWEEP_US * np.arange(sweeps + 1)
    with Aedat4Writer(folder / "recording.aedat4", info) as writer:
        if triggers:
            writer.write_triggers(np.array([(turn, TriggerType.RISING_EDGE) for turn in turns_us], TRIGGER_DTYPE))
        writer.write_events(random_events(events, rig, sweeps * SWEEP_US))
    if lens:
        rows = [f"{turn},{(0.3, 4.2)[index % 2]}" for index, turn in enumerate(turns_us)]
        (folder / "lens.csv").write_text("\n".join(["timestamp_us,vergence_dpt", *rows, ""]))
    if truth:
        np.save(folder / "depth_gt.npy", np.full((rig.camera.height_px, rig.camera.width_px), 0.8, np.float32))
    write_rig(rig, folder / "rig.yaml")
    return folder
