"""What is left of images when every pixel has gone: what deletion ends with, and insertion starts from."""

import torch
from torch import Tensor

from livecam.core.baselines import FILLS, Fill, as_fill, filled, filtered, gaussian_kernel
from livecam.core.normalization import Normalisation
from livecam.core.validation import check_option


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


def as_substrate(option: str, substrate: Fill) -> Fill:
    """A substrate as configurations write it; ValueError unless it is a word of :func:`substrate_of` or a colour."""
    if isinstance(substrate, str):
        check_option(option, substrate, ("rise", *FILLS))
        return substrate
    return as_fill(option, substrate)


def substrate_of(images: Tensor, substrate: Fill, normalisation: Normalisation | None = None) -> Tensor:
    """What is left of images when every pixel has gone, in the space of the model's input.

    Args:
        images: Model input ``(N, 3, H, W)``.
        substrate: ``rise``: the blur of RISE's code. Otherwise a fill, see :func:`livecam.core.baselines.filled`;
            ``blur51`` is that of Group-CAM and SIGCAM.
        normalisation: Tie to pixels; colours need it.

    Raises:
        ValueError: When it is a colour and no normalisation is known.
    """
    return rise_blur(images) if substrate == "rise" else filled(images, substrate, normalisation)
