"""One photo seen by several networks: a column per network, a row per method."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from livecam.report.drawing.panels import BAD, FRAME, GOOD, fitted, to_uint8
from livecam.report.drawing.strips import Sample
from livecam.report.drawing.text_layout import FAINT, INK, Lines, fit, font, width_of, wrap

_PAPER, _BLANK = (255, 255, 255), (240, 240, 238)
_MARGIN, _GAP, _FOOT = 12, 8, 20
# Width of the photo's place over its height: most photos fill it, and columns of many photos stand below each other.
_PLACE = 1.25


def side_by_side(
    photo: Image.Image, columns: Mapping[str, Sample], rows: Sequence[str], least: int = 168, most: int = 384
) -> np.ndarray:
    """Draw the photo, then what each network made of it: maps in a grid, all of one height.

    Every map lies on its own network's view of the photo, which may be cropped or stretched; so the photo is shown
    whole. Under each network's label stands its answer; where a method has no map, the cell says that it does not fit.

    Args:
        photo: The photo as people know it, RGB.
        columns: What each network said, by its label; all are of this photo, whose name is taken from the first.
        rows: Printed names of the methods, the keys of :attr:`Sample.overlays`.
        least: Least height of a map in pixels; small ones are enlarged by a whole factor, pixels kept square.
        most: Greatest height of a map in pixels.

    Returns:
        uint8 array ``(h, w, 3)``.
    """
    samples = list(columns.values())
    sides = [sample.pixels.shape[1:] for sample in samples]
    tall = min(max(height * max(1, round(least / height)) for height, _ in sides), most)
    wide = max(tall, *(round(tall * width / height) for height, width in sides))
    photo = fitted(photo, round(_PLACE * tall), tall)
    name = Lines(wrap(samples[0].name, round(_PLACE * tall), 13), 13, FAINT)
    titles = [Lines(wrap(label, wide, 15), 15, INK) for label in columns]
    answers = [Lines([line for part in s.answers for line in wrap(part, wide, 13)], 13, FAINT) for s in samples]
    # Room for the methods' names: as wide as their longest word, or two short ones.
    gutter = max(100, *(width_of(word, 15) + 2 for row in rows for word in row.split()))

    under = _MARGIN + max(title.height for title in titles)
    top = under + max(answer.height for answer in answers) + 6
    # Only rows with remarks leave room for them.
    steps = [tall + _GAP + _FOOT * any(sample.notes.get(row) for sample in samples) for row in rows]
    left = _MARGIN + round(_PLACE * tall) + _GAP + gutter + _GAP
    bottom = max(top + sum(steps) - _GAP, top + photo.height + 4 + name.height)
    canvas = Image.new("RGB", (left + len(samples) * (wide + _GAP) - _GAP + _MARGIN, bottom + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(canvas)

    canvas.paste(photo, (_MARGIN, top))
    name.draw(draw, _MARGIN, top + photo.height + 4, "lm")
    for column, sample in enumerate(samples):
        x = left + column * (wide + _GAP)
        titles[column].draw(draw, x + wide / 2, under - titles[column].height, "mm")
        answers[column].draw(draw, x + wide / 2, under, "mm")
        for number, row in enumerate(rows):
            _cell(canvas, sample, row, (x, top + sum(steps[:number])), (wide, tall))
    for number, row in enumerate(rows):
        label = Lines(wrap(row, gutter, 15), 15, INK)
        label.draw(draw, left - _GAP, top + sum(steps[:number]) + (tall - label.height) / 2, "rm")
    return np.asarray(canvas)


def _cell(canvas: Image.Image, sample: Sample, row: str, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """One map with its remark, or an empty place."""
    draw = ImageDraw.Draw(canvas)
    (x, y), (wide, tall) = corner, size
    if row not in sample.overlays:
        draw.rectangle((x, y, x + wide - 1, y + tall - 1), fill=_BLANK)
        draw.text((x + wide / 2, y + tall / 2), "does not fit", FAINT, font(13), anchor="mm")
        return
    picture = fitted(Image.fromarray(to_uint8(sample.overlays[row])), wide, tall)
    canvas.paste(picture, (x + (wide - picture.width) // 2, y))
    note = fit(sample.notes.get(row, ""), wide, 13)
    draw.text((x + wide / 2, y + tall + 11), note, FAINT, font(13), anchor="mm")


_PAPER = (255, 255, 255)
_MARGIN, _GAP, _FOOT = 12, 8, 20


def class_rows(samples: Sequence[Sample], least: int = 168, most: int = 384) -> np.ndarray:
    """Draw the input once, framed green or red where its true class is known, and beside it the maps of each class.

    Each row starts with its class, the probability of that class, and whether it is the predicted or the true one.

    Args:
        samples: The same photo, explained for one class after the other by the same methods.
        least: Least height of a map in pixels; small ones are enlarged by a whole factor, pixels kept square.
        most: Greatest height of a map in pixels.

    Returns:
        uint8 array ``(h, w, 3)``.
    """
    first = samples[0]
    height, width = first.pixels.shape[1:]
    tall = min(height * max(1, round(least / height)), most)
    wide = round(tall * width / height)
    # Titles may take two lines; only a single long word widens its column.
    cell = max(wide, *(width_of(word, 15) + 8 for title in first.overlays for word in title.split()))
    titles = [Lines(wrap(title, cell, 15), 15, INK) for title in ("input", *first.overlays)]
    heads = [_row_head(sample) for sample in samples]
    gutter = min(
        max(84, *(width_of(line, part.size) + 2 for head in heads for part in head for line in part.lines)), 180
    )
    heads = [[Lines([fit(line, gutter, p.size) for line in p.lines], p.size, p.colour) for p in head] for head in heads]

    top = _MARGIN + max(title.height for title in titles) + 4
    # Only rows with remarks leave room for them.
    steps = [tall + _GAP + _FOOT * any(sample.notes.values()) for sample in samples]
    words = _words(first, cell)
    left = _MARGIN + cell + _GAP + gutter + _GAP
    right = left + len(first.overlays) * (cell + _GAP) - _GAP + _MARGIN
    bottom = max(top + sum(steps) - _GAP, top + tall + 6 + sum(part.height for part in words))
    canvas = Image.new("RGB", (right, bottom + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(canvas)

    columns = [_MARGIN, *(left + number * (cell + _GAP) for number in range(len(first.overlays)))]
    for title, x in zip(titles, columns):
        title.draw(draw, x + cell / 2, top - 4 - title.height, "mm")
    x = _paste(canvas, to_uint8(first.pixels), _MARGIN, top, cell, tall)
    if first.correct is not None:
        frame = (x, top, x + wide - 1, top + tall - 1)
        draw.rectangle(frame, outline=GOOD if first.correct else BAD, width=FRAME)
    _stack(draw, words, x, top + tall + 6, "lm")
    for number, (sample, head) in enumerate(zip(samples, heads)):
        y = top + sum(steps[:number])
        _stack(draw, head, left - _GAP, y + (tall - sum(part.height for part in head)) / 2, "rm")
        for x, (title, picture) in zip(columns[1:], sample.overlays.items()):
            _paste(canvas, to_uint8(picture), x, y, cell, tall)
            note = fit(sample.notes[title], cell, 13)
            draw.text((x + cell / 2, y + tall + 11), note, FAINT, font(13), anchor="mm")
    return np.asarray(canvas)


def rows_caption(samples: Sequence[Sample]) -> str:
    """One line for people: which photo, what it shows, what was answered, and every class with its probability."""
    first = samples[0]
    true = [f"true {first.label}"] if first.label is not None else []
    sure = [f"{sample.explained} {sample.probability:.2f}" for sample in samples]
    return " · ".join([first.name, *true, f"predicted {first.predicted}", *sure])


def _row_head(sample: Sample) -> list[Lines]:
    """What stands before the maps of one class."""
    parts = [Lines([sample.explained], 15, INK), Lines([f"{sample.probability:.2f}"], 15, INK)]
    if sample.explained == sample.predicted:
        parts.append(Lines(["predicted"], 13, FAINT if sample.correct is None else GOOD if sample.correct else BAD))
    if sample.explained == sample.label:
        parts.append(Lines(["true class"], 13, FAINT))
    return parts


def _words(sample: Sample, width: int) -> list[Lines]:
    """What stands below the input."""
    tone = FAINT if sample.correct is None else GOOD if sample.correct else BAD
    parts = [Lines(wrap(sample.name, width, 13), 13, FAINT)]
    if sample.label is not None:
        parts.append(Lines(wrap(f"true {sample.label}", width, 13), 13, INK))
    return [*parts, Lines(wrap(f"predicted {sample.predicted}", width, 13), 13, tone)]


def _stack(draw: ImageDraw.ImageDraw, parts: Sequence[Lines], x: float, y: float, anchor: str) -> None:
    for part in parts:
        part.draw(draw, x, y, anchor)
        y += part.height


def _paste(canvas: Image.Image, picture: np.ndarray, x: int, y: int, width: int, height: int) -> int:
    """Put a picture into the middle of its column; returns its left edge."""
    shown = fitted(Image.fromarray(picture), width, height)
    x += (width - shown.width) // 2
    canvas.paste(shown, (x, y))
    return x
