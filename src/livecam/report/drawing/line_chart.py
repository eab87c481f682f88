"""The course of an optimization, drawn: one small chart per quantity, side by side."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from livecam.report.drawing.text_layout import FAINT, INK, fit, font

_WIDE, _TALL, _GAP, _HEAD, _FOOT = 168, 84, 14, 44, 22
_PAPER, _GRID, _LINE, _FORCED = (255, 255, 255), (226, 229, 233), (38, 110, 180), (200, 60, 50)

TITLES = {
    "objective": "objective",
    "score": "class probability",
    "l1": "deleted share",
    "tv": "total variation",
    "step": "step length, log",
}
"""What is drawn of a history, in this order, and what it is called."""


def history_chart(title: str, history: Mapping[str, Sequence[float]], accepted: Sequence[bool] = ()) -> np.ndarray:
    """Draw one image's history, uint8 ``(h, w, 3)``.

    Args:
        title: What was optimized.
        history: Values per iteration of each of :data:`TITLES` that is there.
        accepted: Which steps descended; the others, which are as short as they get, are red.
    """
    names = [name for name in TITLES if len(history.get(name, ())) > 0]
    canvas = Image.new("RGB", (_GAP + (_WIDE + _GAP) * max(1, len(names)), _HEAD + _TALL + _FOOT), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, 12), fit(title, canvas.width - 2 * _GAP, 14), INK, font(14), anchor="lm")
    for number, name in enumerate(names):
        values = [float(value) for value in history[name]]
        forced = [not good for good in accepted] if name == "step" else []
        _panel(draw, _GAP + number * (_WIDE + _GAP), TITLES[name], values, name == "step", forced)
    return np.asarray(canvas)


def _panel(
    draw: ImageDraw.ImageDraw, left: int, title: str, values: list[float], log: bool, forced: Sequence[bool]
) -> None:
    draw.text((left, 33), title, FAINT, font(12), anchor="lm")
    top, bottom = _HEAD, _HEAD + _TALL
    draw.line([(left, bottom), (left + _WIDE, bottom)], _GRID)
    draw.line([(left, top), (left + _WIDE, top)], _GRID)
    places = [math.log10(max(value, 1e-12)) if log else value for value in values]
    # Charts of quantities stand on zero, so that a fall looks as deep as it is.
    low, high = (min(places), max(places)) if log else (min(0.0, *places), max(places))
    span = high - low or 1.0
    points = [
        (left + _WIDE * i / max(1, len(places) - 1), bottom - (place - low) / span * _TALL)
        for i, place in enumerate(places)
    ]
    if len(points) > 1:
        draw.line(points, _LINE, 2)
    for number, (x, y) in enumerate(points):
        bad = number < len(forced) and forced[number]
        if bad or len(points) <= 40:
            draw.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), _FORCED if bad else _LINE)
    draw.text((left, bottom + 11), f"{values[0]:.3g}", FAINT, font(12), anchor="lm")
    draw.text((left + _WIDE, bottom + 11), f"{values[-1]:.3g}", INK, font(12), anchor="rm")
