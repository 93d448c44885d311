"""Which lens controllers are at which serial ports.

A port is asked one question after another, each in the language of one controller, in an order in which none takes harm
from the questions before its own. It is not without effect: ``Start`` sets the current of an Optotune Lens Driver 4 to
0, so that its lens moves, and opening the port resets most Arduino boards.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edfv_ros.errors import LensError
from edfv_ros.lens.drivers import edfv, optotune_icc, optotune_ld4, scf4, varioptic_usbm, virtual
from edfv_ros.lens.faults import LensRefused, LensSilent, WrongAnswer
from edfv_ros.lens.serial_port import SerialPort

REPLY_TIMEOUT_S = 0.3
EFFECT = "looking for lenses sets the current of an Optotune Lens Driver 4 to 0 and resets Arduino boards"


@dataclass(frozen=True, slots=True)
class Question:
    """How to ask for one kind of controller: its driver, the port's speed, and who asks."""

    driver: str
    baud: int
    device: str
    ask: Callable[[SerialPort], str]


QUESTIONS: tuple[Question, ...] = (
    Question("optotune_ld4", optotune_ld4.BAUD, optotune_ld4.DEVICE, optotune_ld4.identify_at),
    Question("optotune_icc", optotune_icc.BAUD, optotune_icc.DEVICE, optotune_icc.identify_at),
    Question("scf4", scf4.BAUD, scf4.DEVICE, scf4.identify_at),
    Question("virtual", virtual.BAUD, virtual.DEVICE, virtual.identify_at),
    Question("varioptic_usbm", varioptic_usbm.BAUD, varioptic_usbm.DEVICE, varioptic_usbm.identify_at),
    Question("edfv", edfv.BAUD, edfv.DEVICE, edfv.identify_at),
)
"""In the order in which they are asked. Ours comes last since it may have to wait for a board to start."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is at a port.

    Attributes:
        port: its device.
        description: what the system says of it.
        driver: name for ``lens.driver`` in the rig file; empty where no lens was found.
        finding: the lens's identity, or what is wrong, in words.
    """

    port: str
    description: str
    driver: str
    finding: str


def serial_ports() -> list[tuple[str, str]]:
    """Device and description of the serial ports that the system knows."""
    from serial.tools import list_ports

    return sorted((port.device, port.description or "") for port in list_ports.comports())


def look_at(
    port: str, description: str = "", *, drivers: Iterable[str] = (), timeout_s: float = REPLY_TIMEOUT_S
) -> Finding:
    """Find out which lens controller is at a port.

    Args:
        port: device, e.g. ``/dev/ttyACM0``.
        description: what the system says of it.
        drivers: ask only for these; all where it is empty.
        timeout_s: how long to wait for each answer.

    Returns:
        What was found: a lens; a port that cannot be had; silence; or something that answers as no lens does.
    """
    wanted = set(drivers)
    strange = ""
    for question in QUESTIONS:
        if wanted and question.driver not in wanted:
            continue
        line = SerialPort(port, question.baud, question.device, timeout_s=timeout_s)
        try:
            line.open()
            return Finding(port, description, question.driver, _ask(question, line))
        except (LensSilent, WrongAnswer, LensRefused) as error:
            strange = strange or ("" if isinstance(error, LensSilent) else _without_port(error, port))
        except LensError as error:
            return Finding(port, description, "", _without_port(error, port))
        finally:
            line.close()
    if strange:
        return Finding(port, description, "", f"no lens that is known here: {strange}")
    return Finding(port, description, "", "silent: no lens, or one without power")


def _ask(question: Question, line: SerialPort) -> str:
    """Ask twice where the answer is strange: the questions before may lie unfinished in the device's input."""
    try:
        return question.ask(line)
    except (WrongAnswer, LensRefused):
        return question.ask(line)


def _without_port(error: LensError, port: str) -> str:
    return str(error).removeprefix(f"lens port {port}: ")
