"""What takes the place of evidence that is removed: fills of occluded regions, baselines of integrals."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from livecam.normalisation import Normalisation
from livecam.options import check_option

FILLS = ("zero_normalised", "black", "white", "mean", "blur", "image_min", "image_max")

Fill = str | tuple[float, float, float]


def as_fill(option: str, fill: Any) -> Fill:
    """A fill as configurations write it: a word, or three numbers in a list or tuple.

    Raises:
        ValueError: When it is neither, with the known words.
    """
    if isinstance(fill, str):
        check_option(option, fill, FILLS)
        return fill
    numbers = tuple(fill) if isinstance(fill, list | tuple) else ()
    if len(numbers) != 3 or not all(isinstance(value, int | float) and 0 <= value <= 1 for value in numbers):
        raise ValueError(f"{option} is a colour of three values in [0, 1], or one of {', '.join(FILLS)}; got {fill!r}.")
    return numbers


def filled(images: Tensor, fill: Fill, normalisation: Normalisation | None) -> Tensor:
    """Images ``(N, 3, H, W)`` with nothing left to see, in the space of the model's input.

    Args:
        images: Model input ``(N, 3, H, W)``.
        fill: ``zero_normalised``: zero in the model's input, the data's mean colour. ``black``, ``white``: in pixels.
            ``mean``: each image's own mean colour. ``blur``: the image under a Gaussian of 10 px. ``image_min``,
            ``image_max``: each image's lowest or highest input value, all channels alike (PAIR's black and white).
            Otherwise RGB in [0, 1].
        normalisation: Tie to pixels.

    Raises:
        ValueError: When the fill is a colour and no normalisation is known.
    """
    if fill == "zero_normalised":
        return torch.zeros_like(images)
    if fill == "mean":
        return images.mean((2, 3), keepdim=True).expand_as(images)
    if fill == "blur":
        return gaussian_blur(images, 10)
    if fill == "image_min":
        return images.amin((1, 2, 3), keepdim=True).expand_as(images)
    if fill == "image_max":
        return images.amax((1, 2, 3), keepdim=True).expand_as(images)
    if normalisation is None:
        raise ValueError(
            f"The colour {fill!r} is one of pixels: pass normalisation=Normalisation(mean, std) to say how pixels "
            "become model input, or use 'zero_normalised'."
        )
    colour = {"black": (0.0,) * 3, "white": (1.0,) * 3}.get(fill, fill)
    pixels = torch.tensor(colour, dtype=images.dtype, device=images.device)[:, None, None]
    return normalisation.to_input(pixels).expand_as(images)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of ``(N, C, H, W)``, cut at four sigmas, the border reflected about the edge pixels."""
    for dim in (2, 3):
        images = _blur_rows(images, sigma, dim)
    return images


def _blur_rows(images: Tensor, sigma: float, dim: int) -> Tensor:
    # At most what reflection can reach.
    radius = min(max(1, round(4 * sigma)), images.shape[dim] - 1)
    place = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = (-0.5 * (place / sigma).square()).exp()
    moved = images.transpose(dim, 3)
    lines = F.pad(moved, (radius, radius, 0, 0), mode="reflect") if radius else moved
    blurred = F.conv2d(lines.flatten(0, 1)[:, None], (kernel / kernel.sum())[None, None, None, :])
    return blurred.view(moved.shape).transpose(dim, 3)
