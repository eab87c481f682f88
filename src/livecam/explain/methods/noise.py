"""Noisy copies of images, the same for every image, batch and device."""

from typing import Literal

import torch
from torch import Tensor

NoiseUnit = Literal["range", "absolute"]


class Noise:
    """Gaussian noise by numbered samples, for one batch of images.

    Every image of a batch gets the same noise, scaled by its own range, so that a map does not depend on its
    neighbors; it comes from generators of its own on the CPU, so that every device draws the same and the global
    random state stays as it was.

    Args:
        images: Model input ``(N, C, H, W)``.
        count: How many samples there are.
        std: Standard deviation, in the unit of ``kind``.
        kind: ``range``: a share of each image's range (maximum minus minimum); ``absolute``: in units of the input.
        seed: Seed of the noise.
    """

    def __init__(self, images: Tensor, count: int, std: float, kind: str, seed: int) -> None:
        self.images = images
        self.spread = std * torch.ones_like(images[:, :1, :1, :1])
        if kind == "range":
            low, high = images.flatten(1).aminmax(dim=1)
            self.spread = self.spread * (high - low)[:, None, None, None]
        # A seed per sample: what a sample draws depends on no batch size, and runs with other seeds share nothing.
        self.seeds = torch.randint(2**62, (count,), generator=torch.Generator().manual_seed(seed)).tolist()

    def variants(self, part: slice) -> Tensor:
        """All images with the noise of each of these samples, ``(S, N, C, H, W)``."""
        normal = self._normal(list(range(part.start, part.stop)))
        return self.images + self.spread * normal[:, None]

    def draw(self, sample: Tensor, sample_index: Tensor) -> Tensor:
        """The noise alone, ``(M, C, H, W)``.

        Args:
            sample: Numbers of the samples, LongTensor ``(M,)`` on the CPU, so that nobody waits for a device to tell.
            sample_index: LongTensor ``(M,)``: the image whose range scales each.
        """
        numbers = sample.tolist()
        places = {number: place for place, number in enumerate(dict.fromkeys(numbers))}
        place = on_device(torch.tensor([places[number] for number in numbers]), self.images.device)
        return self.spread[sample_index] * self._normal(list(places))[place]

    def _normal(self, numbers: list[int]) -> Tensor:
        """Standard normal noise ``(S, C, H, W)`` of these samples, of the type and on the device of the images."""
        generators = [torch.Generator().manual_seed(self.seeds[number]) for number in numbers]
        noise = torch.stack([torch.randn(self.images.shape[1:], generator=generator) for generator in generators])
        return on_device(noise, self.images.device).to(self.images.dtype)


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU's tensor on ``device``, without waiting until work that was given to it before is done."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
