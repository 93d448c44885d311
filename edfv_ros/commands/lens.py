"""`edfv lens`: find lenses, move them, watch them, and stand in for them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from edfv_ros.commands.signals import terminated_as_interrupted
from edfv_ros.commands.terminal import notices, print_json, results
from edfv_ros.errors import EdfvError, LensError

if TYPE_CHECKING:
    from edfv_ros.lens.driver import LensDriver, LensLimits
    from edfv_ros.lens.plan import SweepPlan
    from edfv_ros.lens.watching import LensView
    from edfv_ros.rig import Rig


class SweepShape(str, Enum):
    """What of a sweep has its waveform."""

    VERGENCE = "vergence"
    CONTROL = "control"


lens_app = typer.Typer(
    help="Find lenses, move them, watch them, and stand in for them.", no_args_is_help=True, rich_markup_mode="rich"
)
RigOption = Annotated[
    Path, typer.Option("--rig", metavar="FILE", help="Rig whose lens it is: driver, port, calibration.")
]
PortOption = Annotated[str, typer.Option("--port", metavar="PORT", help="Port, in place of the rig's.")]
SecondsOption = Annotated[float | None, typer.Option(metavar="N", help="End after this time; else with Ctrl-C.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
_LOOK_EVERY_S = 0.1
_LINE_EVERY_S = 1.0
_BAR_WIDTH = 40


@lens_app.command()
def scan(
    ports: Annotated[
        list[str] | None, typer.Argument(metavar="[PORT]...", help="Ports to look at; by default all.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Look which lens controllers are at which serial ports.

    Looking sets the current of an Optotune Lens Driver 4 to 0, so that its
    lens moves, and resets most Arduino boards.

    \b
    Examples:
      edfv lens scan
      edfv lens scan /dev/ttyACM0
    """
    from edfv_ros.lens.detection import EFFECT, look_at, serial_ports

    described = dict(serial_ports())
    chosen = ports or list(described)
    console = notices()
    if not chosen:
        raise LensError(
            "no serial ports: plug the lens controller in, or name a port (edfv doctor looks at permissions)"
        )
    console.print(f"! {EFFECT}", style="yellow")
    findings = []
    with console.status("") as line:
        for port in chosen:
            line.update(f"looking at {escape(port)}")
            findings.append(look_at(port, described.get(port, "")))
    if json:
        print_json(findings)
        return
    for found in findings:
        mark = (f"{found.driver:<15}", "green") if found.driver else (f"{'-':<15}", "yellow")
        description = f"  ({found.description})" if found.description not in ("", "n/a") else ""
        results().print(Text.assemble(f"{found.port}  ", mark, f" {found.finding}", (description, "dim")))


@lens_app.command()
def info(rig: RigOption, port: PortOption = "", json: JsonOption = False) -> None:
    """Say what a lens is, how far and how fast it goes, and what its controller can do.

    A motorised lens (scf4, a stepper of edfv) homes when it is opened.

    \b
    Example:
      edfv lens info --rig rig.yaml
    """
    with _opened(rig, port) as (_, lens):
        limits, able, state = lens.limits(), lens.capabilities(), lens.state()
        identity = lens.identify()
    if json:
        print_json({"identity": identity, "limits": limits, "capabilities": able, "state": state})
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("lens", identity)
    table.add_row("range", f"{limits.min_dpt:g} to {limits.max_dpt:g} dpt")
    table.add_row("fastest", f"{limits.max_frequency_hz:.3g} Hz, a triangle over all of it")
    table.add_row("clock", f"the {able.clock}'s")
    table.add_row(
        "telemetry", {"reported": "reported by it", "sent": "what the host sent", "polled": "polled"}[able.telemetry]
    )
    table.add_row("generates", ", ".join(able.generator) or "nothing: the host makes its sweeps")
    table.add_row("trigger output", "yes" if able.trigger_output else "no")
    table.add_row("temperature", _temperature(state.temperature_c) if able.temperature else "not measured")
    for warning in state.warnings:
        table.add_row("warning", warning, style="yellow")
    results().print(table)


@lens_app.command()
def goto(
    vergence: Annotated[float, typer.Argument(metavar="DPT", help="Focus vergence in dioptres, 1 / distance in m.")],
    rig: RigOption,
    port: PortOption = "",
    clamp: Annotated[bool, typer.Option("--clamp", help="Go to the nearest limit where that is out of range.")] = False,
    hold: Annotated[bool, typer.Option("--hold", help="Stay connected until Ctrl-C.")] = False,
) -> None:
    """Focus at a vergence and stay.

    \b
    Examples:
      edfv lens goto 1.5 --rig rig.yaml
      edfv lens goto 99 --clamp --rig rig.yaml
    """
    console = notices()
    with _opened(rig, port) as (_, lens):
        wanted = lens.limits().clamped(vergence) if clamp and vergence == vergence else vergence
        if wanted != vergence:
            console.print(f"! {vergence:g} dpt is out of range: clamped to {wanted:g} dpt", style="yellow")
        lens.goto(wanted)
        distance = f", {1 / wanted:.3g} m" if wanted > 0 else ""
        results().print(f"{wanted:g} dpt{distance}", markup=False)
        if lens.capabilities().needs_host and not hold:
            console.print("! this controller parks its lens once nobody is connected: --hold stays", style="yellow")
        if hold:
            _wait(None)


@lens_app.command()
def sweep(
    rig: RigOption,
    port: PortOption = "",
    min_dpt: Annotated[
        float | None, typer.Option("--min", metavar="DPT", help="Far turn; the rig's by default.")
    ] = None,
    max_dpt: Annotated[
        float | None, typer.Option("--max", metavar="DPT", help="Near turn; the rig's by default.")
    ] = None,
    waveform: Annotated[str | None, typer.Option(metavar="NAME", help="triangle | sine | sawtooth.")] = None,
    hz: Annotated[float | None, typer.Option(metavar="HZ", help="Periods a second.")] = None,
    shape: Annotated[
        SweepShape,
        typer.Option(
            help="What has that waveform: vergence (a triangle then has a constant vergence rate) or control."
        ),
    ] = SweepShape.VERGENCE,
    round_turns: Annotated[
        bool,
        typer.Option("--round/--sharp", help="Turns rounded as far as lens.response asks for, as the track has them."),
    ] = True,
    seconds: SecondsOption = None,
) -> None:
    """Sweep the focus as the rig says, or otherwise; the lens stops at the end.

    A sweep that the lens cannot follow is refused with the reason and the
    highest frequency that works.

    \b
    Examples:
      edfv lens sweep --rig rig.yaml
      edfv lens sweep --rig rig.yaml --min 0.5 --max 3 --hz 10 --seconds 5
    """
    from edfv_ros.lens.plan import SweepPlan, plan_of, rounded_for

    with _opened(rig, port) as (loaded, lens):
        plan = plan_of(loaded)
        plan = SweepPlan(
            plan.min_dpt if min_dpt is None else min_dpt,
            plan.max_dpt if max_dpt is None else max_dpt,
            waveform or plan.waveform,
            plan.frequency_hz if hz is None else hz,
            shape.value,
        )
        if round_turns:
            plan = rounded_for(plan, loaded)
        lens.run(plan)
        notices().print(f"{_in_words(plan)}; Ctrl-C stops it", style="dim")
        view = _watch(lens, lens.limits(), seconds)
        lens.stop()
    results().print(f"{view.samples} samples, {view.lost_samples} lost, in {view.seconds:.1f} s", markup=False)


@lens_app.command()
def monitor(
    rig: RigOption,
    port: PortOption = "",
    seconds: SecondsOption = None,
) -> None:
    """Watch a lens live; without a terminal one line a second.

    The lens is opened for it, which sets an Optotune Lens Driver 4 to
    current 0 and homes a motorised lens; otherwise it is left as it is.

    \b
    Example:
      edfv lens monitor --rig rig.yaml
    """
    with _opened(rig, port) as (_, lens):
        _watch(lens, lens.limits(), seconds)


@lens_app.command()
def emulate(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="optotune_ld4 | optotune_icc | scf4 | varioptic_usbm.")],
    link: Annotated[Path | None, typer.Option(metavar="PATH", help="A link to the port, the same each time.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Dialect and lens of the controller.")
    ] = None,
    faults: Annotated[
        list[str] | None, typer.Option("--fault", metavar="NAME[=VALUE]", help="What is wrong with it from the start.")
    ] = None,
    unplug_after: Annotated[float | None, typer.Option(metavar="S", help="Pull the plug after this time.")] = None,
    replug_after: Annotated[float | None, typer.Option(metavar="S", help="Put it in again after that.")] = None,
    rig: Annotated[Path | None, typer.Option(metavar="FILE", help="Rig whose focus the lens has.")] = None,
) -> None:
    """Stand in for a lens controller, byte for byte, until Ctrl-C; prints its port.

    \b
    Examples:
      edfv lens emulate optotune_ld4
      edfv lens emulate scf4 --link /tmp/lens --unplug-after 10
    """
    from edfv_ros.rig import load_rig
    from edfv_ros.simulation.controllers import emulate as serve

    serve(
        kind,
        link=link,
        settings=settings or (),
        faults=faults or (),
        unplug_after_s=unplug_after,
        replug_after_s=replug_after,
        rig=load_rig(rig) if rig else None,
    )


@contextmanager
def _opened(path: Path, port: str) -> "Iterator[tuple[Rig, LensDriver]]":
    """The rig and its lens, which is closed in the end; where the command is interrupted, a sweep is stopped first."""
    from edfv_ros.lens.opening import open_lens
    from edfv_ros.rig import load_rig

    rig = load_rig(path)
    if port:
        rig = rig.model_copy(update={"lens": rig.lens.model_copy(update={"port": port})})
    with terminated_as_interrupted(), notices().status(f"opening {escape(rig.lens.driver)}"):
        lens = open_lens(rig)
    with terminated_as_interrupted(), lens:
        try:
            yield rig, lens
        except BaseException:
            with suppress(LensError):  # unplugged: there is nothing left to stop
                lens.stop()
            raise


def _wait(seconds: float | None) -> None:
    with suppress(KeyboardInterrupt):
        while seconds is None or seconds > 0:
            time.sleep(_LOOK_EVERY_S)
            seconds = None if seconds is None else seconds - _LOOK_EVERY_S


def _watch(lens: "LensDriver", limits: "LensLimits", seconds: float | None) -> "LensView":
    """Show what a lens does until the time is over or Ctrl-C; returns the last that was seen."""
    from edfv_ros.lens.watching import LensWatch

    if seconds is not None and not seconds > 0:
        raise EdfvError(f"--seconds {seconds:g}: give a time above 0")
    watch = LensWatch(lens)
    view = watch.look()
    with _display(limits) as show, suppress(KeyboardInterrupt):
        while seconds is None or view.seconds < seconds:
            view = watch.look()
            show(view)
            time.sleep(_LOOK_EVERY_S)
    return view


@contextmanager
def _display(limits: "LensLimits") -> "Iterator[Callable[[LensView], None]]":
    """A live picture; without a terminal a line a second."""
    console = results()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda view: live.update(_picture(view, limits), refresh=True)
        return
    next_line_s = 0.0

    def show(view: "LensView") -> None:
        nonlocal next_line_s
        if view.seconds >= next_line_s:
            console.print(_line(view), markup=False)
            next_line_s += _LINE_EVERY_S

    yield show


def _line(view: "LensView") -> str:
    focus = "-" if view.vergence_dpt is None else f"{view.vergence_dpt:.3f} dpt"
    parts = [f"{view.seconds:.1f} s", focus, "sweeping" if view.sweeping else "standing"]
    parts += [_temperature(view.temperature_c), f"{view.samples_hz:.0f} samples/s", f"{view.lost_samples} lost"]
    return "  ".join([*parts, *view.warnings])


def _picture(view: "LensView", limits: "LensLimits") -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    focus = Text("nothing reported yet")
    if view.vergence_dpt is not None:
        place = (view.vergence_dpt - limits.min_dpt) / (limits.max_dpt - limits.min_dpt)
        at = min(max(round(place * (_BAR_WIDTH - 1)), 0), _BAR_WIDTH - 1)
        distance = f"{1 / view.vergence_dpt:.3f} m" if view.vergence_dpt > 0 else "beyond infinity"
        bar = (f"{limits.min_dpt:g} ", "dim"), "─" * at, ("●", "bold green"), "─" * (_BAR_WIDTH - 1 - at)
        focus = Text.assemble(*bar, (f" {limits.max_dpt:g}", "dim"), f"  {view.vergence_dpt:.3f} dpt, {distance}")
    table.add_row("focus", focus)
    table.add_row("state", "sweeping" if view.sweeping else "standing")
    table.add_row("temperature", _temperature(view.temperature_c))
    counts = f"{view.samples} in all, {view.lost_samples} lost, {view.garbled_lines} garbled"
    table.add_row("telemetry", f"{view.samples_hz:.0f} samples/s, {counts}")
    table.add_row(
        "clock", f"{view.clock_drift_ppm:+.0f} ppm against the host's, known to {view.clock_uncertainty_us:.0f} us"
    )
    for warning in view.warnings:
        table.add_row("warning", Text(warning, "yellow"))
    return table


def _temperature(temperature_c: float | None) -> str:
    return "no temperature" if temperature_c is None else f"{temperature_c:.1f} °C"


def _in_words(plan: "SweepPlan") -> str:
    turns = f", turns rounded over {plan.turn_s * 1e3:.3g} ms" if plan.turn_s else ""
    shape = " of the control value" if plan.shape == "control" else ""
    return f"{plan.waveform}{shape}, {plan.min_dpt:g} to {plan.max_dpt:g} dpt, {plan.frequency_hz:g} Hz{turns}"
