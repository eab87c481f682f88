"""What takes the place of pixels: of occluded regions, where integrals begin, what deletion ends with."""

import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from livecam.core.errors import OptionError
from livecam.core.normalization import Normalization
from livecam.core.validation import check_option

BASELINE_NAMES = ("zero_normalized", "black", "white", "mean", "blur", "blur51", "rise", "image_min", "image_max")


def as_baseline(option: str, baseline: Any) -> "Baseline":
    """Read a baseline as configurations write it: a word, or the numbers of a color or of a blur in a list or tuple.

    Raises:
        OptionError: When it is none of these, with the known words.
    """
    if isinstance(baseline, str):
        check_option(option, baseline, BASELINE_NAMES)
        return baseline
    numbers = tuple(baseline) if isinstance(baseline, list | tuple) and all(map(_is_number, baseline)) else ()
    if len(numbers) == 3 and all(0 <= value <= 1 for value in numbers):
        return numbers
    if len(numbers) == 2 and numbers[0] % 2 == 1 and numbers[0] > 0 and numbers[1] > 0:
        return int(numbers[0]), float(numbers[1])
    raise OptionError(
        f"{option} is a color of three values in [0, 1], a blur of odd kernel and sigma such as (11, 5), or one of "
        f"{', '.join(BASELINE_NAMES)}; got {baseline!r}."
    )


Baseline = Annotated[str | tuple[float, float, float] | tuple[int, float], as_baseline]
"""One of :data:`BASELINE_NAMES`, a color of pixels, or the odd kernel and the sigma of a blur."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def baseline_images(images: Tensor, baseline: Baseline, normalization: Normalization | None = None) -> Tensor:
    """Replace every pixel of images ``(N, 3, H, W)``, in the space of the model's input.

    Args:
        images: Model input ``(N, 3, H, W)``.
        baseline: ``zero_normalized``: zero in the model's input, the data's mean color. ``black``, ``white``: in
            pixels. ``mean``: each image's own mean color. ``blur``: the image under a Gaussian of 10 px. ``blur51``:
            under one of 50 px cut to 51 x 51 (Group-CAM, I-GOS, SIGCAM). ``rise``: under the blur of RISE's code.
            ``image_min``, ``image_max``: each image's lowest or highest input value, all channels alike (PAIR's black
            and white). A pair (kernel, sigma): the image under a Gaussian of so many pixels, cut to kernel x kernel.
            Otherwise RGB in [0, 1].
        normalization: Tie to pixels; colors need it.

    Raises:
        OptionError: When the baseline is a color and no normalization is known.
    """
    if baseline == "zero_normalized":
        return torch.zeros_like(images)
    if baseline == "mean":
        return images.mean((2, 3), keepdim=True).expand_as(images)
    if baseline == "blur":
        return gaussian_blur(images, 10)
    if baseline == "rise":
        return rise_blur(images)
    if baseline == "blur51":
        baseline = (51, 50.0)
    if len(baseline) == 2:
        return gaussian_blur(images, baseline[1], radius=baseline[0] // 2)
    if baseline == "image_min":
        return images.amin((1, 2, 3), keepdim=True).expand_as(images)
    if baseline == "image_max":
        return images.amax((1, 2, 3), keepdim=True).expand_as(images)
    if normalization is None:
        raise OptionError(
            f"The color {baseline!r} is one of pixels: pass normalization=Normalization(mean, std) to say how pixels "
            "become model input, or use 'zero_normalized'."
        )
    color = {"black": (0.0,) * 3, "white": (1.0,) * 3}.get(baseline, baseline)
    pixels = torch.tensor(color, dtype=images.dtype, device=images.device)[:, None, None]
    return normalization.to_input(pixels).expand_as(images)


def gaussian_blur(images: Tensor, sigma: float, radius: int | None = None) -> Tensor:
    """Gaussian blur of ``(N, C, H, W)``, the border reflected about the edge pixels.

    Args:
        images: Of any scale.
        sigma: Standard deviation in pixels.
        radius: Where the kernel of ``2 radius + 1`` pixels is cut; None takes four sigmas. Never more than reflection
            can reach, a pixel less than the image has.
    """
    radius = max(1, round(4 * sigma)) if radius is None else radius
    for dim in (2, 3):
        reach = min(radius, images.shape[dim] - 1)
        images = filtered(images, dim, gaussian_kernel(reach, sigma), "reflect")
    return images


def gaussian_kernel(radius: int, sigma: float) -> Tensor:
    """Weights ``(2 radius + 1,)`` of sum 1, float64."""
    return (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma).square().mul(-0.5).softmax(0)


def filtered(images: Tensor, dim: int, kernel: Tensor, border: str) -> Tensor:
    """Images ``(N, C, H, W)`` under a kernel of odd length along one dimension, the border padded as ``F.pad`` does."""
    radius, moved = len(kernel) // 2, images.transpose(dim, 3)
    lines = F.pad(moved, (radius, radius, 0, 0), mode=border) if radius else moved
    lines = F.conv2d(lines.flatten(0, 1)[:, None], kernel.to(images)[None, None, None])
    return lines.view(moved.shape).transpose(dim, 3)


def rise_blur(images: Tensor) -> Tensor:
    """The blur of RISE's code: images ``(N, C, H, W)`` under an 11 x 11 kernel, zeros beyond the border.

    The kernel is a single one in the middle of 11 pixels, itself filtered by a Gaussian of 5 px with reflecting
    borders: reflection brings back what leaves, so that it is the Gaussian wrapped around 11 pixels, nearly a box.
    """
    place = torch.arange(-20, 21)
    kernel = torch.zeros(11, dtype=torch.float64).index_add_(0, (place + 5) % 11, gaussian_kernel(20, 5))
    for dim in (2, 3):
        images = filtered(images, dim, kernel, "constant")
    return images
