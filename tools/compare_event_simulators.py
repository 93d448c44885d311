"""Hold the event model of the virtual rig against independent event simulators on the same pictures.

    python tools/compare_event_simulators.py --v2e ../v2e --iebcs ../IEBCS --picture docs/event_simulators.png

v2e (github.com/SensorsINI/v2e) and IEBCS (github.com/neuromorphicsystems/IEBCS) are no dependencies: give the folders
of their checkouts, one or both, and install what they import beside edfv_ros (torch, h5py, screeninfo, tqdm,
engineering-notation, easygui). Prints tables in Markdown; what they mean is in docs/event_simulators.md.
"""

import argparse
import importlib
import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edfv_ros.errors import EdfvError, SourceError
from edfv_ros.evaluation.metrics import SUPPORTED_EVENTS
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.rig import load_rig
from edfv_ros.share import config_file
from edfv_ros.simulation import EventSensor, PixelModel, VirtualRig, make_scene
from edfv_ros.volume.same import neighbourhood_events

WHITE_LUX = 500.0
WHITE_DN = 255.0  # what v2e takes for white
SWEEP_US = 100_000.0
SETTLING_US = 100_000.0  # before the first sweep
COARSE, FINE = 40, 400  # pictures in a sweep
DARK_SHAPE = (64, 64)
DARK_S, DARK_STEP_US = 12.0, 2000.0
DARK_FROM_S = 4.0  # until then leakage has reached every pixel's threshold once
PHASES = 20
ROUNDING_US = 0.1  # of v2e's times, 32-bit seconds; an event at the time of a picture belongs to the step before it
VERGENCE_CELLS = 40


@dataclass(frozen=True)
class Settings:
    """What all simulators are asked for; the pixel models' names for it differ.

    Attributes:
        threshold: of ON and of OFF events, log intensity.
        mismatch: standard deviation of the thresholds, relative.
        refractory_us: dead time after an event.
        white_cutoff_hz: bandwidth of a white pixel, proportional to the light elsewhere; 0 for unlimited.
        leak_hz, shot_noise_hz: rates of a pixel in the dark, the second over both polarities.
    """

    threshold: float = 0.15
    mismatch: float = 0.0
    refractory_us: float = 0.0
    white_cutoff_hz: float = 0.0
    leak_hz: float = 0.0
    shot_noise_hz: float = 0.0


IDEAL = Settings()
EFFECTS: dict[str, dict[str, float]] = {
    "mismatch 10 %": {"mismatch": 0.1},
    "dead time 300 us": {"refractory_us": 300.0},
    "bandwidth 200 Hz in white": {"white_cutoff_hz": 200.0},
    "leak 0.5 Hz": {"leak_hz": 0.5},
    "shot noise 4 Hz": {"shot_noise_hz": 4.0},
}
DARK_EFFECTS = "leak 0.5 Hz", "shot noise 4 Hz"
NOISY = Settings(**{name: value for effect in EFFECTS.values() for name, value in effect.items()})


@dataclass
class Events:
    """Events of one simulator: float64 microseconds, pixel, polarity 0 or 1; all [N]."""

    time_us: NDArray[np.float64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    polarity: NDArray[np.int64]
    seconds: float = field(default=math.nan)

    def after(self, first_us: float) -> "Events":
        """Those after a time."""
        kept = self.time_us > first_us
        return Events(self.time_us[kept], self.x[kept], self.y[kept], self.polarity[kept], self.seconds)

    def counts(self, shape: tuple[int, int]) -> NDArray[np.uint16]:
        """Events of each pixel, [H, W]."""
        counts = np.bincount(self.y * shape[1] + self.x, minlength=shape[0] * shape[1]).reshape(shape)
        return np.minimum(counts, 65535).astype(np.uint16)


class Simulator(Protocol):
    """Turns pictures into events."""

    name: str

    def run(
        self,
        radiance: NDArray[np.float32],
        times_us: NDArray[np.float64],
        settings: Settings,
        memory: NDArray[np.float32],
    ) -> Events:
        """Events of pictures [K, H, W] at times from 0 on, radiance 1 for a white sheet in light of WHITE_LUX.

        ``memory`` [H, W] is what the pixels remember at the beginning, log intensity against the first picture.
        """
        ...


class Ours:
    """The pixels of edfv_ros.simulation. They begin with the memory that their seed gives them."""

    name = "edfv"

    @staticmethod
    def memory(shape: tuple[int, int]) -> NDArray[np.float32]:
        """What ideal pixels of the sensor remember, log intensity against the light they begin in, float32 [H, W].

        Told by when they fire in light that grows by two thresholds.
        """
        threshold = IDEAL.threshold
        sensor = EventSensor((shape[1], shape[0]), PixelModel.ideal(threshold, threshold), 0)
        light = np.ones((2, *shape), np.float32)
        light[1] *= math.exp(2.0 * threshold)
        events, exact = sensor.expose(light, np.array([0.0, 2.0]))
        pixel = events["y"].astype(np.int64) * shape[1] + events["x"]
        first = np.full(shape[0] * shape[1], np.nan)
        first[pixel[::-1]] = exact[::-1]  # the earliest is written last
        return (threshold * (first - 1.0)).astype(np.float32).reshape(shape)

    def run(
        self,
        radiance: NDArray[np.float32],
        times_us: NDArray[np.float64],
        settings: Settings,
        memory: NDArray[np.float32],
    ) -> Events:
        height, width = radiance.shape[1:]
        model = PixelModel.ideal(settings.threshold, settings.threshold).model_copy(
            update={
                "mismatch": settings.mismatch,
                "refractory_us": settings.refractory_us,
                "dark_lux": 1.0 if settings.white_cutoff_hz else 0.0,
                "cutoff_hz_per_lux": settings.white_cutoff_hz / WHITE_LUX,
                "leak_hz": settings.leak_hz,
                "shot_noise_hz": settings.shot_noise_hz,
            }
        )
        events, exact_us = EventSensor((width, height), model, 0).expose(radiance * np.float32(WHITE_LUX), times_us)
        x, y, polarity = (events[name].astype(np.int64) for name in ("x", "y", "polarity"))
        return Events(exact_us, x, y, polarity)


class V2e:
    """``EventEmulator`` of v2e.

    Ideal pixels get logarithms (its ``hdr`` input), so that its linear response to dark grey levels is out of the way;
    the others get grey levels, which its bandwidth and its shot noise are made for.
    """

    name = "v2e"

    def __init__(self, checkout: Path) -> None:
        module = _import(checkout, "v2ecore.emulator", "v2e")
        self._emulator: Callable[..., Any] = module.EventEmulator

    def run(
        self,
        radiance: NDArray[np.float32],
        times_us: NDArray[np.float64],
        settings: Settings,
        memory: NDArray[np.float32],
    ) -> Events:
        ideal = settings.white_cutoff_hz == 0.0
        emulator = self._emulator(
            pos_thres=settings.threshold,
            neg_thres=settings.threshold,
            sigma_thres=settings.threshold * settings.mismatch,
            cutoff_hz=settings.white_cutoff_hz,
            leak_rate_hz=settings.leak_hz,
            refractory_period_s=settings.refractory_us * 1e-6,
            shot_noise_rate_hz=settings.shot_noise_hz,
            seed=1,
            device="cpu",
            hdr=ideal,
        )
        packets = []
        pictures = chain([radiance[0] * np.exp(memory)], radiance)
        for picture, time_us in zip(pictures, chain([0.0], times_us + SETTLING_US), strict=True):
            grey = np.float32(WHITE_DN) * picture
            packet = emulator.generate_events(np.log(grey) if ideal else grey, time_us * 1e-6)
            if packet is not None:
                packets.append(packet)
        events = np.concatenate(packets).astype(np.float64) if packets else np.empty((0, 4))
        pixels = events[:, 1:3].astype(np.int64)
        exact_us = events[:, 0] * 1e6 - SETTLING_US
        return Events(exact_us, pixels[:, 0], pixels[:, 1], (events[:, 3] > 0).astype(np.int64))


class Iebcs:
    """``DvsSensor`` of IEBCS.

    Its pixels always have a time constant, and need some dead time to end a step. Ideal pixels get a thousandfold light
    and with it a time constant of a microsecond in white, and one microsecond of dead time.
    """

    name = "IEBCS"

    def __init__(self, checkout: Path) -> None:
        module = _import(checkout / "src", "dvs_sensor", "IEBCS")
        self._sensor: Callable[..., Any] = module.DvsSensor

    def run(
        self,
        radiance: NDArray[np.float32],
        times_us: NDArray[np.float64],
        settings: Settings,
        memory: NDArray[np.float32],
    ) -> Events:
        height, width = radiance.shape[1:]
        ideal = settings.white_cutoff_hz == 0.0
        lux = WHITE_LUX * (1e3 if ideal else 1.0)
        tau_us = 1.0 if ideal else 1e6 / (2.0 * math.pi * settings.white_cutoff_hz)
        np.random.seed(1)  # noqa: NPY002 - the generator it uses
        sensor = self._sensor("comparison")
        sensor.initCamera(
            width,
            height,
            lat=0,
            jit=0,
            ref=max(1, round(settings.refractory_us)),
            tau=tau_us * lux / 1e3,  # its tau is that at 1 klux
            th_pos=settings.threshold,
            th_neg=settings.threshold,
            th_noise=settings.threshold * settings.mismatch,
            bgnp=max(settings.leak_hz + settings.shot_noise_hz / 2.0, 1e-9),  # it divides by them
            bgnn=max(settings.shot_noise_hz / 2.0, 1e-9),
        )
        sensor.init_image(lux * (radiance[0] * np.exp(memory)).astype(np.float64))
        packets = []
        steps_us = [round(SETTLING_US), *np.diff(np.rint(times_us).astype(np.int64)).tolist()]
        for picture, step_us in zip(radiance, steps_us, strict=True):
            packet = sensor.update(lux * picture.astype(np.float64), step_us)
            packets.append([packet.get_ts(), packet.get_x(), packet.get_y(), packet.get_p()])
        time_us, x, y, polarity = (np.concatenate(column).astype(np.int64) for column in zip(*packets, strict=True))
        middle_us = np.asarray(time_us + 0.5 - SETTLING_US, np.float64)  # it rounds down
        return Events(middle_us, x, y, polarity)


def _import(folder: Path, module: str, what: str) -> Any:
    """Import a module of a checkout.

    Raises:
        SourceError: it is not there, or something that it needs is not.
    """
    if not folder.joinpath(*module.split(".")).with_suffix(".py").is_file():
        raise SourceError(f"{folder}: there is no {module} in this folder: name a checkout of {what}")
    sys.path.insert(0, str(folder.resolve()))
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SourceError(f"{folder}: {what} does not load: {error}: install what it needs") from None


def sweep_pictures(kind: str, seed: int, count: int) -> NDArray[np.float32]:
    """Radiance over a down-sweep and an up-sweep of the example rig, float32 [2 count + 1, H, W].

    Only the middle of the sensor, a quarter of its area: the others are slow.
    """
    rig = load_rig(config_file("rig.yaml"))
    down_dpt = np.linspace(rig.sweep.vergence_max_dpt, rig.sweep.vergence_min_dpt, count + 1)
    pictures = VirtualRig.of_scene(rig, make_scene(kind, seed, rig)).source.pictures(down_dpt, 0.0)
    height, width = pictures.shape[1:]
    pictures = pictures[:, height // 4 : -height // 4, width // 4 : -width // 4].copy()
    return np.concatenate([pictures, pictures[-2::-1]])


def timed(
    simulator: Simulator, radiance: NDArray[np.float32], times_us: NDArray[np.float64], settings: Settings
) -> Events:
    """Run a simulator, the memories of all being the same, and note how long it took."""
    memory = Ours.memory((radiance.shape[1], radiance.shape[2]))
    print(f"  {simulator.name}", end="", file=sys.stderr, flush=True)
    began_s = time.perf_counter()
    events = simulator.run(radiance, times_us, settings, memory).after(ROUNDING_US)
    events.seconds = time.perf_counter() - began_s
    print(f": {len(events.time_us):,} events in {events.seconds:.1f} s", file=sys.stderr)
    return events


@dataclass(frozen=True)
class Comparison:
    """The events of a down-sweep and an up-sweep by several simulators, in their order.

    Attributes:
        title: what was simulated.
        step_us: time between pictures.
        names, events: one for each simulator.
        shape: of the sensor.
    """

    title: str
    step_us: float
    names: list[str]
    events: list[Events]
    shape: tuple[int, int]

    def phases(self) -> list[NDArray[np.float64]]:
        """Share of the events by their place between two pictures, [PHASES] for each simulator."""
        cells = [
            np.minimum((events.time_us - ROUNDING_US) % self.step_us / self.step_us * PHASES, PHASES - 1).astype(
                np.int64
            )
            for events in self.events
        ]
        return [np.bincount(cell, minlength=PHASES) / max(len(cell), 1) for cell in cells]

    def rows(self) -> list[list[str]]:
        """One row for each simulator."""
        first = self.events[0]
        reference = first.counts(self.shape).astype(np.float64)
        signed = _signed(first, self.shape)
        rows = []
        for name, events, phases in zip(self.names, self.events, self.phases(), strict=True):
            counts = events.counts(self.shape)
            on = int(events.polarity.sum())
            rows.append(
                [
                    name,
                    f"{len(events.time_us):,}",
                    f"{len(events.time_us) / len(first.time_us):.3f}",
                    f"{on:,}",
                    f"{len(events.time_us) - on:,}",
                    f"{np.corrcoef(counts.ravel(), reference.ravel())[0, 1]:.3f}",
                    f"{np.corrcoef(_signed(events, self.shape).ravel(), signed.ravel())[0, 1]:.3f}",
                    f"{np.mean(neighbourhood_events(counts) >= SUPPORTED_EVENTS):.1%}",
                    f"{len(np.unique(np.round(events.time_us, 1))):,}",
                    f"{phases.max():.0%}",
                    f"{events.seconds:.1f}",
                ]
            )
        return rows


HEADINGS = (
    "simulator", "events", "ratio", "ON", "OFF", "correlation", "of ON - OFF", "4 events near", "distinct times",
    "fullest 5 % of a step", "seconds",
)  # fmt: skip


def _signed(events: Events, shape: tuple[int, int]) -> NDArray[np.float64]:
    """ON minus OFF events of each pixel, [H, W]."""
    pixel = events.y * shape[1] + events.x
    signed = np.bincount(pixel, 2.0 * events.polarity - 1.0, minlength=shape[0] * shape[1])
    return signed.astype(np.float64).reshape(shape)


def compare(
    title: str, simulators: Sequence[Simulator], radiance: NDArray[np.float32], settings: Settings
) -> Comparison:
    """Run all simulators over a down-sweep and an up-sweep."""
    print(title, file=sys.stderr)
    times_us = np.linspace(0.0, 2.0 * SWEEP_US, len(radiance))
    events = [timed(simulator, radiance, times_us, settings) for simulator in simulators]
    names = [simulator.name for simulator in simulators]
    return Comparison(title, times_us[1], names, events, (radiance.shape[1], radiance.shape[2]))


def effect_rows(ideal: Comparison, effects: Sequence[Comparison]) -> list[list[str]]:
    """Events with one effect alone, against those of the same simulator without it."""
    return [
        [comparison.title]
        + [
            f"{len(own.time_us) / len(free.time_us):.3f}"
            for own, free in zip(comparison.events, ideal.events, strict=True)
        ]
        for comparison in effects
    ]


@dataclass(frozen=True)
class Dark:
    """Events of a small sensor in the dark, of each simulator.

    Attributes:
        title: what was simulated.
        on_hz, off_hz: what was asked for.
        names, events: one for each simulator.
    """

    title: str
    on_hz: float
    off_hz: float
    names: list[str]
    events: list[Events]

    def rates_hz(self) -> list[tuple[float, float]]:
        """Rates of ON and OFF events of a pixel."""
        pixels_s = DARK_SHAPE[0] * DARK_SHAPE[1] * (DARK_S - DARK_FROM_S)
        ons = [int(events.polarity.sum()) for events in self.events]
        return [(on / pixels_s, (len(e.time_us) - on) / pixels_s) for on, e in zip(ons, self.events, strict=True)]

    def rows(self) -> list[list[str]]:
        """What was asked for, and one row for each simulator."""
        rows = [[f"{self.title}, asked for", f"{self.on_hz:.2f}", f"{self.off_hz:.2f}", "", ""]]
        for name, events, (on_hz, off_hz) in zip(self.names, self.events, self.rates_hz(), strict=True):
            intervals_us = _on_intervals_us(events)
            variation = f"{intervals_us.std() / intervals_us.mean():.2f}" if len(intervals_us) else "-"
            at_pictures = np.mean(np.abs((events.time_us + 1.0) % DARK_STEP_US - 1.0) < 1.0)
            rows.append([name, f"{on_hz:.2f}", f"{off_hz:.2f}", variation, f"{at_pictures:.0%}"])
        return rows


def darkness(title: str, simulators: Sequence[Simulator], settings: Settings) -> Dark:
    """Watch a small sensor in the dark: 0.01 lux, since IEBCS wants some light."""
    print(f"{title} in the dark", file=sys.stderr)
    times_us = np.arange(0.0, DARK_S * 1e6 + 1.0, DARK_STEP_US)
    light = np.broadcast_to(np.float32(0.01 / WHITE_LUX), (len(times_us), *DARK_SHAPE))
    events = [timed(simulator, light, times_us, settings).after(DARK_FROM_S * 1e6) for simulator in simulators]
    off_hz = settings.shot_noise_hz / 2.0
    return Dark(title, settings.leak_hz + off_hz, off_hz, [simulator.name for simulator in simulators], events)


DARK_HEADINGS = ("", "ON Hz", "OFF Hz", "variation of ON intervals", "stamped with a picture's time")


def _on_intervals_us(events: Events) -> NDArray[np.float64]:
    """Times between the ON events of a pixel."""
    on = events.polarity == 1
    pixel, time_us = (events.y * DARK_SHAPE[1] + events.x)[on], events.time_us[on]
    order = np.lexsort((time_us, pixel))
    return np.diff(time_us[order])[np.diff(pixel[order]) == 0]


def save_picture(comparisons: Sequence[Comparison], dark: Sequence[Dark], path: Path) -> None:
    """Draw place within a step and events over the focus of each comparison, and the noise, as a PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    figure = Figure(figsize=(15.0, 7.5), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(comparisons) + 1)
    sweep = load_rig(config_file("rig.yaml")).sweep
    low_dpt, high_dpt = sweep.vergence_min_dpt, sweep.vergence_max_dpt
    for column, comparison in enumerate(comparisons):
        phase_axes, focus_axes = grid[:, column]
        for index, (name, events, phases) in enumerate(
            zip(comparison.names, comparison.events, comparison.phases(), strict=True)
        ):
            phase_axes.stairs(phases * PHASES, np.linspace(0.0, 1.0, PHASES + 1), color=f"C{index}", label=name)
            vergence_dpt = low_dpt + np.abs(events.time_us / SWEEP_US - 1.0) * (high_dpt - low_dpt)
            counts, edges = np.histogram(vergence_dpt, VERGENCE_CELLS, (low_dpt, high_dpt))
            density = counts / (edges[1] - edges[0]) / (2 * comparison.shape[0] * comparison.shape[1])
            focus_axes.stairs(density, edges, color=f"C{index}")
        phase_axes.set(
            yscale="log", ylim=(1e-2, 2.0 * PHASES), xlabel="place between two pictures", ylabel="density of events"
        )
        phase_axes.set_title(comparison.title, fontsize="medium")
        focus_axes.set(xlabel="focus (dpt)", ylabel="events per pixel, sweep and dpt")
        focus_axes.set_ylim(bottom=0.0)
    for axes, noise in zip(grid[:, -1], dark, strict=True):
        edges_s = np.linspace(0.0, DARK_S / 3.0, 60)
        for index, (name, events, rates_hz) in enumerate(zip(noise.names, noise.events, noise.rates_hz(), strict=True)):
            intervals_s = _on_intervals_us(events) * 1e-6
            counts, _ = np.histogram(intervals_s, edges_s)
            density = counts / max(len(intervals_s), 1) / (edges_s[1] - edges_s[0])
            label = f"{name}: ON {rates_hz[0]:.2f}, OFF {rates_hz[1]:.2f} Hz"
            axes.stairs(density, edges_s, color=f"C{index}", label=label)
        axes.set(yscale="log", xlabel="seconds between ON events of a pixel", ylabel="density")
        axes.set_title(f"{noise.title} in the dark", fontsize="medium")
        axes.set_ylim(top=1e3)
        axes.legend(frameon=False, fontsize="small")
    grid[0, 1].legend(frameon=False, loc="upper center")
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        canvas.print_png(file)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print Markdown."""
    print("| " + " | ".join(headings) + " |")
    print("| --- " + "| ---: " * (len(headings) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; exit code 2 where a simulator is not there."""
    parser = argparse.ArgumentParser(
        prog="compare_event_simulators.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--v2e", type=Path, metavar="DIR", help="checkout of v2e")
    parser.add_argument("--iebcs", type=Path, metavar="DIR", help="checkout of IEBCS")
    parser.add_argument("--kind", default="room", help="scene (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the scene (default: %(default)s)")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="also draw the distributions")
    options = parser.parse_args(arguments)
    if options.v2e is None and options.iebcs is None:
        parser.error("nothing to compare with: give --v2e or --iebcs or both")
    logging.disable(logging.WARNING)  # v2e warns of every picture without events
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # IEBCS divides by changes of nothing
    try:
        simulators: list[Simulator] = [Ours()]
        simulators += [V2e(options.v2e)] if options.v2e else []
        simulators += [Iebcs(options.iebcs)] if options.iebcs else []
        fine = sweep_pictures(options.kind, options.seed, FINE)
        coarse = fine[:: FINE // COARSE]
        comparisons = [
            compare(f"ideal pixels, {COARSE} pictures a sweep", simulators, coarse, IDEAL),
            compare(f"ideal pixels, {FINE} pictures a sweep", simulators, fine, IDEAL),
            compare(f"everything on, {FINE} pictures a sweep", simulators, fine, NOISY),
        ]
        effects = [compare(name, simulators, fine, Settings(**values)) for name, values in EFFECTS.items()]
        dark = [darkness(name, simulators, Settings(**EFFECTS[name])) for name in DARK_EFFECTS]
        for comparison in comparisons:
            print(f"**{comparison.title}**\n")
            print_table(HEADINGS, comparison.rows())
        print("**one effect at a time: events against those of ideal pixels**\n")
        print_table(("", *comparisons[1].names), effect_rows(comparisons[1], effects))
        print("**in the dark**\n")
        print_table(DARK_HEADINGS, [row for noise in dark for row in noise.rows()])
        if options.picture is not None:
            save_picture(comparisons, dark, options.picture)
    except EdfvError as error:
        print(f"compare_event_simulators: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
