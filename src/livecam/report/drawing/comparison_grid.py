"""One photo seen by several networks, or explained for several classes, in one picture."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from livecam.report.drawing.labeled_grid import Row, Subject, draw_grid
from livecam.report.drawing.panels import fitted, frame, to_uint8, tone_of
from livecam.report.drawing.strips import Sample
from livecam.report.drawing.text_layout import FAINT, INK, TextBlock, block, fit, width_of

# Width of the photo's place over its height: most photos fill it, and columns of many photos stand below each other.
_PLACE = 1.25
_MOST_GUTTER = 178


def side_by_side(
    photo: Image.Image, columns: Mapping[str, Sample], rows: Sequence[str], least: int = 168, most: int = 384
) -> np.ndarray:
    """Draw the photo, then what each network made of it: a column per network, a row per method.

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
    place = round(_PLACE * tall)
    subject = Subject(fitted(photo, place, tall), block(samples[0].name, place, 13, FAINT), place)
    abouts = [sum((block(about, wide, 13, FAINT) for about in s.statements), TextBlock()) for s in samples]
    heads = [(block(label, wide, 15, INK), about) for label, about in zip(columns, abouts)]
    # Room for the methods' names: as wide as their longest word, or two short ones.
    gutter = max(100, *(width_of(word, 15) for row in rows for word in row.split()))
    grid_rows = [
        Row(
            block(row, gutter, 15, INK),
            [sample.overlays.get(row) for sample in samples],
            [sample.notes.get(row, "") for sample in samples],
        )
        for row in rows
    ]
    return draw_grid(subject, heads, grid_rows, (wide, tall))


def one_or_several(
    photo: Image.Image, columns: Mapping[str, Sample], rows: Sequence[str], with_truth: bool
) -> tuple[np.ndarray, str]:
    """Draw a strip where there is one network, else :func:`side_by_side`.

    Args:
        photo: See there.
        columns: See there.
        rows: See there.
        with_truth: Whether a strip has a column for ground truth.

    Returns:
        The picture, uint8 ``(h, w, 3)``, and one line for people.
    """
    first, *others = columns.values()
    if not others:
        return first.strip(with_truth, with_caption=True), first.caption
    words = (f"{label}: {', '.join(sample.statements)}" for label, sample in columns.items())
    return side_by_side(photo, columns, rows), " · ".join([first.name, *words])


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
    first, titles = samples[0], list(samples[0].overlays)
    height, width = first.pixels.shape[1:]
    tall = min(height * max(1, round(least / height)), most)
    # Titles may take two lines; only a single long word widens its column.
    wide = max(round(tall * width / height), *(width_of(word, 15) + 8 for title in titles for word in title.split()))
    picture = fitted(Image.fromarray(to_uint8(first.pixels)), wide, tall)
    frame(picture, first.correct)
    subject = Subject(picture, _words(first, wide), wide, TextBlock([("input", 15, INK)]))
    heads = [(block(title, wide, 15, INK), TextBlock()) for title in titles]
    rows = [Row(_row_words(s), list(s.overlays.values()), [s.notes[title] for title in titles]) for s in samples]
    return draw_grid(subject, heads, rows, (wide, tall))


def rows_caption(samples: Sequence[Sample]) -> str:
    """One line for people: which photo, what it shows, what was answered, and every class with its probability."""
    first = samples[0]
    true = [f"true {first.label}"] if first.label is not None else []
    sure = [f"{sample.explained} {sample.probability:.2f}" for sample in samples]
    return " · ".join([first.name, *true, f"predicted {first.predicted}", *sure])


def _row_words(sample: Sample) -> TextBlock:
    """What stands before the maps of one class."""
    words = TextBlock([(fit(sample.explained, _MOST_GUTTER, 15), 15, INK), (f"{sample.probability:.2f}", 15, INK)])
    if sample.explained == sample.predicted:
        words.lines.append(("predicted", 13, tone_of(sample.correct)))
    if sample.explained == sample.label:
        words.lines.append(("true class", 13, FAINT))
    return words


def _words(sample: Sample, width: int) -> TextBlock:
    """What stands below the input."""
    true = block(f"true {sample.label}", width, 13, INK) if sample.label is not None else TextBlock()
    predicted = block(f"predicted {sample.predicted}", width, 13, tone_of(sample.correct))
    return block(sample.name, width, 13, FAINT) + true + predicted
