"""The deletion objective: a small mask over an image, what it leaves to see, and what that costs."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from livecam.core.baselines import gaussian_blur
from livecam.core.maps import resize
from livecam.explain.methods.noise import Noise
from livecam.explain.recording.recording import Recording, cut_off
from livecam.runtime.inference import Precision


def sparsity(masks: Tensor) -> Tensor:
    """L1(M) = mean |1 - M| of masks ``(N, m, m)``, ``(N,)`` in [0, 1]."""
    return (1 - masks).abs().flatten(1).mean(1)


def total_variation(masks: Tensor, beta: float) -> Tensor:
    """TV(M) = mean |M[i+1, j] - M[i, j]|^beta + mean |M[i, j+1] - M[i, j]|^beta of masks ``(N, m, m)``, ``(N,)``."""
    down, right = (masks.diff(dim=dim).abs().pow(beta).flatten(1).mean(1) for dim in (1, 2))
    return down + right


@dataclass(eq=False)
class MaskObjective:
    """Images of a batch as independent problems: which smallest part, once deleted, costs an image its class?

    A mask M ``(m, m)`` in [0, 1] keeps the image where it is 1 and shows a baseline where it is 0:
    Phi(M) = x U(M) + x~ (1 - U(M)), with U the bilinear enlargement, corner to corner. It costs
    J(M) = p_c(Phi(M)) + l1 mean |1 - M| + tv TV(M).

    All images see the same noise and the same shifts, so that a mask does not depend on its image's neighbors.

    Args:
        recording: The images, their classes and the network.
        baseline: x~ ``(N, 3, H, W)``, in the space of the model's input.
        l1: Weight of what is deleted, ``(N,)``.
        tv: Weight of the total variation.
        beta: Its exponent.
        noise: Added to what is shown; None for none.
        mask_blur: Standard deviation, in pixels, of a Gaussian over the enlarged mask; 0 for none.
        jitter: What is shown is cut out of an image so many pixels larger, at one of ``jitter`` places per axis.
        precision: What the network runs in; masks and what they show stay as they are.
        internal_batch_size: Masked images per pass.
    """

    recording: Recording
    baseline: Tensor
    l1: Tensor
    tv: float
    beta: float
    noise: Noise | None = None
    mask_blur: float = 0.0
    jitter: int = 0
    precision: Precision = "full"
    internal_batch_size: int = 32

    @property
    def every_index(self) -> Tensor:
        """Indices of all images, LongTensor ``(N,)``."""
        return torch.arange(len(self.l1), device=self.l1.device)

    def upsample(self, masks: Tensor, margin: int = 0) -> Tensor:
        """U(M): masks ``(M, m, m)`` at the size of the images, and so many pixels more."""
        height, width = self.recording.images.shape[-2:]
        large = resize(masks, (height + margin, width + margin), align_corners=True)
        return gaussian_blur(large[:, None], self.mask_blur)[:, 0] if self.mask_blur else large

    def apply_mask(
        self,
        masks: Tensor,
        sample_index: Tensor,
        share: Tensor | None = None,
        sample: Tensor | None = None,
        at: int = 0,
    ) -> Tensor:
        """Phi ``(M, 3, H, W)`` of masks, or of shares of them.

        Args:
            masks: ``(M, m, m)``, one for each input.
            sample_index: LongTensor ``(M,)``: the image each belongs to.
            share: What the enlarged masks are multiplied by, ``(M,)``; None for 1.
            sample: Numbers ``(M,)`` of the noise, on the CPU; None adds none.
            at: Place of the cut, ``row * jitter + column``; only where there is jitter.
        """
        image, baseline = self._wide(self.recording.images[sample_index]), self._wide(self.baseline[sample_index])
        keep = self.upsample(masks, self.jitter)[:, None].to(image)
        if share is not None:
            keep = keep * share[:, None, None, None].to(image)
        inputs = image * keep + baseline * (1 - keep)
        if self.jitter:
            height, width = self.recording.images.shape[-2:]
            row, column = divmod(at, self.jitter)
            inputs = inputs[:, :, row : row + height, column : column + width]
        return inputs if sample is None or self.noise is None else inputs + self.noise.draw(sample, sample_index)

    def _wide(self, images: Tensor) -> Tensor:
        if not self.jitter:
            return images
        height, width = images.shape[-2:]
        return F.interpolate(images, (height + self.jitter, width + self.jitter), mode="bilinear", align_corners=False)

    def penalty(self, masks: Tensor, sample_index: Tensor) -> Tensor:
        """l1 mean |1 - M| + tv TV(M), ``(M,)``."""
        return self.l1[sample_index] * sparsity(masks) + self.tv * total_variation(masks, self.beta)

    def penalty_gradient(self, masks: Tensor) -> Tensor:
        """Gradient of the penalty of all images' masks, ``(N, m, m)``; that of |1 - M| is 0 where M is 1."""
        with torch.enable_grad():
            leaf = masks.detach().requires_grad_(True)
            return torch.autograd.grad(self.penalty(leaf, self.every_index).sum(), leaf)[0]

    def probability(self, masks: Tensor, sample_index: Tensor) -> Tensor:
        """p_c of what masks ``(M, m, m)`` leave to see, without noise, ``(M,)``; from the middle where there is jitter.

        Costs a forward for each mask.
        """
        middle = (self.jitter // 2) * (self.jitter + 1)
        parts = zip(masks.split(self.internal_batch_size), sample_index.split(self.internal_batch_size))
        return torch.cat(
            [self._probability(self.apply_mask(mask, index, at=middle), index) for mask, index in parts]
        ).to(masks)

    def mean_probability(self, masks: Tensor, sample_index: Tensor, shares: Tensor, samples: Tensor) -> Tensor:
        """Mean of p_c over noisy shares of masks ``(M, m, m)``, ``(M,)``; costs a forward for each share of each."""
        probabilities = masks.new_empty(len(shares) * len(masks))
        for part, share, sample, mask_index in self._terms(len(masks), shares, samples):
            inputs = self.apply_mask(masks[mask_index], sample_index[mask_index], share, sample)
            probabilities[part] = self._probability(inputs, sample_index[mask_index]).to(probabilities)
        return probabilities.view(len(shares), -1).mean(0)

    def gradient(self, masks: Tensor, shares: Tensor, samples: Tensor, at: int = 0) -> tuple[Tensor, Tensor]:
        """Means over noisy shares of all images' masks: of p_c, ``(N,)``, and of its gradient, ``(N, m, m)``.

        The gradient is with respect to M, so that each share is a factor of its own term. Costs a forward and a
        backward for each share of each mask.

        Args:
            masks: ``(N, m, m)``.
            shares: ``(P,)`` in (0, 1].
            samples: LongTensor ``(P,)`` on the CPU, the noise of each.
            at: See :meth:`apply_mask`.

        Raises:
            ValueError: When the network cuts the gradient.
        """
        count = len(shares) * len(masks)
        scores, slopes = masks.new_empty(count), masks.new_empty(count, *masks.shape[1:])
        for part, share, sample, sample_index in self._terms(len(masks), shares, samples):
            with torch.enable_grad():
                leaf = masks[sample_index].requires_grad_(True)
                inputs = self.apply_mask(leaf, sample_index, share, sample, at)
                probability = self._probability(inputs, sample_index)
                linked = probability.requires_grad
                gradient = torch.autograd.grad(probability.sum(), leaf, allow_unused=True)[0] if linked else None
                if gradient is None:
                    raise cut_off("class probability")
            slopes[part] = gradient
            scores[part] = probability.detach().to(scores)
        return scores.view(len(shares), -1).mean(0), slopes.view(len(shares), *masks.shape).mean(0)

    def _probability(self, inputs: Tensor, sample_index: Tensor) -> Tensor:
        return self.recording.probability(inputs, sample_index, self.precision)

    def _terms(self, masks: int, shares: Tensor, samples: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Chunks of all shares of so many masks, share by share: place, shares, samples and numbers of the masks."""
        count = len(shares) * masks
        for start in range(0, count, self.internal_batch_size):
            part = slice(start, min(start + self.internal_batch_size, count))
            number = torch.arange(part.start, part.stop)
            # The same once more on the device, to which nothing is then copied.
            place = torch.arange(part.start, part.stop, device=shares.device)
            point = place.div(masks, rounding_mode="floor")
            yield part, shares[point], samples[number // masks], place % masks
