"""What is left of images when every pixel has gone: what deletion ends with, and insertion starts from."""

import torch
import torch.nn.functional as F
from torch import Tensor

from livecam.fills import FILLS, Fill, as_fill, filled
from livecam.normalisation import Normalisation
from livecam.options import check_option


def blur51(images: Tensor) -> Tensor:
    """Gaussian blur of ``(N, C, H, W)`` by 50 px, cut to 51 x 51, the border reflected about the edge pixels."""
    for dim in (2, 3):
        # At most what reflection can reach.
        radius = min(25, images.shape[dim] - 1)
        images = _filtered(images, dim, _gaussian(radius, 50), "reflect")
    return images


def rise_blur(images: Tensor) -> Tensor:
    """The blur of RISE's code: images ``(N, C, H, W)`` under an 11 x 11 kernel, zeros beyond the border.

    The kernel is a single one in the middle of 11 pixels, itself filtered by a Gaussian of 5 px with reflecting
    borders: reflection brings back what leaves, so that it is the Gaussian wrapped around 11 pixels, nearly a box.
    """
    place = torch.arange(-20, 21)
    kernel = torch.zeros(11, dtype=torch.float64).index_add_(0, (place + 5) % 11, _gaussian(20, 5))
    for dim in (2, 3):
        images = _filtered(images, dim, kernel, "constant")
    return images


def _gaussian(radius: int, sigma: float) -> Tensor:
    return (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma).square().mul(-0.5).softmax(0)


def _filtered(images: Tensor, dim: int, kernel: Tensor, border: str) -> Tensor:
    radius, moved = len(kernel) // 2, images.transpose(dim, 3)
    lines = F.pad(moved, (radius, radius, 0, 0), mode=border).flatten(0, 1)[:, None]
    return F.conv2d(lines, kernel.to(images)[None, None, None]).view(moved.shape).transpose(dim, 3)


BLURS = {"blur51": blur51, "rise": rise_blur}


def as_substrate(option: str, substrate: Fill) -> Fill:
    """A substrate as configurations write it; ValueError unless it is a word of :func:`substrate_of` or a colour."""
    if isinstance(substrate, str):
        check_option(option, substrate, (*BLURS, *FILLS))
        return substrate
    return as_fill(option, substrate)


def substrate_of(images: Tensor, substrate: Fill, normalisation: Normalisation | None = None) -> Tensor:
    """What is left of images when every pixel has gone, in the space of the model's input.

    Args:
        images: Model input ``(N, 3, H, W)``.
        substrate: ``blur51``: a Gaussian of 50 px cut to 51 x 51, the border reflected (the blur of Group-CAM and
            SIGCAM). ``rise``: the blur of RISE's code. Otherwise a fill, see :func:`livecam.fills.filled`.
        normalisation: Tie to pixels; colours need it.

    Raises:
        ValueError: When it is a colour and no normalisation is known.
    """
    blur = BLURS.get(substrate)
    return blur(images) if blur else filled(images, substrate, normalisation)
