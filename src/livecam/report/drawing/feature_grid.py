"""One image and its feature maps: a row of channels per layer, drawn so that the tiles of a row compare."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from livecam.report.drawing.colormap import apply_colormap
from livecam.report.drawing.labeled_grid import BLANK
from livecam.report.drawing.panels import PAPER, Panel, Strip, strips, to_host, to_uint8
from livecam.report.drawing.strips import Sample
from livecam.report.drawing.text_layout import FAINT, INK, TextBlock, block, font, wrap

_LINE = (222, 222, 218)
# 7, 14, 28, 56 and 112 px become 112 to 126 px by whole factors; 8, 16, 32 and 64 px fill the tile.
_TILE, _INPUT = 128, 176
_GUTTER, _GAP, _MARGIN, _BAR, _TITLE, _FOOT = 184, 8, 14, 10, 24, 20
_COLUMNS, _LEAST = 8, 4
# A few hot pixels would leave all else dark: the scale ends where this share of a row's non-zero values is reached.
_REACH = 0.995


class Layer(Protocol):
    """What is read of one layer; K channels were picked for each of N images."""

    layer: str
    size: tuple[int, int, int]
    channels: Tensor
    maps: Tensor
    signed: bool


def feature_grid(sample: Sample, layers: Sequence[Layer], number: int) -> np.ndarray:
    """Draw one image and the picked channels of each layer.

    A layer's tiles share one color scale, which stands beside them: from zero (dark) upwards, or to both sides of
    zero (white) for signed layers. It ends at the peak or, where few pixels tower above all others, below it (``>``).
    Small maps are enlarged by a whole factor, pixels kept square; large ones are reduced. Many channels continue on
    further lines.

    Args:
        sample: The image and what the network said of it; its name stands beside it, a mistake is framed red.
        layers: At least one, for a batch of images.
        number: Which image of that batch this is.

    Returns:
        uint8 array ``(h, w, 3)``.
    """
    return feature_grids([sample], layers, [number])[0]


def feature_grids(
    samples: Sequence[Sample], layers: Sequence[Layer], numbers: Sequence[int] | None = None
) -> list[np.ndarray]:
    """Draw several images as :func:`feature_grid` does; what they need comes from the device in one go.

    Args:
        samples: The images, of one size.
        layers: At least one, for a batch of images.
        numbers: Which images of that batch the samples are; None for all in their order.
    """
    numbers = range(len(samples)) if numbers is None else numbers
    host = to_host([*(layer.maps for layer in layers), *(layer.channels for layer in layers)])
    rows = list(zip(layers, host, host[len(layers) :]))
    inputs = [_fit(sample.pixels, _INPUT) for sample in samples]
    # Already of their size.
    heads = strips([Strip([Panel("input", image)], correct=s.correct) for image, s in zip(inputs, samples)], height=1)
    columns = min(max(_LEAST, *(layer.maps.shape[1] for layer in layers)), _COLUMNS)
    width = _GUTTER + columns * (_TILE + _GAP)
    grids = []
    for sample, number, head, pixels in zip(samples, numbers, heads, inputs):
        parts = [_head(sample, width, Image.fromarray(head), pixels.shape[2])]
        for layer, maps, channels in rows:
            parts.append(_row(layer, maps[number].float(), channels[number].tolist(), columns, width))
        grids.append(_stacked(parts, width))
    return grids


def _stacked(parts: Sequence[Image.Image], width: int) -> np.ndarray:
    height = sum(part.height for part in parts) + _MARGIN * (len(parts) + 1)
    canvas = Image.new("RGB", (width + 2 * _MARGIN, height), PAPER)
    top = _MARGIN
    for part in parts:
        if top > _MARGIN:
            ImageDraw.Draw(canvas).line((_MARGIN, top - 7, _MARGIN + width - _GAP, top - 7), _LINE)
        canvas.paste(part, (_MARGIN, top))
        top += part.height + _MARGIN
    return np.asarray(canvas)


def _head(sample: Sample, width: int, panel: Image.Image, wide: int) -> Image.Image:
    """The input, ``wide`` without the paper beside it, and on the right what is known of it."""
    true = [] if sample.label is None else [f"true {sample.label}"]
    beside = wide + 2 * _GAP
    lines = (block(text, width - beside, 15, FAINT) for text in [*true, *sample.statements])
    words = sum(lines, block(sample.name, width - beside, 18, INK))
    picture = Image.new("RGB", (width, max(panel.height, _TITLE + words.height)), PAPER)
    # The strip centers its picture; here the picture's edge is in line with the rows below, or its title whole.
    picture.paste(panel, (-min(panel.width - wide, 2 * _GAP) // 2, 0))
    words.draw(ImageDraw.Draw(picture), beside, _TITLE)
    return picture


def _row(layer: Layer, maps: Tensor, channels: Sequence[int], columns: int, width: int) -> Image.Image:
    """Name, size and color scale of a layer, and the tiles of one image."""
    sound = maps[maps.isfinite().all((1, 2))].abs()
    peak, end = float(sound.max()) if len(sound) else 0.0, _end(sound)
    cells = [_cell(one, channel, end, layer.signed) for one, channel in zip(maps, channels)]
    # Long names break before a dot.
    name = wrap(layer.layer.replace(".", " ."), _GUTTER - 2 * _GAP, 15)
    size = block(f"{' x '.join(map(str, layer.size))} · peak {peak:.3g}", _GUTTER - 2 * _GAP, 13, FAINT)
    words = TextBlock([(line.replace(" .", "."), 15, INK) for line in name]) + size
    scale = words.height + 4
    lines = -(-len(cells) // columns)
    picture = Image.new("RGB", (width, max(lines * cells[0].height, scale + _BAR + _FOOT)), PAPER)
    words.draw(ImageDraw.Draw(picture), 0, 0)
    if peak > 0:
        _scale(picture, scale, end, peak, layer.signed)
    for place, cell in enumerate(cells):
        picture.paste(cell, (_GUTTER + place % columns * (_TILE + _GAP), place // columns * cell.height))
    return picture


def _cell(values: Tensor, channel: int, end: float, signed: bool) -> Image.Image:
    """One channel ``(h, w)`` with its number below."""
    flaw = "not finite" if not values.isfinite().all() else "" if values.any() else "dead: all zero"
    tile = _fit(values[None], _TILE)[0]
    tall, wide = tile.shape
    picture = Image.new("RGB", (_TILE, tall + _FOOT), PAPER)
    draw = ImageDraw.Draw(picture)
    left, middle = (_TILE - wide) // 2, _TILE // 2
    if flaw:
        draw.rectangle((left, 0, left + wide - 1, tall - 1), fill=BLANK)
        draw.text((middle, tall // 2), flaw, FAINT, font(13), anchor="mm")
    else:
        picture.paste(Image.fromarray(to_uint8(_color(tile, end, signed))), (left, 0))
    draw.text((middle, tall + _FOOT // 2), f"channel {channel}", INK, font(13), anchor="mm")
    return picture


def _end(sizes: Tensor) -> float:
    """Where the color scale of a row ends, given the absolute values."""
    values = sizes[sizes > 0].numpy()
    return float(np.quantile(values, _REACH, method="higher")) if len(values) else 1.0


def _scale(picture: Image.Image, y: int, end: float, peak: float, signed: bool) -> None:
    """The color scale with its ends."""
    wide = _GUTTER - 3 * _GAP
    values = torch.linspace(-end if signed else 0, end, wide).expand(_BAR, -1)
    picture.paste(Image.fromarray(to_uint8(_color(values, end, signed))), (0, y))
    draw = ImageDraw.Draw(picture)
    below, above = ("< ", "> ") if end < peak else ("", "")
    marks = [(0, f"{below}-{end:.3g}", "lm"), (wide // 2, "0", "mm")] if signed else [(0, "0", "lm")]
    for x, text, anchor in [*marks, (wide, f"{above}{end:.3g}", "rm")]:
        draw.text((x, y + _BAR + _FOOT // 2), text, FAINT, font(13), anchor=anchor)


def _color(values: Tensor, end: float, signed: bool) -> Tensor:
    """RGB ``(3, h, w)`` of ``(h, w)`` on the scale that ends at ``end``."""
    share = values / end
    return apply_colormap((0.5 + 0.5 * share if signed else share)[None], signed)[0]


def _fit(pixels: Tensor, side: int) -> Tensor:
    """Bring ``(C, h, w)`` to a longer side of at most ``side``: by a whole factor, or smoothly when it is larger."""
    longer = max(pixels.shape[1:])
    if longer <= side:
        return F.interpolate(pixels[None].float(), scale_factor=side // longer, mode="nearest")[0]
    size = [max(1, round(length * side / longer)) for length in pixels.shape[1:]]
    return F.interpolate(pixels[None].float(), size, mode="bilinear", antialias=True)[0]
