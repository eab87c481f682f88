"""Noisy copies of images, the same for every image, batch and device."""

import torch
from torch import Tensor

NOISES = ("range", "absolute")


class Noise:
    """Gaussian noise by numbered samples, for one batch of images.

    Every image of a batch gets the same noise, scaled by its own range, so that a map does not depend on its
    neighbours; it comes from generators of its own on the CPU, so that every device draws the same and the global
    random state stays as it was.

    Args:
        images: Model input ``(N, C, H, W)``.
        count: How many samples there are.
        std_dev: Standard deviation, in the unit of ``kind``.
        kind: ``range``: a share of each image's range (maximum minus minimum); ``absolute``: in units of the input.
        seed: Seed of the noise.
    """

    def __init__(self, images: Tensor, count: int, std_dev: float, kind: str, seed: int) -> None:
        self.images = images
        self.spread = std_dev * torch.ones_like(images[:, :1, :1, :1])
        if kind == "range":
            low, high = images.flatten(1).aminmax(dim=1)
            self.spread = self.spread * (high - low)[:, None, None, None]
        # A seed per sample: what a sample draws depends on no chunk, and runs with other seeds share nothing.
        self.seeds = torch.randint(2**62, (count,), generator=torch.Generator().manual_seed(seed)).tolist()

    def added(self, sample: Tensor, owner: Tensor) -> Tensor:
        """Images ``owner`` ``(M,)``, each with the noise of the ``sample`` ``(M,)`` of this number."""
        return self.images[owner] + self.drawn(sample, owner)

    def drawn(self, sample: Tensor, owner: Tensor) -> Tensor:
        """The noise alone, ``(M, C, H, W)``."""
        numbers = sample.tolist()
        each = {
            number: torch.randn(self.images.shape[1:], generator=torch.Generator().manual_seed(self.seeds[number]))
            for number in dict.fromkeys(numbers)
        }
        return self.spread[owner] * torch.stack([each[number] for number in numbers]).to(self.images)
