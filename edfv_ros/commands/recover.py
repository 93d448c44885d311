"""`edfv recover`: save what is readable of a damaged recording."""

from pathlib import Path
from typing import Annotated

import typer

from edfv_ros.commands.terminal import results


def recover(
    damaged: Annotated[Path, typer.Argument(metavar="DAMAGED", help="An .aedat4 file that is cut off or damaged.")],
    recovered: Annotated[Path, typer.Argument(metavar="NEW", help="The file to write; it must not exist yet.")],
) -> None:
    """Save what can be read of a damaged recording: all packets but the damaged ones.

    A killed edfv record does not need this: its recording reads as it is.

    \b
    Example:
      edfv recover cut_off.aedat4 whole.aedat4
    """
    from edfv_ros.events import recover as recover_file

    left_out = recover_file(damaged, recovered)
    if left_out:
        outcome = f"recovered, {left_out:,} {'byte' if left_out == 1 else 'bytes'} left out"
    else:
        outcome = "a copy of the whole recording, no damage was found"
    results().print(f"{recovered}: {outcome}", markup=False)
