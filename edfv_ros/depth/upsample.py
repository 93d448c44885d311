"""From the grid of cells to pixels, without inventing depths between two surfaces."""

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray

RADIUS_CELLS = 3
DISTANCE_SIGMA_CELLS = 2.0
CONTRAST_SIGMA = 0.15
"""Difference of log intensity that separates surfaces."""

CANDIDATE_STEP = 5
"""Every how many cells of the window one is asked for its surface: prime to the window's width, so all columns are."""

_DARKEST = 4.0  # grey levels added before the logarithm, so that sensor noise in the dark is no contrast


@nb.njit(nogil=True, cache=True, fastmath=True)
def to_pixels(
    cells: NDArray[np.float32], height: int, width: int, cell_px: int, same_surface: float
) -> NDArray[np.float32]:
    """Interpolate maps from cells to pixels, among cells of the same surface only, so that no pixel floats between two.

    Args:
        cells: float32 [maps, rows, columns]; the first map tells surfaces apart.
        height: image height.
        width: image width.
        cell_px: pixels per cell.
        same_surface: largest difference in the first map within a surface.
    """
    maps, rows, columns = cells.shape
    out = np.empty((maps, height, width), np.float32)
    total = np.empty(maps, np.float32)
    for y in range(height):
        fy = (y + 0.5) / cell_px - 0.5
        y0 = int(np.floor(fy))
        for x in range(width):
            fx = (x + 0.5) / cell_px - 0.5
            x0 = int(np.floor(fx))
            own = cells[0, y // cell_px, x // cell_px]
            total[:] = 0.0
            weight = np.float32(0.0)
            for v in (y0, y0 + 1):
                for u in (x0, x0 + 1):
                    cv, cu = min(max(v, 0), rows - 1), min(max(u, 0), columns - 1)
                    if abs(cells[0, cv, cu] - own) <= same_surface:
                        w = np.float32((1 - abs(fy - v)) * (1 - abs(fx - u)))
                        weight += w
                        for m in range(maps):
                            total[m] += w * cells[m, cv, cu]
            for m in range(maps):
                out[m, y, x] = total[m] / weight
    return out


def follow_image_edges(
    pixels: NDArray[np.float32],
    cells: NDArray[np.float32],
    image: NDArray[np.uint8],
    cell_px: int,
    same_surface: float,
) -> None:
    """Where surfaces meet, give each pixel the surface whose cells look like it in the image, in place.

    Joint bilateral upsampling (Kopf et al., SIGGRAPH 2007) that picks the strongest surface instead of mixing them.

    Args:
        pixels: float32 [maps, H, W], from :func:`to_pixels`.
        cells: float32 [maps, rows, columns]; the first map tells surfaces apart, the second is the confidence.
        image: uint8 [H, W], intensity, focused anywhere.
        cell_px: pixels per cell.
        same_surface: largest difference in the first map within a surface.

    Raises:
        ValueError: the image has another size.
    """
    rows, columns = cells.shape[1:]
    height, width = pixels.shape[1:]
    if image.shape != (height, width):  # the kernel below checks no bounds
        raise ValueError(f"the image is {image.shape[1]} x {image.shape[0]}, the depth {width} x {height}")
    guide = np.log(image.astype(np.float32) + np.float32(_DARKEST))
    padded = cv2.copyMakeBorder(guide, 0, rows * cell_px - height, 0, columns * cell_px - width, cv2.BORDER_REPLICATE)
    cell_guide = cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA)
    window = np.ones((2 * RADIUS_CELLS + 1,) * 2, np.uint8)
    meeting = cv2.dilate(cells[0], window) - cv2.erode(cells[0], window) > same_surface
    _pick_surface(pixels, cells, guide, cell_guide, meeting, cell_px, same_surface)


@nb.njit(nogil=True, cache=True, fastmath=True)
def _pick_surface(
    pixels: NDArray[np.float32],
    cells: NDArray[np.float32],
    guide: NDArray[np.float32],
    cell_guide: NDArray[np.float32],
    meeting: NDArray[np.bool_],
    cell_px: int,
    same_surface: float,
) -> None:
    maps, rows, columns = cells.shape
    side = 2 * RADIUS_CELLS + 1
    weight = np.empty(side * side, np.float32)
    member = np.empty((side * side, 2), np.int64)
    for y in range(guide.shape[0]):
        for x in range(guide.shape[1]):
            own_row, own_column = y // cell_px, x // cell_px
            if not meeting[own_row, own_column]:
                continue
            count = 0
            for row in range(max(own_row - RADIUS_CELLS, 0), min(own_row + RADIUS_CELLS + 1, rows)):
                for column in range(max(own_column - RADIUS_CELLS, 0), min(own_column + RADIUS_CELLS + 1, columns)):
                    dy = (y + 0.5) / cell_px - 0.5 - row
                    dx = (x + 0.5) / cell_px - 0.5 - column
                    contrast = (guide[y, x] - cell_guide[row, column]) / CONTRAST_SIGMA
                    distance = (dy * dy + dx * dx) / DISTANCE_SIGMA_CELLS**2
                    likeness = np.exp(np.float32(-0.5) * np.float32(distance + contrast * contrast))
                    weight[count] = likeness * (cells[1, row, column] + np.float32(0.05))
                    member[count, 0], member[count, 1] = row, column
                    count += 1
            strongest = np.float32(-1.0)
            surface = np.float32(0.0)
            for i in range(0, count, CANDIDATE_STEP):
                candidate = cells[0, member[i, 0], member[i, 1]]
                support = np.float32(0.0)
                for j in range(count):
                    if abs(cells[0, member[j, 0], member[j, 1]] - candidate) <= same_surface:
                        support += weight[j]
                if support > strongest:
                    strongest, surface = support, candidate
            if strongest <= np.float32(1e-20):
                continue
            pixels[:, y, x] = 0.0
            for i in range(count):
                row, column = member[i, 0], member[i, 1]
                if abs(cells[0, row, column] - surface) <= same_surface:
                    for m in range(maps):
                        pixels[m, y, x] += weight[i] / strongest * cells[m, row, column]
