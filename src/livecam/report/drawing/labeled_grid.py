"""Pictures in a grid: heads above its columns, words before its rows, and what all of it is about on the left."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from livecam.report.drawing.panels import PAPER, fitted, to_uint8
from livecam.report.drawing.text_layout import FAINT, TextBlock, fit, font

BLANK = (240, 240, 238)
"""Color of a place without a picture."""
_MARGIN, _GAP, _FOOT = 12, 8, 20
# Where the words before the rows are short, they still get this many pixels.
_GUTTER = 84


@dataclass
class Subject:
    """What the grid is about, to the left of it.

    Args:
        picture: At the height of the first row.
        words: Said below it.
        width: Pixels that both may take.
        title: Above it.
    """

    picture: Image.Image
    words: TextBlock
    width: int
    title: TextBlock = field(default_factory=TextBlock)


@dataclass
class Row:
    """One row.

    Args:
        words: Said before it.
        pictures: RGB ``(3, h, w)`` of each column; None where there is none.
        notes: Said below each of them.
    """

    words: TextBlock
    pictures: Sequence[Tensor | None]
    notes: Sequence[str]


def draw_grid(
    subject: Subject, heads: Sequence[tuple[TextBlock, TextBlock]], rows: Sequence[Row], size: tuple[int, int]
) -> np.ndarray:
    """Draw a grid; only rows with notes leave room for them.

    Args:
        subject: What it is about.
        heads: Title of each column, and what is said below it; all titles end on one line.
        rows: At least one.
        size: Width and height in pixels that every picture is fitted into.

    Returns:
        uint8 array ``(h, w, 3)``.
    """
    wide, tall = size
    gutter = max(_GUTTER, *(row.words.width + 2 for row in rows))
    under = _MARGIN + max(title.height for title in [subject.title, *(title for title, _ in heads)])
    top = under + max(about.height for _, about in heads) + 6
    left = _MARGIN + subject.width + _GAP + gutter + _GAP
    edges = [left + number * (wide + _GAP) for number in range(len(heads))]
    steps = [tall + _GAP + _FOOT * any(row.notes) for row in rows]
    words_top = top + subject.picture.height + 6
    bottom = max(top + sum(steps) - _GAP, words_top + subject.words.height)
    canvas = Image.new("RGB", (edges[-1] + wide + _MARGIN, bottom + _MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)

    subject.title.draw(draw, _MARGIN, under - subject.title.height)
    canvas.paste(subject.picture, (_MARGIN, top))
    subject.words.draw(draw, _MARGIN, words_top)
    for x, (title, about) in zip(edges, heads):
        title.draw(draw, x + wide / 2, under - title.height, "mm")
        about.draw(draw, x + wide / 2, under, "mm")
    for row, step in zip(rows, steps):
        row.words.draw(draw, left - _GAP, top + (tall - row.words.height) / 2, "rm")
        for x, picture, note in zip(edges, row.pictures, row.notes):
            if picture is None:
                draw.rectangle((x, top, x + wide - 1, top + tall - 1), fill=BLANK)
                draw.text((x + wide / 2, top + tall / 2), "does not fit", FAINT, font(13), anchor="mm")
            else:
                image = fitted(Image.fromarray(to_uint8(picture)), wide, tall)
                canvas.paste(image, (x + (wide - image.width) // 2, top))
            draw.text((x + wide / 2, top + tall + 11), fit(note, wide, 13), FAINT, font(13), anchor="mm")
        top += step
    return np.asarray(canvas)
