"""What dv-processing raises, in one line."""


def first_line(error: Exception) -> str:
    """dv-processing puts a place in its source in front of what happened, and a stack trace behind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("/") and not line.startswith("Stacktrace")]
    return (told or lines or [type(error).__name__])[0]
