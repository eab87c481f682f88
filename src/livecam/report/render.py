"""Pictures of explanations: overlays and labelled strips, as uint8 HWC arrays that every logger shows alike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from livecam.report.colour import colourise
from livecam.report.lettering import FAINT, INK, fit, font, width_of

_PAPER = (255, 255, 255)
GOOD, BAD = (46, 125, 80), (196, 56, 48)
"""Colours of right and wrong answers."""
FRAME = 4
"""Width in pixels of the frame that shows them."""
_GAP = 6


@dataclass
class Panel:
    """One picture of a strip.

    Args:
        title: Short label above it.
        pixels: RGB ``(3, H, W)`` in [0, 1].
        note: A word or two below it; empty for none.
    """

    title: str
    pixels: Tensor
    note: str = ""


def overlay(pixels: Tensor, maps: Tensor, signed: bool = False) -> Tensor:
    """Lay maps over their images.

    The image is turned grey and dimmed, so that every colour belongs to the map; where the map is low it shows
    through, where it is high the map's colour covers it.

    Args:
        pixels: RGB ``(N, 3, H, W)`` in [0, 1].
        maps: ``(N, H, W)`` in [0, 1]; for signed maps 0.5 means zero.
        signed: Use the diverging scale.

    Returns:
        RGB ``(N, 3, H, W)`` in [0, 1].
    """
    maps = maps.nan_to_num(0.5 if signed else 0.0)
    weights = pixels.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    grey = (pixels.clamp(0, 1) * weights).sum(1, keepdim=True).expand_as(pixels)
    strength = (maps - 0.5).abs() * 2 if signed else maps
    cover = 0.35 + 0.5 * strength[:, None]
    return grey * 0.9 * (1 - cover) + colourise(maps, signed) * cover


def outline(pixels: Tensor, mask: Tensor) -> Tensor:
    """Show ground truth: the image, dimmed outside of the mask ``(H, W)`` (bool, or float in [0, 1])."""
    weight = mask.to(pixels.dtype)
    return pixels.clamp(0, 1) * (0.25 + 0.75 * weight)


def to_uint8(pixels: Tensor) -> np.ndarray:
    """RGB ``(3, H, W)`` in [0, 1] as a uint8 array ``(H, W, 3)``; floats would come out black in W&B."""
    return (pixels.detach().nan_to_num(0).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def strip(panels: Sequence[Panel], caption: str = "", correct: bool | None = None, height: int = 168) -> np.ndarray:
    """Lay panels side by side under their titles.

    Args:
        panels: Pictures of one size.
        caption: Line below the pictures; cut with an ellipsis if the strip is too narrow.
        correct: Frame the first picture green (True), red (False) or not at all (None).
        height: Least height of a picture in pixels; small ones are enlarged by a whole factor, pixels kept square.

    Returns:
        uint8 array ``(h, w, 3)``.
    """
    pictures = [_enlarge(panel.pixels, height) for panel in panels]
    tall, wide = max(p.shape[0] for p in pictures), max(p.shape[1] for p in pictures)
    # At least wide enough for the titles, which name the methods.
    cell = max(wide, *(width_of(panel.title, 15) + 8 for panel in panels))
    head, foot = 24, (20 if any(panel.note for panel in panels) else 4)
    below = 26 if caption else 0
    canvas = Image.new("RGB", (_GAP + (cell + _GAP) * len(panels), head + tall + foot + below + _GAP), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, (panel, picture) in enumerate(zip(panels, pictures)):
        left = _GAP + column * (cell + _GAP)
        middle = left + cell // 2
        draw.text((middle, head // 2 + 1), panel.title, INK, font(15), anchor="mm")
        x = left + (cell - picture.shape[1]) // 2
        canvas.paste(Image.fromarray(picture), (x, head))
        if column == 0 and correct is not None:
            box = (x, head, x + picture.shape[1] - 1, head + picture.shape[0] - 1)
            draw.rectangle(box, outline=GOOD if correct else BAD, width=FRAME)
        if panel.note:
            draw.text((middle, head + tall + 11), fit(panel.note, cell, 13), FAINT, font(13), anchor="mm")
    if caption:
        colour = BAD if correct is False else INK
        y = head + tall + foot + below // 2
        draw.text((_GAP + 2, y), fit(caption, canvas.width - 2 * _GAP, 15), colour, font(15), anchor="lm")
    return np.asarray(canvas)


def _enlarge(pixels: Tensor, height: int) -> np.ndarray:
    factor = max(1, round(height / pixels.shape[1]))
    return to_uint8(F.interpolate(pixels[None].float(), scale_factor=factor, mode="nearest")[0])


def fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture at the greatest size that fits, its proportions kept."""
    scale = min(width / picture.width, height / picture.height)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    # Whole factors keep the pixels of small networks square; other sizes are resampled smoothly.
    return picture.resize(size, Image.Resampling.NEAREST if scale == int(scale) else Image.Resampling.LANCZOS)


def signed_display(raw: Tensor, outliers: float = 0.0) -> Tensor:
    """Scale signed maps ``(N, H, W)`` symmetrically: 0.5 is zero, the largest magnitude reaches 0 or 1.

    Args:
        raw: As a method gives them.
        outliers: Share of the pixels, in [0, 1), that are drawn at full colour, as if they were not larger.
    """
    peak = _peak(raw.abs(), outliers)
    return 0.5 + 0.5 * (raw / torch.where(peak > 0, peak, 1)).clamp(-1, 1)


def unsigned_display(maps: Tensor, outliers: float = 0.0) -> Tensor:
    """Maps ``(N, H, W)`` in [0, 1], brightened so that only ``outliers``, a share of the pixels, are cut at 1."""
    if not outliers:
        return maps
    peak = _peak(maps, outliers)
    return (maps / torch.where(peak > 0, peak, 1)).clamp(max=1)


def _peak(maps: Tensor, outliers: float) -> Tensor:
    """The value ``(N, 1, 1)`` that all pixels but this share stay below; the largest where that would be zero."""
    flat = maps.flatten(1)
    rank = max(1, math.ceil((1 - outliers) * flat.shape[1]))
    peak = flat.kthvalue(rank, dim=1).values
    return torch.where(peak > 0, peak, flat.amax(1))[:, None, None]
