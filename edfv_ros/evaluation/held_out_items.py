"""What an item of the held-out test set is: where it lies, what it shows, and how it was drawn."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from edfv_ros import __version__
from edfv_ros.errors import SourceError
from edfv_ros.events.types import EVENTS_NAME
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.yaml_model import Part, first_problem

ITEM_NAME = "item.json"
STACK_NAME = "focal_stack.npy"
"""uint8 [sweeps, frames, H, W]: what a frame camera would have seen during each sweep."""


class StackFrames(Part):
    """How the frames of ``focal_stack.npy`` were taken.

    Attributes:
        exposure_us: exposure of each.
        vergence_dpt: mean focus during each, [sweeps][frames].
    """

    exposure_us: Annotated[int, Field(gt=0)]
    vergence_dpt: Annotated[tuple[Annotated[tuple[float, ...], Field(strict=False)], ...], Field(strict=False)]


class HeldOutItem(Part):
    """``item.json``, beside a sweep recording.

    Attributes:
        format: of this file.
        edfv_ros: version that made it; another one may draw other items from the same numbers.
        index: number in the set.
        seed: of scene, sensor and motion; its two lowest bits name the split ``test``
            (:func:`~edfv_ros.simulation.crops.setup_seed`).
        kind: of scene.
        motion: ``still`` or ``mild``.
        rig: name of the rig.
        supported: about what share of the pixels has events enough for depth (four in a 2 px neighbourhood).
        contrast: power of the scene's radiance.
        threshold_on, threshold_off: mean contrast thresholds of the pixels.
        focal_stack: of ``focal_stack.npy``.
    """

    format: Literal[1] = 1
    edfv_ros: str = __version__
    index: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0)]
    kind: str
    motion: Literal["still", "mild"]
    rig: str
    supported: float
    contrast: float
    threshold_on: float
    threshold_off: float
    focal_stack: StackFrames


def load_item(recording: Path) -> HeldOutItem | None:
    """The description beside a recording, or None where there is none.

    Raises:
        SourceError: it is damaged.
    """
    path = recording / ITEM_NAME
    try:
        return HeldOutItem.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as problem:
        raise SourceError(f"{path}: {first_problem(problem, HeldOutItem)}") from None


def save_item(item: HeldOutItem, recording: Path) -> None:
    """Write the description of a recording into its folder.

    Raises:
        OutputError: it cannot be written.
    """
    with replace_atomically(recording / ITEM_NAME) as temporary:
        temporary.write_text(json.dumps(item.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")


def find_recordings(paths: Sequence[Path]) -> list[Path]:
    """Sweep recordings: each path that is one, and for every other folder those in it, by name.

    Raises:
        SourceError: a path is no recording and holds none.
    """
    found: list[Path] = []
    for path in paths:
        try:
            inside = sorted(events.parent for events in path.glob(f"[!.]*/{EVENTS_NAME}"))
            is_one = path.is_file() or (path / EVENTS_NAME).exists()
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
        if not is_one and not inside:
            raise SourceError(f"{path}: no sweep recording, and none in it: make some with `edfv evaluate make`")
        found += [path] if is_one else inside
    return found
