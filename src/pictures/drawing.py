"""Shapes, lines and text in RGB arrays for the pictures of all tasks, vectorised over shapes.

A canvas is (H, W, 3) uint8, changed in place. Points are (n, 2) pixels (x, y), colours (n, 3) or (3,) in 0..255.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Legend = list[tuple[np.ndarray, Colour, str]]  # shape, its colour, what it means

BACKGROUND: Colour = (22, 24, 30)
PANEL: Colour = (34, 37, 46)
GRID: Colour = (44, 48, 58)
TEXT: Colour = (226, 229, 236)
MUTED: Colour = (150, 156, 170)
BLUE: Colour = (82, 160, 255)
ORANGE: Colour = (255, 140, 60)
GREEN: Colour = (80, 200, 120)
RED: Colour = (240, 84, 84)
YELLOW: Colour = (255, 224, 102)
# Told apart by colour-blind readers as far as eight colours can be; further groups repeat them.
GROUPS: Sequence[Colour] = (
    (82, 160, 255),
    (255, 176, 59),
    (64, 201, 162),
    (240, 120, 190),
    (250, 236, 110),
    (120, 220, 255),
    (240, 100, 70),
    (176, 150, 255),
)


MARGIN = 12  # pixels around the arena
FRAME_WIDTH = 744  # pixels at least, for the caption
STRIP = 36  # pixels of the caption above and of the legend below


def blank(height: int, width: int, colour: Colour = BACKGROUND) -> np.ndarray:
    """Make a canvas of one colour."""
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    box(canvas, 0, 0, width, height, colour)
    return canvas


@lru_cache
def disc(radius: float) -> np.ndarray:
    """Return the opacity (k, k) float32 of a disc with a soft edge, k odd."""
    axis = _axis(radius)
    return np.clip(radius + 0.5 - np.hypot(axis, axis[:, None]), 0, 1)


@lru_cache
def ring(radius: float, width: float) -> np.ndarray:
    """Return the opacity (k, k) float32 of a circle's line of ``width``; ``radius`` is that of its outer edge."""
    axis = _axis(radius)
    return disc(radius) * np.clip(np.hypot(axis, axis[:, None]) - (radius - width) + 0.5, 0, 1)


@lru_cache
def diamond(radius: float) -> np.ndarray:
    """Return the opacity (k, k) float32 of a square that stands on a corner, k odd."""
    axis = np.abs(_axis(radius))
    return np.clip(radius + 0.5 - (axis + axis[:, None]), 0, 1)


def _axis(radius: float) -> np.ndarray:
    reach = int(np.ceil(radius + 0.5))
    return np.arange(-reach, reach + 1, dtype=np.float32)


def stamp(
    canvas: np.ndarray, centre: np.ndarray, colour: np.ndarray | Colour, shape: np.ndarray, wrap: bool = False
) -> None:
    """Blend ``shape``, an opacity (h, w), into the canvas at every centre.

    What lies outside is cut off, or with ``wrap`` drawn at the opposite edge. Where shapes overlap, the last one is
    drawn on top.
    """
    height, width, _ = canvas.shape
    x0, y0 = np.rint(centre).astype(np.int64).reshape(-1, 2).T
    dy, dx = np.nonzero(shape)
    x, y = x0[:, None] + dx - shape.shape[1] // 2, y0[:, None] + dy - shape.shape[0] // 2
    if wrap:
        x, y = x % width, y % height
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    who, which = np.nonzero(inside)
    x, y = x[inside], y[inside]
    new = np.broadcast_to(np.asarray(colour, dtype=np.float32), (len(x0), 3))[who]
    old = canvas[y, x]
    canvas[y, x] = old + shape[dy, dx][which, None] * (new - old) + 0.5


def lines(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, colour: Colour, wrap: bool = False) -> None:
    """Draw straight lines of two pixels' width from ``start`` to ``end``."""
    if len(start) == 0:
        return
    count = int(np.abs(end - start).max()) + 2
    share = np.linspace(0, 1, count)[:, None, None]
    points = (start + share * (end - start)).reshape(-1, 2)
    stamp(canvas, points, colour, np.ones((2, 2), dtype=np.float32), wrap)


def box(canvas: np.ndarray, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
    """Fill a rectangle, cut off at the canvas."""
    x0, y0, x1, y1 = (max(0, round(edge)) for edge in (left, top, right, bottom))
    area = canvas[y0:y1, x0:x1]
    area[:] = np.tile(np.array(colour, dtype=np.uint8), (area.shape[1], 1))  # by rows: many times faster than by pixels


def write(canvas: np.ndarray, left: int, middle: int, text: str, colour: Colour = TEXT, size: int = 15) -> int:
    """Write one line of text that starts at ``left`` and is centred on the row ``middle``; return where it ends."""
    opacity = _text(text, size)
    height, width = opacity.shape
    area = canvas[middle - height // 2 : middle - height // 2 + height, left : left + width]
    opacity = opacity[: area.shape[0], : area.shape[1], None]
    area[:] = area + opacity * (np.asarray(colour, dtype=np.float32) - area) + 0.5
    return left + width


@lru_cache(maxsize=512)
def _text(text: str, size: int) -> np.ndarray:
    """Return the opacity (h, w) float32 of a line of text; equal heights for equal sizes."""
    font = ImageFont.load_default(size)
    width, height = int(font.getlength(text)) + 2, int(1.4 * size)
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).text((0, height // 2), text, fill=255, font=font, anchor="lm")
    return np.asarray(image, dtype=np.float32) / 255


def compose(arena: np.ndarray, caption: Sequence[str], legend: Legend) -> np.ndarray:
    """Put the arena between a caption and a legend: (H, W, 3) uint8 with even H and W, as MP4 needs them."""
    height, width, _ = arena.shape
    total_height, total_width = height + 2 * STRIP + MARGIN, max(width + 2 * MARGIN, FRAME_WIDTH)
    canvas = blank(total_height + total_height % 2, total_width + total_width % 2, PANEL)
    left = (canvas.shape[1] - width) // 2
    canvas[STRIP : STRIP + height, left : left + width] = arena
    x = MARGIN
    for index, part in enumerate(caption):
        x = write(canvas, x, STRIP // 2, part, TEXT if index == 0 else MUTED) + 22
    x, middle = MARGIN, STRIP + height + (canvas.shape[0] - STRIP - height) // 2
    for shape, colour, label in legend:
        stamp(canvas, np.array([x + 7, middle]), colour, shape)
        x = write(canvas, x + 20 if shape.any() else x, middle, label, MUTED, 13) + 16
    return canvas
