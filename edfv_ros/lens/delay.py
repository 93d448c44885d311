"""From what the lens was told to what its optics do."""

from edfv_ros.rig import Rig


def optical_time_us(commanded_time_us: float, rig: Rig) -> float:
    """Time at which the optics reach a set point that was commanded at ``commanded_time_us``.

    This is the only place where ``lens.delay_ms`` counts. Triggers and telemetry tell set points and pass through
    here; ``lens.csv`` holds the optical vergence already and does not.
    """
    return commanded_time_us + rig.lens.delay_ms * 1e3
