"""How a network is trained, and what a run is claimed by."""

import math
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import make_folder, replace_atomically
from edfv_ros.training.edpn.network import WIDTHS
from edfv_ros.yaml_model import NotNegative, Part, Positive, first_problem

SETTINGS_NAME = "training.json"


class TrainingSettings(Part):
    """How a network is trained; ``training.json`` of a run.

    Attributes:
        steps: in all; the learning rate falls to nothing towards the last one (a cosine).
        batch: examples of a step.
        rate: largest learning rate, reached after ``warm_up`` steps.
        warm_up: steps of a rising learning rate.
        weight_decay: of AdamW.
        seed: of weights and draws.
        widths: channels of the network at each scale, even where they begin.
        validate_every: steps between validations, and between checkpoints.
    """

    steps: Annotated[int, Field(ge=1)] = 20_000
    batch: Annotated[int, Field(ge=1)] = 16
    rate: Positive = 2e-3
    warm_up: Annotated[int, Field(ge=0)] = 200
    weight_decay: NotNegative = 0.01
    seed: Annotated[int, Field(ge=0)] = 0
    widths: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=2, strict=False)] = WIDTHS
    validate_every: Annotated[int, Field(ge=1)] = 500

    def rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        part = (step - self.warm_up) / max(self.steps - self.warm_up, 1)
        return 0.5 * self.rate * (1.0 + math.cos(math.pi * min(part, 1.0)))


def load_settings(folder: Path) -> TrainingSettings | None:
    """The settings of the run in a folder, None where there is none.

    Raises:
        EdfvError: they are damaged.
    """
    path = folder / SETTINGS_NAME
    try:
        return TrainingSettings.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise EdfvError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as problem:
        raise EdfvError(f"{path}: {first_problem(problem, TrainingSettings)}: use another folder") from None


def claim(folder: Path, settings: TrainingSettings) -> None:
    """Make a folder that of a run with these settings, or make sure that it is.

    Raises:
        EdfvError: it is that of a run with other settings, or with more steps.
        OutputError: it cannot be written.
    """
    make_folder(folder)
    present = load_settings(folder)
    if present == settings:
        return
    for name in TrainingSettings.model_fields if present is not None else ():
        was, is_now = getattr(present, name), getattr(settings, name)
        if was == is_now or (name == "steps" and was < is_now):
            continue
        remedy = f"give {was} or more" if name == "steps" else "use another folder"
        raise EdfvError(f"{folder}: holds a run with {name} = {was}, not {is_now}: {remedy}")
    path = folder / SETTINGS_NAME
    with replace_atomically(path) as temporary:
        temporary.write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
