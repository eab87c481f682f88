"""Pictures of explanations: overlays and labeled strips, as uint8 HWC arrays that every logger shows alike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from livecam.report.drawing.colormap import apply_colormap
from livecam.report.drawing.text_layout import FAINT, INK, fit, font, width_of

PAPER = (255, 255, 255)
GOOD, BAD = (46, 125, 80), (196, 56, 48)
"""Colors of right and wrong answers."""
FRAME = 4
"""Width in pixels of the frame that shows them."""
_GAP = 6


@dataclass
class Panel:
    """One picture of a strip.

    Args:
        title: Short label above it.
        pixels: RGB ``(3, H, W)``, uint8 or in [0, 1].
        note: A word or two below it; empty for none.
    """

    title: str
    pixels: Tensor
    note: str = ""


@dataclass
class Strip:
    """Pictures side by side under their titles.

    Args:
        panels: Pictures of one size.
        caption: Line below the pictures; cut with an ellipsis if the strip is too narrow.
        correct: Frame the first picture green (True), red (False) or not at all (None).
    """

    panels: Sequence[Panel]
    caption: str = ""
    correct: bool | None = None


def overlay(pixels: Tensor, maps: Tensor, signed: bool = False) -> Tensor:
    """Lay maps over their images.

    The image is turned gray and dimmed, so that every color belongs to the map; where the map is low it shows
    through, where it is high the map's color covers it.

    Args:
        pixels: RGB ``(N, 3, H, W)`` in [0, 1].
        maps: ``(N, H, W)`` in [0, 1]; for signed maps 0.5 means zero.
        signed: Use the diverging scale.

    Returns:
        RGB ``(N, 3, H, W)`` in [0, 1].
    """
    maps = maps.nan_to_num(0.5 if signed else 0.0)
    gray = (pixels.clamp(0, 1) * _luma(pixels.dtype, pixels.device)).sum(1, keepdim=True)
    strength = (maps - 0.5).abs() * 2 if signed else maps
    cover = 0.35 + 0.5 * strength[:, None]
    # In place, because new memory costs a CPU more than the sum.
    return apply_colormap(maps, signed).mul_(cover).add_(gray * 0.9 * (1 - cover))


@lru_cache
def _luma(dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept, because to bring it to a device makes the host wait.
    return torch.tensor([0.299, 0.587, 0.114], dtype=dtype, device=device)[:, None, None]


def outline(pixels: Tensor, mask: Tensor) -> Tensor:
    """Show ground truth: the image, dimmed outside of the mask (bool, or float in [0, 1]).

    Args:
        pixels: RGB ``(..., 3, H, W)`` in [0, 1].
        mask: ``(H, W)``, or ``(..., 1, H, W)``.
    """
    weight = mask.to(pixels.dtype)
    return pixels.clamp(0, 1) * (0.25 + 0.75 * weight)


def as_uint8(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1] as uint8; those that are uint8 stay as they are."""
    if pixels.dtype == torch.uint8:
        return pixels
    return pixels.detach().nan_to_num(0).clamp_(0, 1).mul_(255).round_().byte()


def to_uint8(pixels: Tensor) -> np.ndarray:
    """RGB ``(3, H, W)``, uint8 or in [0, 1], as a uint8 array ``(H, W, 3)``; floats would come out black in W&B."""
    return as_uint8(pixels).permute(1, 2, 0).cpu().numpy()


def strip(panels: Sequence[Panel], caption: str = "", correct: bool | None = None, height: int = 168) -> np.ndarray:
    """Draw one :class:`Strip`, as :func:`strips` does."""
    return strips([Strip(panels, caption, correct)], height)[0]


def strips(requests: Sequence[Strip], height: int = 168) -> list[np.ndarray]:
    """Lay panels side by side; the pixels of all strips come from the device in one go.

    Args:
        requests: What to draw.
        height: Least height of a picture in pixels; small ones are enlarged by a whole factor, pixels kept square.

    Returns:
        uint8 array ``(h, w, 3)`` of each.
    """
    pixels = [panel.pixels for request in requests for panel in request.panels]
    images = [as_uint8(image if image.dtype == torch.uint8 else image.float()).permute(1, 2, 0) for image in pixels]
    pictures = (_enlarge(picture.numpy(), height) for picture in to_host(images))
    return [_draw(request, [next(pictures) for _ in request.panels]) for request in requests]


def _draw(request: Strip, pictures: Sequence[np.ndarray]) -> np.ndarray:
    panels, caption, correct = request.panels, request.caption, request.correct
    tall, wide = max(p.shape[0] for p in pictures), max(p.shape[1] for p in pictures)
    # At least wide enough for the titles, which name the methods.
    cell = max(wide, *(width_of(panel.title, 15) + 8 for panel in panels))
    head, foot = 24, (20 if any(panel.note for panel in panels) else 4)
    below = 26 if caption else 0
    titles = _titles(tuple(panel.title for panel in panels), cell, head)
    canvas = Image.new("RGB", (titles.width, head + tall + foot + below + _GAP), PAPER)
    canvas.paste(titles)
    draw = ImageDraw.Draw(canvas)
    for column, (panel, picture) in enumerate(zip(panels, pictures)):
        left = _GAP + column * (cell + _GAP)
        middle = left + cell // 2
        image = Image.fromarray(picture)
        if column == 0:
            frame(image, correct)
        canvas.paste(image, (left + (cell - image.width) // 2, head))
        if panel.note:
            draw.text((middle, head + tall + 11), fit(panel.note, cell, 13), FAINT, font(13), anchor="mm")
    if caption:
        color = BAD if correct is False else INK
        y = head + tall + foot + below // 2
        draw.text((_GAP + 2, y), fit(caption, canvas.width - 2 * _GAP, 15), color, font(15), anchor="lm")
    return np.asarray(canvas)


@lru_cache(maxsize=16)
def _titles(titles: tuple[str, ...], cell: int, height: int) -> Image.Image:
    """What all strips of a gallery begin with."""
    picture = Image.new("RGB", (_GAP + (cell + _GAP) * len(titles), height), PAPER)
    draw = ImageDraw.Draw(picture)
    for column, title in enumerate(titles):
        middle = _GAP + column * (cell + _GAP) + cell // 2
        draw.text((middle, height // 2 + 1), title, INK, font(15), anchor="mm")
    return picture


def _enlarge(picture: np.ndarray, height: int) -> np.ndarray:
    factor = max(1, round(height / picture.shape[0]))
    return picture if factor == 1 else picture.repeat(factor, 0).repeat(factor, 1)


def tone_of(correct: bool | None) -> tuple[int, int, int]:
    """Color of an answer, which is right, wrong or not known to be either."""
    return FAINT if correct is None else GOOD if correct else BAD


def frame(picture: Image.Image, correct: bool | None) -> None:
    """Frame a picture by whether the answer is right; one that is not known to be either has no frame."""
    if correct is not None:
        box = (0, 0, picture.width - 1, picture.height - 1)
        ImageDraw.Draw(picture).rectangle(box, outline=tone_of(correct), width=FRAME)


def fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture at the greatest size that fits, its proportions kept."""
    scale = min(width / picture.width, height / picture.height)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    # Whole factors keep the pixels of small networks square; other sizes are resampled smoothly.
    return picture.resize(size, Image.Resampling.NEAREST if scale == int(scale) else Image.Resampling.LANCZOS)


def signed_display(raw: Tensor, clip_fraction: float = 0.0) -> Tensor:
    """Scale signed maps ``(N, H, W)`` symmetrically: 0.5 is zero, the largest magnitude reaches 0 or 1.

    Args:
        raw: As a method gives them.
        clip_fraction: Share of the pixels, in [0, 1), that are drawn at full color, as if they were not larger.
    """
    peak = _peak(raw.abs(), clip_fraction)
    return 0.5 + 0.5 * (raw / torch.where(peak > 0, peak, 1)).clamp(-1, 1)


def unsigned_display(maps: Tensor, clip_fraction: float = 0.0) -> Tensor:
    """Maps ``(N, H, W)`` in [0, 1], brightened so that only ``clip_fraction``, a share of the pixels, are cut at 1."""
    if not clip_fraction:
        return maps
    peak = _peak(maps, clip_fraction)
    return (maps / torch.where(peak > 0, peak, 1)).clamp(max=1)


def _peak(maps: Tensor, clip_fraction: float) -> Tensor:
    """The value ``(N, 1, 1)`` that all pixels but this share stay below; the largest where that would be zero."""
    flat = maps.flatten(1)
    rank = max(1, math.ceil((1 - clip_fraction) * flat.shape[1]))
    peak = flat.kthvalue(rank, dim=1).values
    return torch.where(peak > 0, peak, flat.amax(1))[:, None, None]


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Bring tensors to the host in one copy, where each by itself would make the host wait for the device.

    Args:
        tensors: Of any shapes and types; those that are on the host stay as they are.

    Returns:
        The same values, in the same order.
    """
    there = [index for index, tensor in enumerate(tensors) if not tensor.is_cpu]
    if not there:
        return list(tensors)
    # As bytes, the widest types first: then each begins at a multiple of its own width.
    there.sort(key=lambda index: -tensors[index].element_size())
    device = tensors[there[0]].device
    parts = [tensors[index].detach().to(device).contiguous().flatten().view(torch.uint8) for index in there]
    host = torch.cat(parts).cpu().split([len(part) for part in parts])
    results = list(tensors)
    for index, part in zip(there, host):
        results[index] = part.view(tensors[index].dtype).view(tensors[index].shape)
    return results
