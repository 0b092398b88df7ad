"""Maps as images: values on a grid, their scale with its numbers, marks, and the gain's history.

A map is (rows, columns) of numbers, NaN where a cell has none. An image is (height, width, 3) RGB,
8 bits.
"""

import base64
import io
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ttt3r_viewer.metrics.palette import RGB
from ttt3r_viewer.scene.budget import robust_range
from ttt3r_viewer.viewer.layers.colors import VIRIDIS, apply_color_map

Scale = tuple[float, float]
Floats = NDArray[np.floating]
Pixels = NDArray[np.uint8]

WIDTH_PX = 300
"""About as wide as the panel."""
STATE_PX = 200
"""Side of the state map, beside which its scale has room."""
BAR_PX, TEXT_PX, GAP_PX = 8, 12, 4
BACKGROUND: RGB = (46, 46, 46)
TEXT_COLOR: RGB = (225, 225, 225)
NO_VALUE: RGB = (70, 70, 70)
TOKEN_COLOR: RGB = (255, 120, 40)
"""The picked token, and the patches that it attends to. Viridis has neither of the two colours."""
PATCH_COLOR: RGB = (255, 60, 255)
"""The picked patch, and the tokens that attend to it."""

JPEG_PX, JPEG_QUALITY = 320, 80
"""Width, at most, and quality of images that lie over the scene."""

HISTORY_COLUMNS = 400
HISTORY_ROWS = 192


def robust_scale(values: Floats) -> Scale:
    """Return percentiles 2 and 98 of the finite values; (0, 1) where there are none."""
    finite = values[np.isfinite(values)].astype(np.float64)
    return robust_range(finite) if len(finite) else (0.0, 1.0)


def scale_numbers(scale: Scale) -> tuple[str, str]:
    """Format both ends with three digits, or as many more as distinguish them."""
    low, high = scale
    for digits in range(3, 7):
        texts = f"{low:.{digits}g}", f"{high:.{digits}g}"
        if texts[0] != texts[1]:
            return texts
    return f"{low:.3g}", f"{high:.3g}"


def color_map(values: Floats, scale: Scale) -> Pixels:
    """Return the colour of every value (...,) on the scale; (..., 3) RGB."""
    low, high = scale
    flat = values.reshape(-1).astype(np.float64)
    known = np.isfinite(flat)
    colors = np.empty((len(flat), 3), np.uint8)
    colors[~known] = NO_VALUE
    colors[known] = apply_color_map((flat[known] - low) / max(high - low, 1e-12), VIRIDIS)
    return colors.reshape(*values.shape, 3)


def enlarge(values: NDArray, rows: int, columns: int) -> NDArray:
    """Repeat or skip the cells of (r, c, ...) so that they fill (rows, columns, ...)."""
    r, c = values.shape[:2]
    return values[np.arange(rows) * r // rows][:, np.arange(columns) * c // columns]


def outline(
    image: Pixels, cells: Iterable[int], rows: int, columns: int, color: RGB, thick: int = 2
) -> None:
    """Frame the given cells, counted row by row, of a grid over the image."""
    height, width = image.shape[:2]
    for cell in cells:
        row, column = divmod(int(cell), columns)
        down = slice(row * height // rows, (row + 1) * height // rows)
        across = slice(column * width // columns, (column + 1) * width // columns)
        box = image[down, across]
        thin = max(min(thick, box.shape[0] // 3, box.shape[1] // 3), 1)
        for edge in (box[:thin], box[-thin:], box[:, :thin], box[:, -thin:]):
            edge[:] = color


def with_color_bar(image: Pixels, scale: Scale, unit: str) -> Pixels:
    """Add a colour bar below the image, with the number at either end and the unit between."""
    width, y = image.shape[1], GAP_PX + BAR_PX
    ramp = apply_color_map(np.linspace(0.0, 1.0, width), VIRIDIS)
    legend, draw = _legend(width, y + GAP_PX // 2 + TEXT_PX + GAP_PX)
    legend.paste(Image.fromarray(np.repeat(ramp[None], BAR_PX, axis=0)), (0, GAP_PX))
    low, high = scale_numbers(scale)
    draw.text((3, y), low, TEXT_COLOR)
    draw.text((width - 3, y), high, TEXT_COLOR, anchor="ra")
    draw.text((width // 2, y), unit, TEXT_COLOR, anchor="ma")
    return np.concatenate([image, np.asarray(legend)])


def beside_color_bar(image: Pixels, scale: Scale, unit: str) -> Pixels:
    """Add a colour bar to the right of a narrow image, the largest number at the top."""
    height, x = image.shape[0], GAP_PX + BAR_PX + GAP_PX
    ramp = apply_color_map(np.linspace(1.0, 0.0, height), VIRIDIS)
    legend, draw = _legend(WIDTH_PX - image.shape[1], height)
    legend.paste(Image.fromarray(np.repeat(ramp[:, None], BAR_PX, axis=1)), (GAP_PX, 0))
    low, high = scale_numbers(scale)
    draw.text((x, 0), high, TEXT_COLOR)
    draw.text((x, height - 3), low, TEXT_COLOR, anchor="ls")
    words = "\n".join(textwrap.wrap(unit, 13))
    draw.multiline_text((x, height // 2), words, TEXT_COLOR, anchor="lm")
    return np.concatenate([image, np.asarray(legend)], axis=1)


def _legend(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    legend = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(legend)
    draw.font = ImageFont.load_default(TEXT_PX)
    return legend, draw


def png(image: Pixels) -> bytes:
    """Encode an image as PNG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def jpeg_url(image: NDArray[np.uint8], width_px: int = JPEG_PX) -> str:
    """Pack an image (height, width, 3) RGB, made at most so wide, into an address of itself."""
    file, small = io.BytesIO(), Image.fromarray(image)
    if small.width > width_px:
        small = small.resize((width_px, max(round(small.height * width_px / small.width), 1)))
    small.save(file, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def state_image(
    values: Floats, columns: int, unit: str, token: int, lit: Sequence[int] = ()
) -> Pixels:
    """Draw the tokens' values (state,) on their grid, with their scale.

    `token` is framed in its colour, and those in `lit` in the colour of the picked patch.
    """
    rows, scale = -(-len(values) // columns), robust_scale(values)
    grid = np.full((rows, columns), np.nan, np.float32)
    grid.flat[: len(values)] = values
    cell = max(STATE_PX // max(columns, rows), 1)
    image = enlarge(color_map(grid, scale), rows * cell, columns * cell)
    outline(image, lit, rows, columns, PATCH_COLOR)
    outline(image, (token,), rows, columns, TOKEN_COLOR, 3)
    return beside_color_bar(image, scale, unit)


def image_height(aspect: float) -> int:
    """Return the height in px of a drawn input image of this aspect, without its colour bar."""
    return round(WIDTH_PX / aspect)


def overlay_image(
    image: Pixels,
    values: Floats | None,
    opacity: float,
    unit: str,
    *,
    patches: tuple[int, int],
    top: Sequence[int] = (),
    picked: int | None = None,
) -> Pixels:
    """Blend a map over the input image, where there is one.

    `patches` are the rows and columns of the patch grid, on which the cells in `top` are framed in
    the token's colour and `picked` in its own.
    """
    height = image_height(image.shape[1] / image.shape[0])
    wide = Image.fromarray(image).resize((WIDTH_PX, height), Image.Resampling.BILINEAR)
    result = np.array(wide)
    scale = (0.0, 1.0)
    if values is not None:
        scale = robust_scale(values)
        # A cell without a value shows the image as it is.
        share = np.where(np.isfinite(values), opacity, 0.0)
        colors = enlarge(color_map(values, scale), height, WIDTH_PX)
        share = enlarge(share, height, WIDTH_PX)[..., None]
        result = (result * (1 - share) + colors * share).round().astype(np.uint8)
    outline(result, top, *patches, TOKEN_COLOR)
    outline(result, () if picked is None else (picked,), *patches, PATCH_COLOR)
    return result if values is None else with_color_bar(result, scale, unit)


def frames_per_column(count: int) -> int:
    """Return how many frames share a column of the history: the least power of two that fits."""
    return 1 << ((count - 1) // HISTORY_COLUMNS).bit_length()


def decimated(gains: NDArray[np.float16]) -> Floats:
    """Return (state, columns): of each column's frames, the gain farthest from the token's mean.

    `gains` (frame, state) are those of at least one frame.
    """
    last, stretch = len(gains) - 1, frames_per_column(len(gains))
    columns = last // stretch + 1
    # The last frame fills its column, which changes neither its least nor its largest gain.
    padded = gains[np.minimum(np.arange(columns * stretch), last)].astype(np.float32)
    stretches = padded.reshape(columns, stretch, -1)
    low, high = stretches.min(axis=1), stretches.max(axis=1)
    mean = gains.mean(axis=0, dtype=np.float64)
    return np.where(high - mean >= mean - low, high, low).T


def frames_since_above(rows: NDArray[np.float16], threshold: float) -> NDArray[np.float64]:
    """Count per token the frames since its gain (frame, state) was last above the threshold.

    0 where it is above in the last frame; the number of frames where it never was.
    """
    above = rows[::-1] > threshold
    return np.where(above.any(axis=0), above.argmax(axis=0), float(len(rows)))


def history_image(
    gains: NDArray[np.float16], *, by_mean: bool, token: int, position: int, unit: str
) -> Pixels:
    """Draw gains (frame, state): tokens downwards, time to the right, lines at token and frame.

    By mean, the tokens that accept most are at the top. Where there are more tokens than rows,
    each row is the mean of equally many neighbours.
    """
    values, order = decimated(gains), np.arange(gains.shape[1])
    if by_mean:
        order = np.argsort(-gains.mean(axis=0, dtype=np.float64), kind="stable")
    group = -(-len(values) // HISTORY_ROWS)
    starts = np.arange(0, len(values), group)
    sizes = np.diff(np.append(starts, len(values)))
    shown = np.add.reduceat(values[order], starts, axis=0) / sizes[:, None]
    rows, columns = shown.shape
    # First frames, which every token accepts in full, would leave the others one colour.
    varied = np.ptp(shown, axis=0) > 0
    scale = robust_scale(shown[:, varied] if varied.any() else shown)
    height = rows * max(HISTORY_ROWS // rows, 1)
    image = enlarge(color_map(shown, scale), height, max(WIDTH_PX, columns))
    width = image.shape[1]
    row = int(np.flatnonzero(order == token)[0]) // group
    column = min(position // frames_per_column(len(gains)), columns - 1)
    image[(2 * row + 1) * height // (2 * rows)] = TOKEN_COLOR
    image[:, (2 * column + 1) * width // (2 * columns)] = PATCH_COLOR
    return with_color_bar(image, scale, unit)


def histogram_steps(
    values: Floats, bins: int = 32
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count the finite values between their least and largest, as the corners of a staircase."""
    counts, edges = np.histogram(values[np.isfinite(values)].astype(np.float64), bins)
    x = np.repeat(edges, 2)
    y = np.concatenate([[0.0], np.repeat(counts, 2), [0.0]])
    return x, y
