"""One picture that explains the whole: scene, events, focus volume, depth, error, point cloud."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from edfv_ros.optics import VergenceBins
from edfv_ros.optics.resolution import round_depths_m
from edfv_ros.outputs.depth_picture import colour_depth
from edfv_ros.outputs.files import replace_atomically

BRIGHTER_RGB, DARKER_RGB = (196, 60, 52), (46, 98, 178)
ROW_COLOUR = "#f2b705"
MAX_ERROR_BINS = 2.0
SHOWN_BINS = 3
CLOUD_PARALLAX = (0.55, 0.6)
CLOUD_SUPERSAMPLING = 3
OUTLINES_M = (0.25, 0.5, 1.0, 3.0)
_LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}


@dataclass(frozen=True)
class DemoScene:
    """What is drawn; images are [H, W].

    Attributes:
        guide: uint8, what the camera sees.
        counts: int16 [bins, H, W], the focus volume of one sweep.
        direction: +1 where the focus moved nearer during that sweep, -1 where it moved away.
        events: number of events of that sweep.
        depth_m: float32, as received, not finite where unknown or not trusted.
        truth_m: float32.
        rays: float32 [H, W, 3] with unit z.
        bins: the vergence axis.
        caption: a line for the head of the picture.
    """

    guide: NDArray[np.uint8]
    counts: NDArray[np.int16]
    direction: int
    events: int
    depth_m: NDArray[np.float32]
    truth_m: NDArray[np.float32]
    rays: NDArray[np.float32]
    bins: VergenceBins
    caption: str


def save_demo_picture(scene: DemoScene, path: Path) -> None:
    """Draw the six panels as a PNG.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    figure = Figure(figsize=(15.0, 8.0), dpi=120, layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(scene.caption, fontsize=13)
    axes = figure.subplots(2, 3)
    row = _telling_row(scene)
    _draw_guide(axes[0, 0], scene, row)
    _draw_events(axes[0, 1], scene)
    _draw_slice(axes[0, 2], scene, row)
    _draw_depth(figure, axes[1, 0], scene, row)
    _draw_error(figure, axes[1, 1], scene)
    _draw_cloud(axes[1, 2], scene)
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        canvas.print_png(file)


def _telling_row(scene: DemoScene) -> int:
    """The row whose slice of the volume shows most: known depth, many depths, many events."""
    known = np.isfinite(scene.depth_m) & np.isfinite(scene.truth_m)
    vergence = np.where(known, 1.0 / np.where(known, scene.truth_m, 1.0), 0.0)
    spread = np.where(known.sum(1) > 8, vergence.std(1), 0.0)
    activity = np.abs(scene.counts).sum((0, 2), dtype=np.int64) / max(scene.events, 1)
    score = cv2.GaussianBlur(((spread + 0.1) * activity).reshape(-1, 1), (1, 9), 0)[:, 0]
    margin = len(score) // 8
    return margin + int(np.argmax(score[margin : len(score) - margin]))


def _image_panel(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_guide(axes: Axes, scene: DemoScene, row: int) -> None:
    axes.imshow(scene.guide, cmap="gray", vmin=0, vmax=255)
    axes.axhline(row, color=ROW_COLOUR, linewidth=1.2)
    _image_panel(axes, "1  What the camera sees (a frame taken mid-sweep)")


def _draw_events(axes: Axes, scene: DemoScene) -> None:
    """The polarity of the events while the focus passed through the busiest bins."""
    activity = np.abs(scene.counts).sum((1, 2), dtype=np.int64)
    middle = 1 + int(np.argmax(np.convolve(activity, np.ones(SHOWN_BINS), "valid")))
    polarity = scene.direction * scene.counts[middle - 1 : middle - 1 + SHOWN_BINS].sum(0)
    strength = np.clip(np.abs(polarity) / 2.0, 0.0, 1.0)[..., None]
    colour = np.where(polarity[..., None] > 0, np.array(BRIGHTER_RGB), np.array(DARKER_RGB))
    axes.imshow(np.rint(255.0 + strength * (colour - 255.0)).astype(np.uint8), interpolation="nearest")
    _image_panel(axes, f"2  Events while the focus passes {1.0 / scene.bins.centres_dpt[middle]:.2f} m")
    for left, text, rgb in ((0.015, "brighter", BRIGHTER_RGB), (0.19, "darker", DARKER_RGB)):
        axes.text(left, 0.025, text, color=_rgb(rgb), transform=axes.transAxes, weight="bold", bbox=_LABEL_BOX)


def _draw_slice(axes: Axes, scene: DemoScene, row: int) -> None:
    """Pixels of one row against focus: brightening turns into darkening where the pixel is sharp."""
    bins = scene.bins
    plane = cv2.GaussianBlur(scene.counts[:, max(row - 1, 0) : row + 2].sum(1).astype(np.float32), (3, 3), 0)
    limit = max(float(np.percentile(np.abs(plane), 98.5)), 1e-3)
    extent = (0, plane.shape[1], bins.min_dpt, bins.max_dpt)
    axes.imshow(plane, cmap="RdBu_r", vmin=-limit, vmax=limit, origin="lower", aspect="auto", extent=extent)
    known = np.isfinite(scene.depth_m[row])
    columns = np.flatnonzero(known)
    axes.plot(columns + 0.5, 1.0 / scene.depth_m[row, columns], ".", color="black", markersize=2.2)
    axes.set_ylabel("focus distance")
    axes.set_yticks(*_depth_ticks(bins))
    axes.set_ylim(bins.min_dpt, bins.max_dpt)
    axes.set_xlabel("pixels of the row")
    axes.set_xticks([])
    axes.set_box_aspect(scene.depth_m.shape[0] / scene.depth_m.shape[1])
    axes.set_title("3  Focus volume along the line; black: depth", fontsize=11, loc="left")


def _draw_depth(figure: Figure, axes: Axes, scene: DemoScene, row: int) -> None:
    bins = scene.bins
    finite = np.where(np.isfinite(scene.depth_m), scene.depth_m, np.float32(np.nan))
    axes.imshow(colour_depth(finite, bins)[..., ::-1], interpolation="nearest")
    axes.axhline(row, color="white", linewidth=0.8, alpha=0.7)
    _image_panel(axes, "4  Depth as received from the node (grey: unknown)")
    scale = ScalarMappable(Normalize(bins.min_dpt, bins.max_dpt), "turbo")
    bar = figure.colorbar(scale, ax=axes, fraction=0.04, pad=0.02)
    positions_dpt, labels = _depth_ticks(bins)
    bar.set_ticks(positions_dpt, labels=labels)


def _draw_error(figure: Figure, axes: Axes, scene: DemoScene) -> None:
    known = np.isfinite(scene.depth_m) & np.isfinite(scene.truth_m)
    error_bins = np.full(scene.depth_m.shape, np.nan)
    error_bins[known] = (1.0 / scene.depth_m[known] - 1.0 / scene.truth_m[known]) / scene.bins.width_dpt
    axes.set_facecolor("0.8")
    picture = axes.imshow(error_bins, cmap="PuOr", vmin=-MAX_ERROR_BINS, vmax=MAX_ERROR_BINS, interpolation="nearest")
    _image_panel(axes, f"5  Error against the truth (median {np.nanmedian(np.abs(error_bins)):.2f} bins)")
    axes.patch.set_visible(True)
    bar = figure.colorbar(picture, ax=axes, fraction=0.04, pad=0.02, extend="both")
    bar.set_label("bins of vergence (+ too near)")


def _draw_cloud(axes: Axes, scene: DemoScene) -> None:
    """The cloud from beside and above the camera, with outlines of the field of view at some distances."""
    _image_panel(axes, "6  Point cloud from a viewpoint above and beside")
    known = np.isfinite(scene.depth_m)
    if not known.any():
        return
    depth_m = scene.depth_m[known].astype(np.float64)
    colours = colour_depth(np.where(known, scene.depth_m, np.float32(np.nan)), scene.bins)[known][:, ::-1]
    colours = (colours * (0.35 + 0.65 * scene.guide[known, None] / 255.0)).astype(np.uint8)

    # The eye is moved so far that the nearest points move by a given part of the picture against the farthest.
    far_dpt, near_dpt = np.percentile(1.0 / depth_m, [2.0, 98.0])
    corners = scene.rays[[0, 0, -1, -1, 0], [0, -1, -1, 0, 0], :2].astype(np.float64)
    view = np.ptp(corners, axis=0)
    eye_m = np.array(CLOUD_PARALLAX) * view / max(near_dpt - far_dpt, 0.3)

    def seen(rays: NDArray[np.float64], vergence_dpt: ArrayLike) -> NDArray[np.float64]:
        """Picture coordinates, in tangents, of points on rays [N, 2]."""
        return rays + eye_m * (np.asarray(vergence_dpt)[..., None] - (near_dpt + far_dpt) / 2.0)

    flat = seen(scene.rays[known][:, :2].astype(np.float64), 1.0 / depth_m)
    planes_m = [plane for plane in OUTLINES_M if far_dpt * 0.8 <= 1.0 / plane <= near_dpt * 1.2]
    outlines = {plane: seen(corners, 1.0 / plane) for plane in planes_m}
    everything = np.concatenate([flat, *outlines.values()])
    low, high = everything.min(0), everything.max(0)
    height, width = (side * CLOUD_SUPERSAMPLING for side in known.shape)
    scale = 0.94 * float(np.min(np.array([width, height]) / (high - low)))

    def to_pixels(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return (points - (low + high) / 2.0) * scale + np.array([width, height]) / 2.0

    size = int(np.ceil(scale * view[0] / known.shape[1])) + 1
    image = np.full((height, width, 3), 255, np.uint8)
    order = np.argsort(-depth_m)
    for x, y, colour in zip(*np.rint(to_pixels(flat[order])).astype(int).T, colours[order], strict=True):
        image[y : y + size, x : x + size] = colour
    axes.imshow(image, interpolation="antialiased")
    for plane, outline in outlines.items():
        x, y = to_pixels(outline).T
        axes.plot(x, y, color="0.5", linewidth=0.9)
        axes.text(x[3] + 5, y[3] - 8, f"{plane:g} m", fontsize=8, color="0.25", va="bottom", bbox=_LABEL_BOX)


def _depth_ticks(bins: VergenceBins) -> tuple[list[float], list[str]]:
    """Round depths along an axis of vergence, as many as can be read: positions in dioptres, and labels."""
    far_m = 1.0 / bins.min_dpt if bins.min_dpt > 0.0 else float("inf")
    depths_m = [depth for depth in round_depths_m(1.0 / bins.max_dpt, far_m) if np.isfinite(depth)]
    chosen: list[float] = []
    for depth in [depths_m[-1], depths_m[0], *depths_m[1:-1]]:
        if all(abs(1.0 / depth - 1.0 / other) >= 0.05 * (bins.max_dpt - bins.min_dpt) for other in chosen):
            chosen.append(depth)
    return [1.0 / depth for depth in chosen], [f"{depth:.3g} m" for depth in chosen]


def _rgb(colour: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(channel / 255.0 for channel in colour)
