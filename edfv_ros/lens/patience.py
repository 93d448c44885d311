"""How long a lens may say nothing while events come."""


def patience_us(sweep_us: float) -> float:
    """Time of events without any sign of motion after which the lens is taken for silent: six sweeps, at least 1 s."""
    return max(6.0 * sweep_us, 1e6)
