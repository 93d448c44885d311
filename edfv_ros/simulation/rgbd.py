"""Real scenes from pairs of a colour and a depth image.

A folder holds any number of pairs in the same place. A depth image has the word ``depth`` in its name; its partner has
``rgb``, ``color``, ``colour`` or ``image`` in that place and the same name otherwise (``rgb_07.jpg`` and
``depth_07.png``, ``desk_color.png`` and ``desk_depth.npy``). Colour is 8-bit sRGB (PNG, JPEG, TIFF); depth is 16-bit
PNG or TIFF in units of ``depth_unit_m``, or a float NPY array in metres, and 0 (or not finite) where there is none.

``intrinsics.yaml`` in the folder says what camera took the pairs (:class:`RgbdIntrinsics`); without it, pixels are
square, the optical axis meets the middle of the image and depth units are millimetres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Rig
from edfv_ros.simulation.geometry import Pose
from edfv_ros.simulation.view import SUPERSAMPLING, Canvas, Image, Layer, View
from edfv_ros.yaml_model import Part, Positive, load_yaml_model

Mask = NDArray[np.bool_]

INTRINSICS_FILE = "intrinsics.yaml"
_COLOUR_WORDS = ("rgb", "color", "colour", "image")
_COLOUR_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".npy")

_FARTHEST_M = 30.0
_BEYOND = 0.08  # of the sweep's span, how far depth may reach beyond it
_EDGE_PX = 3.0  # difference in blur diameter across a depth edge that needs layers of its own
_RAMP = 0.8  # of that difference, over which a layer fades in on a surface that runs through it
_FADE = 3.0  # radii of the largest blur over which a layer fades out away from a jump
_MOST_LAYERS = 8
_FILL_PASSES = 120
_FILL_CONTRAST = 0.04  # step in brightness (sRGB, 0 to 1) that stops depth from spreading


class RgbdIntrinsics(Part):
    """The camera of a folder of colour and depth images.

    Attributes:
        fx_px, fy_px, cx_px, cy_px: of the colour and depth images, which must be registered.
        depth_unit_m: length of one step of an integer depth image.
    """

    fx_px: Positive
    fy_px: Positive
    cx_px: float
    cy_px: float
    depth_unit_m: Positive = 0.001


@dataclass(frozen=True, slots=True)
class RgbdPair:
    """Where a colour image, its depth and what is known of their camera are to be found."""

    name: str
    colour: Path
    depth: Path
    intrinsics: RgbdIntrinsics | None


def rgbd_scenes(folder: str | Path) -> list[RgbdPair]:
    """The pairs of a folder, by name.

    Raises:
        SimulationError: there is no such folder, it holds no pair, a depth image lacks its colour image, or
            ``intrinsics.yaml`` is wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SimulationError(f"{folder}: no such folder of colour and depth images")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    by_stem = {path.stem.lower(): path for path in files if path.suffix.lower() in _COLOUR_SUFFIXES}
    intrinsics = None
    if (folder / INTRINSICS_FILE).exists():
        intrinsics = load_yaml_model(
            folder / INTRINSICS_FILE, RgbdIntrinsics, "RGB-D intrinsics", SimulationError, "edfv_ros/simulation/rgbd.py"
        )
    pairs = []
    for depth in files:
        stem = depth.stem.lower()
        if depth.suffix.lower() not in _DEPTH_SUFFIXES or "depth" not in stem:
            continue
        partners = [by_stem[name] for word in _COLOUR_WORDS if (name := stem.replace("depth", word)) in by_stem]
        if not partners:
            raise SimulationError(
                f"{depth}: this depth image has no colour image: add {stem.replace('depth', 'rgb')}.png beside it"
            )
        name = stem.replace("depth", "").replace("__", "_").strip("_-. ") or "scene"
        pairs.append(RgbdPair(name, partners[0], depth, intrinsics))
    if not pairs:
        raise SimulationError(f"{folder}: no pair of images such as rgb_0.jpg and depth_0.png in this folder")
    return pairs


class RgbdScene:
    """What a rig sees of a real scene.

    The image is laid over the canvas so that it fills it: rays keep their directions but for one factor, so that
    things keep their depths times ``scale`` and become ``scale / lateral_factor(canvas)`` times as wide and high. One
    picture shows nothing from elsewhere: views are made from the world's origin, whatever place is asked for, and say
    so. Depth that is missing is filled in and marked in ``View.known``; rims of the image without any are left out.

    Args:
        pair: what to load.
        rig: sweep and blur decide about scale and layers.
        scale: factor on all depths, None for one that brings 5 to 95 % of them into the sweep, as near as they fit
            (rooms are metres deep, sweeps begin at decimetres). Depths farther out than 8 % of the sweep's span in
            vergence are brought to there.
        illuminance_lux: light on a white sheet.

    Raises:
        SimulationError: an image cannot be read, the two differ in size, or no depth is known.
    """

    def __init__(self, pair: RgbdPair, rig: Rig, scale: float | None = None, illuminance_lux: float = 500.0) -> None:
        self._name = pair.name
        self._illuminance_lux = illuminance_lux
        colour, depth_m = _load(pair)
        height, width = depth_m.shape
        k = pair.intrinsics or RgbdIntrinsics(
            fx_px=float(width), fy_px=float(width), cx_px=(width - 1) / 2, cy_px=(height - 1) / 2
        )
        # registered images often end before their edges
        rows, columns = (np.flatnonzero((depth_m > 0).any(axis=axis)) for axis in (1, 0))
        inner = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        colour, depth_m = colour[inner], depth_m[inner]
        self._intrinsics = k.model_copy(update={"cx_px": k.cx_px - int(columns[0]), "cy_px": k.cy_px - int(rows[0])})
        if not (
            0 < self._intrinsics.cx_px < depth_m.shape[1] - 1 and 0 < self._intrinsics.cy_px < depth_m.shape[0] - 1
        ):
            raise SimulationError(
                f"{pair.colour}: the principal point ({k.cx_px:g}, {k.cy_px:g}) px lies outside the part of the image "
                f"({width} x {height} px) that has depth: correct {INTRINSICS_FILE}"
            )
        sweep = rig.sweep
        low, high = sweep.vergence_min_dpt, sweep.vergence_max_dpt
        reach = _BEYOND * (high - low)
        self._limits_dpt = max(low - reach, 1.0 / _FARTHEST_M), high + reach
        self._known = depth_m > 0
        self.scale = scale if scale is not None else _fitting_scale(depth_m[self._known], low, high)
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise SimulationError(f"{pair.depth}: depth scale {self.scale!r} is impossible: give a number above 0")
        vergence = np.zeros_like(depth_m)
        vergence[self._known] = 1.0 / (self.scale * depth_m[self._known])
        self._vergence_dpt = _filled(np.clip(vergence, *self._limits_dpt), self._known, colour)
        self._radiance = _linear(colour)
        self._seen: View | None = None
        slope = rig.optics.blur_slope_px_per_dpt
        self._edge_dpt = _EDGE_PX / slope
        self._reach_px = 0.5 * slope * (self._limits_dpt[1] - self._limits_dpt[0])

    @property
    def name(self) -> str:
        return self._name

    @property
    def illuminance_lux(self) -> float:
        return self._illuminance_lux

    @property
    def depth_range_m(self) -> tuple[float, float]:
        return 1.0 / self._limits_dpt[1], 1.0 / self._limits_dpt[0]

    def lateral_factor(self, canvas: Canvas) -> float:
        """Tangent of a ray's angle in the image over that of the canvas: the largest that keeps the canvas inside."""
        k = self._intrinsics
        x, y = canvas.rays(1)
        height, width = self._known.shape
        sides = [
            ((width - 1 - k.cx_px) / k.fx_px, float(x.max())),
            (k.cx_px / k.fx_px, -float(x.min())),
            ((height - 1 - k.cy_px) / k.fy_px, float(y.max())),
            (k.cy_px / k.fy_px, -float(y.min())),
        ]
        return min(inside / outside for inside, outside in sides if outside > 0)

    def view(self, canvas: Canvas, camera: Pose, time_s: float) -> View:
        """The scene from the world's origin at time 0, which the view states."""
        if self._seen is None or self._seen.canvas != canvas:
            self._seen = self._view(canvas)
        return self._seen

    def _view(self, canvas: Canvas) -> View:
        k, factor = self._intrinsics, self.lateral_factor(canvas)
        x, y = canvas.rays(SUPERSAMPLING)
        columns, rows = k.cx_px + factor * k.fx_px * x, k.cy_px + factor * k.fy_px * y
        coarser = float(max(np.abs(np.diff(columns, axis=1)).max(), np.abs(np.diff(rows, axis=0)).max()))
        radiance = self._radiance
        if coarser > 1.0:  # what a sample's area averages
            radiance = cv2.GaussianBlur(radiance, (0, 0), 0.5 * float(np.sqrt(coarser**2 - 1.0)))
        radiance = cv2.remap(radiance, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        vergence = cv2.remap(self._vergence_dpt, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        known = cv2.remap(self._known.astype(np.uint8), columns, rows, cv2.INTER_NEAREST) > 0
        s = SUPERSAMPLING
        whole = known.reshape(canvas.height_px, s, canvas.width_px, s).all(axis=(1, 3))
        m, sensor = canvas.margin_px, canvas.camera
        known_here = np.ascontiguousarray(whole[m : m + sensor.height_px, m : m + sensor.width_px])
        layers = layered(np.maximum(radiance, 0.0), vergence, self._edge_dpt, SUPERSAMPLING * self._reach_px)
        return View(canvas, tuple(layers), known=None if known_here.all() else known_here)


def _load(pair: RgbdPair) -> tuple[NDArray[np.uint8], Image]:
    """Colour uint8 [H, W, 3] (BGR) and depth in metres, 0 where there is none."""
    colour = cv2.imread(str(pair.colour), cv2.IMREAD_COLOR)
    if colour is None:
        raise SimulationError(f"{pair.colour}: this colour image cannot be read")
    if pair.depth.suffix.lower() == ".npy":
        try:
            depth = np.load(pair.depth)
        except (OSError, ValueError) as problem:
            raise SimulationError(f"{pair.depth}: this depth array cannot be read: {problem}") from None
        if depth.ndim != 2 or depth.dtype.kind != "f":
            raise SimulationError(
                f"{pair.depth}: depth is {depth.dtype} of shape {list(depth.shape)}: give float metres of shape [H, W]"
            )
        unit = 1.0
    else:
        depth = cv2.imread(str(pair.depth), cv2.IMREAD_UNCHANGED)
        if depth is None:
            raise SimulationError(f"{pair.depth}: this depth image cannot be read")
        if depth.ndim != 2 or depth.dtype != np.uint16:
            raise SimulationError(
                f"{pair.depth}: depth is {depth.dtype} of shape {list(depth.shape)}: give one channel of 16 bits"
            )
        unit = pair.intrinsics.depth_unit_m if pair.intrinsics else 0.001
    if depth.shape != colour.shape[:2]:
        (height, width), (rows, columns) = depth.shape, colour.shape[:2]
        raise SimulationError(
            f"{pair.depth}: depth of {width} x {height} px does not fit {pair.colour.name} of {columns} x {rows} px: "
            f"register the two"
        )
    depth_m = np.where(np.isfinite(depth), depth, 0).astype(np.float32) * np.float32(unit)
    if not (depth_m > 0).any():
        raise SimulationError(f"{pair.depth}: no pixel has a depth above 0")
    return colour, depth_m


def _fitting_scale(depth_m: Image, low_dpt: float, high_dpt: float) -> float:
    """Factor that brings the 5th percentile of depth to the near end of the sweep, if the 95th then still lies in it.

    Where the depths span more than the sweep, both ends stand out by the same ratio.
    """
    near, far = (float(value) for value in np.percentile(depth_m, (5, 95)))
    nearest, farthest = 1.05 / high_dpt, 0.97 / max(low_dpt, 1.0 / _FARTHEST_M)
    if far / near <= farthest / nearest:
        return nearest / near
    return float(np.sqrt(nearest * farthest / (near * far)))


def _linear(colour: NDArray[np.uint8]) -> Image:
    """Linear luminance of sRGB (IEC 61966-2-1; weights of ITU-R BT.709)."""
    value = np.arange(256) / 255.0
    table = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)
    blue, green, red = (table[colour[..., channel]] for channel in range(3))
    luminance: Image = np.float32(0.2126) * red + np.float32(0.7152) * green + np.float32(0.0722) * blue
    return luminance


def _filled(vergence: Image, known: Mask, colour: NDArray[np.uint8]) -> Image:
    """Holes filled by what spreads in from their rims, but hardly across edges of the colour image.

    Vergence spreads, not depth: a plane's is linear in the image. The weights are those of Levin, Lischinski and Weiss
    (Colorization using optimization, 2004) with brightness as the guide.
    """
    filled = _nearest(vergence, known)
    if known.all():
        return filled
    guide = cv2.GaussianBlur(cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255, (0, 0), 1.0)
    _spread(filled, known, guide, np.float32(_FILL_CONTRAST), _FILL_PASSES)
    return filled


@numba.njit(nogil=True, cache=True)
def _spread(values, known, guide, contrast, passes):  # type: ignore[no-untyped-def]
    """Gauss-Seidel passes in alternating directions of the weighted mean of the four neighbours, in place."""
    rows, columns = values.shape
    for number in range(passes):
        for step_i in range(rows):
            i = step_i if number % 2 == 0 else rows - 1 - step_i
            for step_j in range(columns):
                j = step_j if number % 4 < 2 else columns - 1 - step_j
                if known[i, j]:
                    continue
                total, weights = 0.0, 0.0
                for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                    if 0 <= a < rows and 0 <= b < columns:
                        step = (guide[a, b] - guide[i, j]) / contrast
                        weight = 1e-3 + np.exp(-step * step)
                        total += weight * values[a, b]
                        weights += weight
                values[i, j] = total / weights


def layered(radiance: Image, vergence_dpt: Image, edge_dpt: float, reach: float) -> list[Layer]:
    """Layers of a picture with depth, back to front, that hide one another as its surfaces do.

    Where depth jumps, a rim of the near side lies in a layer in front, and what the far side shows beside it is
    mirrored beneath that rim. The rim is opaque as far as blur can see past the jump and then fades out over a wide
    stretch on which the layers beneath show the same surface, so that it leaves no seam. All that lies away from jumps
    is the first layer's, however its depth runs.

    Args:
        radiance: float32 [H, W].
        vergence_dpt: float32 [H, W].
        edge_dpt: smallest jump between neighbours that counts.
        reach: largest radius of blur, in samples.
    """
    vergence = _stepped(vergence_dpt, edge_dpt)
    ramp = np.float32(_RAMP * edge_dpt)
    cuts = _cuts(vergence, edge_dpt, float(ramp))
    # mirrored light fills the near half of the first two radii; from the fade, blur sees no nearer than these
    opaque, faded = 3.0 * reach, (3.0 + _FADE) * reach
    distances = [_along_surface(vergence, rim, np.float32(edge_dpt), round(faded)) for _, rim in cuts]
    fades = [
        np.clip((vergence - cut) / ramp, 0, 1) * np.clip((faded - distance) / (faded - opaque), 0, 1)
        for (cut, _), distance in zip(cuts, distances, strict=True)
    ]
    layers = []
    for number in range(len(cuts) + 1):
        fade = np.ones_like(vergence) if number == 0 else fades[number - 1].astype(np.float32)
        hidden = np.zeros(vergence.shape, bool)  # below an opaque part of a nearer layer
        behind_rim = np.zeros(vergence.shape, bool)
        for nearer, distance in zip(fades[number:], distances[number:], strict=True):
            hidden |= nearer >= 1
            behind_rim |= (nearer >= 1) & (distance <= 2.0 * reach)
        own = (fade > 0) & ~hidden
        if not own.any():
            continue
        shown = own | (hidden & ~behind_rim)
        if number < len(cuts):
            shown |= _continuing(vergence, own, np.float32(cuts[number][0] + ramp + edge_dpt), np.float32(edge_dpt))
        # along a jump the picture mixes both sides
        mixed = cv2.dilate((hidden & ~shown).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        true = shown & ~mixed if (shown & ~mixed).any() else shown
        light, depth = _mirrored(radiance, true), 1.0 / _smoothly_continued(vergence, shown)
        if number == 0:
            layers.append(Layer(0, 0, light, None, depth))
            continue
        coverage = np.where(shown, fade, 0.0).astype(np.float32)
        coverage = np.where(hidden & ~shown, _nearest(coverage, ~hidden | shown), coverage)
        layers.append(_cropped(light, coverage, depth))
    return layers


def _stepped(vergence: Image, edge_dpt: float) -> Image:
    """Jumps that take a few samples become steps: there each sample goes to the nearer of its neighbours' extremes.

    The toggle mapping of Kramer and Bruckner (Iterations of a non-linear transformation for enhancement of digital
    images, 1975); smooth slopes stay as they are.
    """
    for _ in range(2):
        square = np.ones((3, 3), np.uint8)
        highest, lowest = cv2.dilate(vergence, square), cv2.erode(vergence, square)
        toggled = np.where(highest - vergence < vergence - lowest, highest, lowest)
        vergence = np.where(highest - lowest > edge_dpt, toggled, vergence).astype(np.float32)
    return vergence


def _cuts(vergence: Image, edge_dpt: float, ramp_dpt: float) -> list[tuple[float, Mask]]:
    """Vergences at which layers begin, far to near, and the near sides of the jumps that each of them parts.

    Found greedily: the fewest that part nearly all jumps.
    """
    columns = np.arange(vergence.size).reshape(vergence.shape)
    far, near, side = [], [], []
    for first, second in (((slice(None), slice(-1)), (slice(None), slice(1, None))), (slice(-1), slice(1, None))):
        a, b = vergence[first], vergence[second]
        jump = np.abs(a - b) > edge_dpt
        far.append(np.minimum(a, b)[jump])
        near.append(np.maximum(a, b)[jump])
        side.append(np.where(a > b, columns[first], columns[second])[jump])
    lowest, highest, index = np.concatenate(far), np.concatenate(near) - ramp_dpt, np.concatenate(side)
    cuts: list[tuple[float, Mask]] = []
    few = 0.01 * len(lowest)
    while len(lowest) > few and len(cuts) < _MOST_LAYERS - 1:
        grid = np.linspace(float(lowest.min()), float(highest.max()), 256)
        counts = np.searchsorted(np.sort(lowest), grid, side="right")
        counts -= np.searchsorted(np.sort(highest), grid, side="left")
        best = np.flatnonzero(counts == counts.max())
        cut = float(grid[best[len(best) // 2]])
        parted = (lowest <= cut) & (highest >= cut)
        if not parted.any():
            break
        rim = np.zeros(vergence.size, bool)
        rim[index[parted]] = True
        cuts.append((cut, rim.reshape(vergence.shape)))
        lowest, highest, index = lowest[~parted], highest[~parted], index[~parted]
    return sorted(cuts, key=lambda cut: cut[0])


@numba.njit(nogil=True, cache=True)
def _along_surface(vergence, sources, edge, farthest):  # type: ignore[no-untyped-def]
    """Steps between neighbours, without a jump, from the nearest source; ``farthest`` + 1 where there are more."""
    rows, columns = vergence.shape
    distance = np.full((rows, columns), farthest + 1, np.int32)
    queue = np.empty(rows * columns, np.int64)
    head, tail = 0, 0
    for i in range(rows):
        for j in range(columns):
            if sources[i, j]:
                distance[i, j] = 0
                queue[tail] = i * columns + j
                tail += 1
    while head < tail:
        i, j = queue[head] // columns, queue[head] % columns
        head += 1
        if distance[i, j] >= farthest:
            break
        for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if a < 0 or b < 0 or a >= rows or b >= columns or distance[a, b] <= farthest:
                continue
            if abs(vergence[a, b] - vergence[i, j]) <= edge:
                distance[a, b] = distance[i, j] + 1
                queue[tail] = a * columns + b
                tail += 1
    return distance


@numba.njit(nogil=True, cache=True)
def _continuing(vergence, own, highest, edge):  # type: ignore[no-untyped-def]
    """What can be reached from ``own`` without a jump and without rising above ``highest``."""
    rows, columns = vergence.shape
    reached = np.zeros((rows, columns), np.bool_)
    stack = np.empty(rows * columns, np.int64)
    count = 0
    for i in range(rows):
        for j in range(columns):
            if own[i, j]:
                stack[count] = i * columns + j
                count += 1
    while count:
        count -= 1
        i, j = stack[count] // columns, stack[count] % columns
        for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if a < 0 or b < 0 or a >= rows or b >= columns or own[a, b] or reached[a, b]:
                continue
            value = vergence[a, b]
            if value <= highest and abs(value - vergence[i, j]) <= edge:
                reached[a, b] = True
                stack[count] = a * columns + b
                count += 1
    return reached


def _nearest_known(known: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of the nearest known sample to each."""
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, columns = np.nonzero(known)
    of_label = np.zeros(int(labels.max()) + 1, np.intp)
    of_label[labels[rows, columns]] = np.arange(len(rows))
    index = of_label[labels]
    return rows[index], columns[index]


def _nearest(values: Image, known: Mask) -> Image:
    if known.all():
        return values.copy()
    rows, columns = _nearest_known(known)
    return np.ascontiguousarray(values[rows, columns])


def _mirrored(values: Image, known: Mask) -> Image:
    """Unknown samples take what lies as far on the other side of the nearest known one, or that one's value."""
    if known.all():
        return values
    rows, columns = _nearest_known(known)
    own_rows, own_columns = np.indices(known.shape)
    far_rows, far_columns = 2 * rows - own_rows, 2 * columns - own_columns
    height, width = known.shape
    inside = (far_rows >= 0) & (far_rows < height) & (far_columns >= 0) & (far_columns < width)
    usable = inside & known[np.clip(far_rows, 0, height - 1), np.clip(far_columns, 0, width - 1)]
    return np.ascontiguousarray(values[np.where(usable, far_rows, rows), np.where(usable, far_columns, columns)])


def _smoothly_continued(values: Image, known: Mask) -> Image:
    """The nearest known value, smoothed where it is a guess."""
    if known.all():
        return values
    nearest = _nearest(values, known)
    smooth: Image = np.where(known, values, cv2.blur(nearest, (15, 15), borderType=cv2.BORDER_REPLICATE))
    return smooth


def _cropped(radiance: Image, coverage: Image, depth_m: Image) -> Layer:
    """The layer on the whole pixels that it covers."""
    s = SUPERSAMPLING
    ends: Sequence[NDArray[np.intp]] = [np.flatnonzero((coverage > 0).any(axis=axis)) // s for axis in (1, 0)]
    box = tuple(slice(int(found[0]) * s, (int(found[-1]) + 1) * s) for found in ends)
    radiance, coverage, depth_m = (np.ascontiguousarray(image[box]) for image in (radiance, coverage, depth_m))
    return Layer(int(ends[1][0]), int(ends[0][0]), radiance, coverage, depth_m)
