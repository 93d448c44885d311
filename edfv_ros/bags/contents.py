"""What lies in a bag beside the events: focus, rig, true depth."""

from pathlib import Path

from edfv_ros.bags.definitions import EVENT_PACKET, JOINT_STATE
from edfv_ros.bags.messages import read_focus_state
from edfv_ros.bags.records import BagFile, BagTopic
from edfv_ros.errors import LensError
from edfv_ros.lens.track import LensTrack


def read_attachment(path: Path, name: str) -> bytes | None:
    """The content of a file within a bag, None where there is none of that name.

    Raises:
        SourceError: the bag cannot be read.
    """
    with BagFile(path) as bag:
        return bag.attachment(name)


def read_lens_track(path: Path) -> LensTrack | None:
    """The focus in a bag, from its topic of sensor_msgs/JointState with a joint ``focus``; None where it has none.

    Raises:
        SourceError: the bag cannot be read.
        LensError: the focus in it is no track, or there are several lenses.
    """
    times_us: list[float] = []
    vergences_dpt: list[float] = []
    lenses: set[BagTopic] = set()
    with BagFile(path) as bag:
        for topic, message in bag.messages(lambda topic: topic.type == JOINT_STATE):
            try:
                state = read_focus_state(message.data)
            except ValueError as error:
                raise LensError(f"{path}: topic {topic.name}: {error}") from None
            if state is None:  # joints of a robot
                continue
            header, vergence_dpt = state
            lenses.add(topic)
            times_us.append(header.stamp_ns / 1000)  # division of whole numbers rounds once
            vergences_dpt.append(vergence_dpt)
    if len(lenses) > 1:
        names = ", ".join(sorted(topic.name for topic in lenses))
        raise LensError(f"{path}: several lenses: {names}; make a bag of one of them with ros2 bag convert")
    if not lenses:
        return None
    try:
        return LensTrack(times_us, vergences_dpt)  # type: ignore[arg-type]
    except LensError as error:
        raise LensError(f"{path}: {error}") from None


def has_focus(path: Path) -> bool:
    """Whether a bag tells the focus over time.

    Raises:
        SourceError: the bag cannot be read.
    """
    with BagFile(path) as bag:
        wanted = bag.messages(lambda topic: topic.type == JOINT_STATE)
        return any(_is_focus(message.data) for _, message in wanted)


def time_range_us(path: Path) -> tuple[int, int] | None:
    """About the times of the first and the last event in a bag; None where there are none.

    Raises:
        SourceError: the bag cannot be read.
    """
    with BagFile(path) as bag:
        summary = bag.summary()
    if summary.period_ns is None or not any(topic.type == EVENT_PACKET for topic in summary.counts):
        return None
    first_ns, last_ns = summary.period_ns
    return first_ns // 1000, last_ns // 1000


def _is_focus(data: bytes) -> bool:
    try:
        return read_focus_state(data) is not None
    except ValueError:
        return True  # damaged: reading it tells how
