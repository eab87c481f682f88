"""The deletion game: a small mask over an image, what it leaves to see, and what that costs."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from livecam.explain.maps import resize
from livecam.explain.noise import Noise
from livecam.explain.recording import Recording
from livecam.fills import gaussian_blur


def sparsity(masks: Tensor) -> Tensor:
    """L1(M) = mean |1 - M| of masks ``(N, m, m)``, ``(N,)`` in [0, 1]."""
    return (1 - masks).abs().flatten(1).mean(1)


def total_variation(masks: Tensor, beta: float) -> Tensor:
    """TV(M) = mean |M[i+1, j] - M[i, j]|^beta + mean |M[i, j+1] - M[i, j]|^beta of masks ``(N, m, m)``, ``(N,)``."""
    return sum(masks.diff(dim=dim).abs().pow(beta).flatten(1).mean(1) for dim in (1, 2))


@dataclass(eq=False)
class DeletionGame:
    """Images of a batch as independent games: which smallest part, once deleted, costs an image its class?

    A mask M ``(m, m)`` in [0, 1] keeps the image where it is 1 and shows the blank where it is 0:
    Phi(M) = x U(M) + x~ (1 - U(M)), with U the bilinear enlargement, corner to corner. It costs
    J(M) = p_c(Phi(M)) + l1 mean |1 - M| + tv TV(M).

    Masks are in at least single precision. Every image sees the same noise and the same shifts, so that neighbours do
    not change a mask.

    Args:
        recording: The images, their classes and the network.
        blank: x~ ``(N, 3, H, W)``, in the space of the model's input; may be exchanged between steps.
        l1: Weight of what is deleted.
        tv: Weight of the total variation.
        beta: Its exponent.
        noise: Added to what is shown; None for none.
        mask_blur: Standard deviation, in pixels, of a Gaussian over the enlarged mask; 0 for none.
        jitter: What is shown is cut out of an image so many pixels larger, at one of ``jitter`` places per axis.
        chunk: Masked images per pass; bounds memory.
    """

    recording: Recording
    blank: Tensor
    l1: float
    tv: float
    beta: float
    noise: Noise | None = None
    mask_blur: float = 0.0
    jitter: int = 0
    chunk: int = 32
    _large: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def everyone(self) -> Tensor:
        """All games, LongTensor ``(N,)``."""
        return torch.arange(len(self.recording.images), device=self.recording.images.device)

    def enlarged(self, masks: Tensor, margin: int = 0) -> Tensor:
        """U(M): masks ``(M, m, m)`` at the size of the images, and so many pixels more."""
        height, width = self.recording.images.shape[-2:]
        large = resize(masks, (height + margin, width + margin), align_corners=True)
        return gaussian_blur(large[:, None], self.mask_blur)[:, 0] if self.mask_blur else large

    def shown(
        self, masks: Tensor, owner: Tensor, share: Tensor | float = 1.0, sample: Tensor | None = None, at: int = 0
    ) -> Tensor:
        """Phi of ``share`` ``(M,)`` times U(M), ``(M, 3, H, W)``.

        Args:
            masks: ``(M, m, m)``, one for each input.
            owner: LongTensor ``(M,)``: the game each belongs to.
            share: What the enlarged mask is multiplied by.
            sample: Numbers ``(M,)`` of the noise; None adds none.
            at: Place of the cut, ``row * jitter + column``; only where there is jitter.
        """
        keep = (self.enlarged(masks, self.jitter) * torch.as_tensor(share).view(-1, 1, 1).to(masks))[:, None]
        image, blank = (self._wide(tensor)[owner] for tensor in (self.recording.images, self.blank))
        keep = keep.to(image)
        seen = image * keep + blank * (1 - keep)
        if self.jitter:
            height, width = self.recording.images.shape[-2:]
            row, column = divmod(at, self.jitter)
            seen = seen[:, :, row : row + height, column : column + width]
        return seen if sample is None or self.noise is None else seen + self.noise.drawn(sample, owner)

    def _wide(self, images: Tensor) -> Tensor:
        if not self.jitter:
            return images
        height, width = images.shape[-2:]
        size = (height + self.jitter, width + self.jitter)
        return F.interpolate(images, size, mode="bilinear", align_corners=False)

    def probability(self, masks: Tensor, owner: Tensor, **options: object) -> Tensor:
        """p_c of what the masks leave to see, ``(M,)``, in chunks and without a graph; options of :meth:`shown`."""
        parts = zip(masks.split(self.chunk), owner.split(self.chunk))
        found = [self.recording.probability(self.shown(mask, own, **options), own) for mask, own in parts]
        return torch.cat(found).to(masks)

    def penalty(self, masks: Tensor) -> Tensor:
        """l1 mean |1 - M| + tv TV(M), ``(M,)``."""
        return self.l1 * sparsity(masks) + self.tv * total_variation(masks, self.beta)

    def penalty_slope(self, masks: Tensor) -> Tensor:
        """Gradient of the penalty, ``(M, m, m)``; 0 of |1 - M| where M is 1."""
        with torch.enable_grad():
            leaf = masks.detach().requires_grad_(True)
            return torch.autograd.grad(self.penalty(leaf).sum(), leaf)[0]
