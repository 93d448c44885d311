"""The errors a user can act on."""


class EdfvError(Exception):
    """A problem its reader can fix.

    The message is one line that names the thing, its value and what to do. The command line prints it and
    exits with code 2; the node reports it as a diagnostic. Anything else that is raised is a bug.
    """

    def __init__(self, message: str) -> None:
        # names and values that come from files may hold line breaks
        super().__init__(" ".join(message.splitlines()))


class RigError(EdfvError):
    """The rig file is missing, unreadable or describes an impossible rig."""


class SourceError(EdfvError):
    """Events cannot be had: no camera, no such file, a damaged file, no network stream."""


class LensError(EdfvError):
    """The lens, its track or its synchronisation with the events is missing or contradicts itself."""


class OutputError(EdfvError):
    """A result cannot be written where it was asked for."""


class SimulationError(EdfvError):
    """A scene, sensor or lens that cannot be simulated was asked for."""
