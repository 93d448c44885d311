"""An ONNX file, ready to run on the best hardware there is."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edfv_ros.errors import SourceError

if TYPE_CHECKING:
    import onnxruntime

PROVIDERS = ("CUDAExecutionProvider", "OpenVINOExecutionProvider", "CPUExecutionProvider")
"""Best first. TensorRT is not among them: it builds an engine for minutes before the first run of each input size, and
the engines that it may keep fit one GPU, driver and version only."""

_ERRORS_ONLY = 3  # severity, so that the runtime's warnings do not mix with ours
_BLOCK_BYTES = 1 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenedNetwork:
    """A network that runs: its file's name, its precision, and the execution provider of ONNX Runtime that has it."""

    name: str
    precision: str
    provider: str


_noted: ContextVar[list[OpenedNetwork] | None] = ContextVar("_noted", default=None)


@contextmanager
def opened_networks() -> Iterator[list[OpenedNetwork]]:
    """Note the networks that this thread opens within, whoever needs them: the list grows with each."""
    networks: list[OpenedNetwork] = []
    token = _noted.set(networks)
    try:
        yield networks
    finally:
        _noted.reset(token)


def open_session(path: Path, *, threads: int, sha256: str = "") -> "onnxruntime.InferenceSession":
    """Load a network on the first of :data:`PROVIDERS` that works here, and log which one that is, and the precision.

    Args:
        path: the ONNX file.
        threads: threads of one operator on the CPU; they sleep between runs, as other work shares the cores.
        sha256: what the file's bytes must hash to; empty to take any.

    Raises:
        SourceError: there is no such file, it is another one, or ONNX Runtime is missing or cannot load it.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such ONNX file")
    if sha256 and (found := file_sha256(path)) != sha256.lower():
        raise SourceError(f"{path}: its sha256 is {found}, not {sha256.lower()}: get the right file or change the key")
    try:
        import onnxruntime  # here, because it takes its time to load and few need it
    except (ImportError, OSError) as error:
        raise SourceError(f"{path}: ONNX Runtime does not load ({error}): pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")  # at the end of each run
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers_here())
    except Exception as error:  # the runtime's exceptions have no common class
        raise SourceError(f"{path}: ONNX Runtime cannot load it: {error}") from None
    # A file that does not tell its precision is in that of its inputs, as converters leave it.
    told = session.get_modelmeta().custom_metadata_map.get("precision")
    precision = told or session.get_inputs()[0].type.removeprefix("tensor(").removesuffix(")")
    provider = session.get_providers()[0].removesuffix("ExecutionProvider")
    on = f"{provider} ({threads} threads)" if provider == "CPU" else provider
    logger.info("%s, %s, runs on ONNX Runtime %s, %s", path.name, precision, onnxruntime.__version__, on)
    noted = _noted.get()
    if noted is not None:
        noted.append(OpenedNetwork(path.name, precision, provider))
    return session


def providers_here() -> list[str]:
    """Those of :data:`PROVIDERS` that the installed ONNX Runtime has, best first.

    Raises:
        ImportError, OSError: it is not installed, or does not load.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    return [name for name in PROVIDERS if name in available]


def file_sha256(path: Path) -> str:
    """Hash a file, in hexadecimal digits.

    Raises:
        SourceError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()
