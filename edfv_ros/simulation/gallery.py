"""Pictures of ten scenes, their sweeps, depth and events: python -m edfv_ros.simulation.gallery --out docs/scenes."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from edfv_ros.errors import EdfvError, OutputError
from edfv_ros.rig import load_rig
from edfv_ros.share import config_file
from edfv_ros.simulation.lens_plan import plan_sweeps
from edfv_ros.simulation.motion import MOTIONS
from edfv_ros.simulation.preview import sweep_strip
from edfv_ros.simulation.scenes import make_scene
from edfv_ros.simulation.settings import SimulationSettings
from edfv_ros.simulation.virtual_rig import VirtualRig

SHOWN = (
    ("tabletop", 7, "still"),
    ("shelf", 3, "still"),
    ("room", 1, "handheld"),
    ("corridor", 2, "robot"),
    ("clutter", 5, "still"),
    ("slants", 4, "still"),
    ("wires", 2, "still"),
    ("plants", 3, "handheld"),
    ("print", 6, "still"),
    ("gloss", 2, "still"),
)
"""Kind, seed and camera motion of each."""

_COLUMNS = 3
_JPEG_QUALITY = 65


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the scenes of :data:`SHOWN`; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m edfv_ros.simulation.gallery", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures, one .jpg each")
    folder = parser.parse_args(arguments).out
    try:
        rig = load_rig(config_file("rig.yaml"))
        folder.mkdir(parents=True, exist_ok=True)
        for kind, seed, motion in SHOWN:
            settings = SimulationSettings(motion=MOTIONS[motion])
            plan = plan_sweeps(rig, settings.lens_response, sweeps=1, seed=seed)
            virtual = VirtualRig.of_scene(rig, make_scene(kind, seed, rig), settings, plan=plan, seed=seed)
            strip = sweep_strip(virtual, plan, columns=_COLUMNS)
            path = folder / f"{kind}.jpg"
            if not cv2.imwrite(str(path), strip, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
                raise OutputError(f"{path}: cannot write this picture")
            print(path)
    except OSError as error:
        print(f"{folder}: cannot draw into this folder: {error.strerror}", file=sys.stderr)
        return 2
    except EdfvError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
