"""What a user may set of a live camera, and how it is written into the address of a source."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from edfv_ros.errors import SourceError
from edfv_ros.events.dv_errors import first_line

SCHEME: Final = "camera:"
MAX_EXPOSURE_US: Final = 1_000_000

_THRESHOLDS: Final = ("ContrastThresholdOn", "ContrastThresholdOff")
_BIAS: Final = re.compile(r"(\w+)=(\d+)(?:/(\d+))?")
_MAX_COARSE, _MAX_FINE = 7, 255  # 3 and 8 bits
_HOW: Final = "write NAME=COARSE/FINE for a DAVIS346, as in 'On=4/34 Off=4/1', or ContrastThresholdOn=N for a DVXplorer"


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """One camera and how it is set; written ``camera:SERIAL?exposure_us=8000&biases=On%3D4/34``.

    Attributes:
        serial: empty for the first camera found.
        exposure_us: of frames; 0 leaves it to the camera.
        biases: of the event pixels, ``NAME=COARSE/FINE`` (DAVIS346; the names are those of dv-processing's
            ``Davis346BiasCF``) or ``ContrastThresholdOn=N`` and ``ContrastThresholdOff=N`` (DVXplorer), separated by
            spaces; empty leaves all to the camera.
    """

    serial: str = ""
    exposure_us: int = 0
    biases: str = ""

    @property
    def uri(self) -> str:
        given = {"exposure_us": str(self.exposure_us) if self.exposure_us else "", "biases": self.biases}
        query = urlencode({name: value for name, value in given.items() if value})
        return f"{SCHEME}{self.serial}" + (f"?{query}" if query else "")

    @classmethod
    def from_uri(cls, uri: str) -> "CameraSettings":
        """Read an address that begins with ``camera:``.

        Raises:
            SourceError: it sets something that there is not, or to what cannot be.
        """
        serial, _, query = uri.removeprefix(SCHEME).partition("?")
        values = dict(parse_qsl(query, keep_blank_values=True))
        unknown = sorted(values.keys() - {"exposure_us", "biases"})
        if unknown:
            raise SourceError(f"{uri}: a camera has no setting {unknown[0]}: there are exposure_us and biases")
        exposure = values.get("exposure_us", "0")
        if not exposure.isdecimal() or int(exposure) > MAX_EXPOSURE_US:
            raise SourceError(f"{uri}: exposure_us is {exposure}: allowed is 0 to {MAX_EXPOSURE_US}")
        settings = cls(serial, int(exposure), values.get("biases", ""))
        parse_biases(settings.biases)
        return settings

    def apply_to(self, camera: Any) -> None:
        """Set an open camera.

        Args:
            camera: of dv-processing.

        Raises:
            SourceError: it has no such setting, or refuses the value.
        """
        if self.exposure_us:
            _set(camera, "setAutoExposure", f"exposure_us = {self.exposure_us}", False)
            _set(
                camera,
                "setExposureDuration",
                f"exposure_us = {self.exposure_us}",
                timedelta(microseconds=self.exposure_us),
            )
        for name, values in parse_biases(self.biases).items():
            what = f"bias {name} = {'/'.join(map(str, values))}"
            if len(values) == 1:
                _set(camera, f"set{name}", what, *values)
                continue
            bias = getattr(getattr(camera, "Davis346BiasCF", None), name, None)
            if bias is None:
                raise SourceError(f"{what}: this camera has no such bias; {_HOW}")
            _set(camera, "setDavis346BiasCoarseFine", what, bias, *values)


def parse_biases(text: str) -> dict[str, tuple[int, ...]]:
    """Values by name: coarse and fine of a bias, or one of a threshold.

    Raises:
        SourceError: something is no bias, out of range or there twice.
    """
    biases: dict[str, tuple[int, ...]] = {}
    for word in text.split():
        match = _BIAS.fullmatch(word)
        if match is None:
            raise SourceError(f"bias {word}: {_HOW}")
        name, first, fine = match.groups()
        if (fine is None) != (name in _THRESHOLDS):
            raise SourceError(f"bias {word}: {_HOW}")
        if fine is not None and not (int(first) <= _MAX_COARSE and int(fine) <= _MAX_FINE):
            raise SourceError(f"bias {word}: allowed is 0/0 to {_MAX_COARSE}/{_MAX_FINE}")
        if name in biases:
            raise SourceError(f"bias {word}: {name} is given twice")
        biases[name] = (int(first),) if fine is None else (int(first), int(fine))
    return biases


def _set(camera: Any, setter: str, what: str, *values: Any) -> None:
    call: Callable[..., None] | None = getattr(camera, setter, None)
    if call is None:
        raise SourceError(f"{what}: this camera has no such setting; leave it out")
    try:
        call(*values)
    except (RuntimeError, ValueError, TypeError) as error:
        raise SourceError(f"{what}: the camera refuses it: {first_line(error)}") from None
