"""How a network is trained, and what a run is claimed by."""

import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import make_folder, replace_atomically
from edfv_ros.training.network_names import NetworkName
from edfv_ros.training.networks import NETWORKS
from edfv_ros.yaml_model import NotNegative, Part, Positive, first_problem

SETTINGS_NAME = "training.json"

_WARM_UP_TIME = 0.05
"""Share of a limited time after which the learning rate rises no more, however few steps were done."""

_GROWING = ("steps", "minutes")


class TrainingSettings(Part):
    """How a network is trained; ``training.json`` of a run.

    Attributes:
        network: of :data:`~edfv_ros.training.networks.NETWORKS`; what is left out of ``rate``, ``weight_decay`` and
            ``widths`` is as usual for it.
        steps: at most; the learning rate falls to nothing towards the last one (a cosine).
        minutes: of training at most, without validations; None for no limit. The learning rate follows the larger of
            the parts of steps and of time that are done.
        batch: examples of a step.
        rate: largest learning rate, reached after ``warm_up`` steps.
        warm_up: steps of a rising learning rate.
        weight_decay: of AdamW.
        seed: of weights and draws.
        widths: channels of the network at each scale, even where they begin; none where the architecture fixes them.
        validate_every: steps between validations, and between checkpoints.
    """

    network: NetworkName = "edpn"
    steps: Annotated[int, Field(ge=1)] = 20_000
    minutes: Positive | None = None
    batch: Annotated[int, Field(ge=1)] = 16
    rate: Positive
    warm_up: Annotated[int, Field(ge=0)] = 200
    weight_decay: NotNegative
    seed: Annotated[int, Field(ge=0)] = 0
    widths: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False)]
    validate_every: Annotated[int, Field(ge=1)] = 500

    @model_validator(mode="before")
    @classmethod
    def _as_usual(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        known = [kind for name, kind in NETWORKS.items() if name == values.get("network")]
        return {**(known or [NETWORKS["edpn"]])[0].usual, **values}

    @model_validator(mode="after")
    def _known_widths(self) -> "TrainingSettings":
        if not NETWORKS[self.network].usual["widths"]:
            if self.widths:
                raise ValueError(f"widths: the network {self.network} has its own: leave them out")
        elif len(self.widths) < 2:
            raise ValueError("widths: a network has two scales or more")
        return self

    def rate_at(self, step: int, hours: float = 0.0) -> float:
        """Learning rate of a step.

        Args:
            step: steps done before it.
            hours: of training before it.
        """
        time = self._time_part(hours)
        part = max((step - self.warm_up) / max(self.steps - self.warm_up, 1), time, 0.0)
        rate = 0.5 * self.rate * (1.0 + math.cos(math.pi * min(part, 1.0)))
        if step >= self.warm_up or time >= _WARM_UP_TIME:
            return rate
        return max(rate * (step + 1) / self.warm_up, rate * time / _WARM_UP_TIME)

    def is_over(self, step: int, hours: float) -> bool:
        """Whether the steps or the time are done.

        Args:
            step: steps done.
            hours: of training.
        """
        return step >= self.steps or self._time_part(hours) >= 1.0

    def _time_part(self, hours: float) -> float:
        return 60.0 * hours / self.minutes if self.minutes is not None else 0.0


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
        EdfvError: it is that of a run with other settings, or with more steps or more time.
        OutputError: it cannot be written.
    """
    make_folder(folder)
    present = load_settings(folder)
    if present == settings:
        return
    for name in TrainingSettings.model_fields if present is not None else ():
        was, is_now = getattr(present, name), getattr(settings, name)
        if was == is_now or (name in _GROWING and was is not None and (is_now is None or was < is_now)):
            continue
        remedy = f"give {was} or more" if name in _GROWING and was is not None else "use another folder"
        raise EdfvError(f"{folder}: holds a run with {name} = {was}, not {is_now}: {remedy}")
    path = folder / SETTINGS_NAME
    with replace_atomically(path) as temporary:
        temporary.write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
