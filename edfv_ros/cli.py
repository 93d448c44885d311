"""The `edfv` command: reads arguments, calls the rooms that do the work, prints what they return."""

from edfv_ros.commands import app


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
