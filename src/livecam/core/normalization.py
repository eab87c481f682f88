"""The one tie between what a person sees (RGB in [0, 1]) and what a network reads."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from livecam.core.errors import OptionError


@dataclass(frozen=True)
class Normalization:
    """Per-channel affine map ``input = (pixels - mean) / std``.

    Args:
        mean: Mean of each channel, in pixel units ([0, 1]).
        std: Standard deviation of each channel, in pixel units; every value is positive.

    Raises:
        OptionError: When the lengths differ, a value is not finite or a standard deviation is not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        finite = all(map(math.isfinite, (*self.mean, *self.std)))
        if len(self.mean) != len(self.std) or not finite or not all(value > 0 for value in self.std):
            raise OptionError(
                f"Normalization needs one mean and one positive std per channel, got mean={self.mean}, std={self.std}."
            )

    def to_input(self, pixels: Tensor) -> Tensor:
        """Turn pixels ``(..., C, H, W)`` in [0, 1] into model input of the same shape."""
        mean, std = self._columns(pixels)
        return (pixels - mean) / std

    def to_pixels(self, images: Tensor) -> Tensor:
        """Turn model input ``(..., C, H, W)`` back into pixels; nominally in [0, 1], not clamped."""
        mean, std = self._columns(images)
        return images * std + mean

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        dtype = like.dtype if like.is_floating_point() else torch.float32
        mean = torch.tensor(self.mean, dtype=dtype, device=like.device)
        std = torch.tensor(self.std, dtype=dtype, device=like.device)
        return mean[:, None, None], std[:, None, None]


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
