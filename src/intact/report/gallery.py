"""A sheet of protected images: original, protected, difference and restored, with what classifiers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

SIDE, GAP, TEXT = 224, 12, 14  # pixels: of a picture, between pictures, of letters
CONTRAST = 8  # how much stronger the difference is shown
TITLES = ("original", "protected", f"difference, x {CONTRAST}", "restored")
DARK, PALE = (24, 24, 27), (212, 212, 216)

Grey = UInt8[ndarray, "h w"]


@dataclass(frozen=True, eq=False)
class Exhibit:
    """One row of the gallery.

    Args:
        original: As shown, in 255 levels.
        protected: The same.
        restored: The same.
        words: What classifiers say of each of the three, a line for each classifier.
    """

    original: Grey
    protected: Grey
    restored: Grey
    words: tuple[Sequence[str], Sequence[str], Sequence[str]]


def draw_gallery(exhibits: Sequence[Exhibit]) -> Pillow.Image:
    """All rows on one sheet.

    Raises:
        ValueError: There is nothing to show.
    """
    if not exhibits:
        raise ValueError("there is no image to show")
    lines = max(len(words) for exhibit in exhibits for words in exhibit.words)
    tall = SIDE + lines * (TEXT + 4) + GAP
    sheet = Pillow.new("RGB", (4 * (SIDE + GAP) + GAP, 2 * GAP + TEXT + 8 + len(exhibits) * tall), DARK)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for column, title in enumerate(TITLES):
        draw.text((GAP + column * (SIDE + GAP), GAP), title, PALE, font)
    for row, exhibit in enumerate(exhibits):
        top = 2 * GAP + TEXT + 8 + row * tall
        difference = CONTRAST * (exhibit.protected.astype(int) - exhibit.original) + 128
        pictures = (exhibit.original, exhibit.protected, difference, exhibit.restored)
        told = (exhibit.words[0], exhibit.words[1], (), exhibit.words[2])
        for column, (picture, words) in enumerate(zip(pictures, told, strict=True)):
            left = GAP + column * (SIDE + GAP)
            sheet.paste(_fitted(np.clip(picture, 0, 255).astype(np.uint8)), (left, top))
            for line, text in enumerate(words):
                draw.text((left, top + SIDE + 3 + line * (TEXT + 4)), text, PALE, font)
    return sheet


def _fitted(picture: Grey) -> Pillow.Image:
    """A picture on a square, as large as fits."""
    image = Pillow.fromarray(picture)
    scale = SIDE / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size], Pillow.Resampling.LANCZOS)
    square = Pillow.new("L", (SIDE, SIDE))
    square.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return square
