"""Methods that read the gradient of the class score with respect to the image's own pixels.

All maps have the size of the image. ``details["gradient"]`` keeps what the channels held, ``(N, 3, H, W)``, signed.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from livecam.core.baselines import Baseline, as_baseline, baseline_images, gaussian_blur
from livecam.core.errors import OptionError
from livecam.core.options import Count, NonNegative, Seed
from livecam.explain.explainer import Explainer
from livecam.explain.methods.noise import Noise, NoiseUnit
from livecam.explain.recording.hooks import IMAGES, Capture
from livecam.explain.recording.network_structure import Structure
from livecam.explain.recording.recording import Recording

Reduce = Literal["max", "sum", "l2"]
# Gradients of pixels have long tails: at full scale, few pixels would be seen.
CLIP_FRACTION = 0.02
MAGNITUDES: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda value: value.abs().amax(1),
    "sum": lambda value: value.abs().sum(1),
    "l2": lambda value: value.square().sum(1).sqrt(),
}


@dataclass(frozen=True)
class InputGradient(Explainer):
    """A method whose map is the magnitude, over channels, of something like a gradient.

    Args:
        reduce: ``max`` of the channels' magnitudes, their ``sum``, or their ``l2`` norm.
        smooth: Standard deviation of a Gaussian over the map, as a share of the image's longer side; 0 leaves it as it
            is, TorchRay uses 0.02 for the pointing game.
        name: See :class:`Explainer`.
    """

    clip_fraction: ClassVar[float] = CLIP_FRACTION

    reduce: Reduce = "max"
    smooth: NonNegative = 0.0

    @abstractmethod
    def gradient(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        """What is shown, ``(N, 3, H, W)``, and further details."""

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        gradient, details = self.gradient(recording)
        maps = MAGNITUDES[self.reduce](gradient)
        if self.smooth:
            maps = gaussian_blur(maps[:, None], self.smooth * max(maps.shape[1:]))[:, 0]
        return maps, {"gradient": gradient} | details


@dataclass(frozen=True)
class Saliency(InputGradient):
    """Saliency (Simonyan et al. 2014): max over channels of |dS_c/dx|.

    It has no sign: both classes of a one-logit network get the same map. Costs one forward and one backward, shared
    with all methods of the call.
    """

    method: ClassVar[str] = "saliency"
    label: ClassVar[str] = "Saliency"

    def captures(self, structure: Structure) -> list[Capture]:
        return [IMAGES]

    def gradient(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        return recording.input_gradient, {}


@dataclass(frozen=True)
class InputXGradient(Explainer):
    """Input x gradient (Shrikumar et al. 2016): sum over channels of x dS_c/dx.

    Signed. x is the model's input, so zero is the data's mean color. For networks without biases its sum is the class
    score. Costs one forward and one backward, shared with all methods of the call.
    """

    method: ClassVar[str] = "input_x_gradient"
    label: ClassVar[str] = "Input x gradient"
    signed: ClassVar[bool] = True
    clip_fraction: ClassVar[float] = CLIP_FRACTION

    def captures(self, structure: Structure) -> list[Capture]:
        return [IMAGES]

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        gradient = recording.input_gradient
        return (recording.images.to(gradient) * gradient).sum(1), {"gradient": gradient}


def gradients_at(
    recording: Recording, explainer: Explainer, count: int, inputs: Callable[[slice], Tensor]
) -> Iterator[Tensor]:
    """Gradients of the class score at ``count`` variants of every image, in chunks of whole variants.

    Args:
        recording: The shared pass.
        explainer: Whose variants they are; its ``internal_batch_size`` bounds a pass, which has at least one variant of
            every image.
        count: Variants per image.
        inputs: Makes model input ``(S, N, 3, H, W)`` of the variants of these numbers.

    Yields:
        ``(S, N, 3, H, W)``.
    """
    images = recording.images
    for part in recording.chunks(explainer, count, backward=True, every_image=True):
        variants = inputs(part)
        sample_index = torch.arange(len(images), device=images.device).repeat(len(variants))
        gradients = recording.rerun(variants.flatten(0, 1), sample_index, input_gradient=True).input_gradient
        yield gradients.view_as(variants)


def as_baselines(option: str, baseline: Any) -> Baseline | tuple[Baseline, ...]:
    """One baseline, or several in a list or tuple; a check of :mod:`livecam.core.options`."""
    if baseline in ((), []):
        raise OptionError(f"{option} names none: leave it away for 'zero_normalized'.")
    baselines = tuple(as_baseline(option, one) for one in _several(baseline))
    return baselines if len(baselines) > 1 else baselines[0]


def _several(baseline: Any) -> tuple[Baseline, ...]:
    is_sequence = isinstance(baseline, list | tuple) and not isinstance(baseline[0], int | float)
    return tuple(baseline) if is_sequence else (baseline,)


@dataclass(frozen=True)
class IntegratedGradients(Explainer):
    """Integrated gradients (Sundararajan et al. 2017): (x - x') times the mean gradient on the way from x' to x.

    Signed: its sum is the score at the image minus the score at the baseline, up to the error of the quadrature, which
    ``details["convergence_delta"]`` ``(N,)`` reports in units of the score. The quadrature takes the midpoints of
    ``n_steps`` equal parts. Costs ``n_steps`` forwards and backwards and one forward for every baseline.

    ``details``: ``convergence_delta``; ``attribution`` ``(N, 3, H, W)``.

    Args:
        n_steps: Parts of the way.
        baseline: Where the way begins, see :func:`livecam.core.baselines.baseline_images`; several in a tuple are
            averaged.
        reduce: ``sum`` over channels, or their signed ``max`` as in PAIR's XRAI.
        internal_batch_size: Images per pass; None takes what fits into free memory, see :mod:`livecam.runtime.memory`.
            A pass has at least one variant of every image.
        name: See :class:`Explainer`.

    Raises:
        OptionError: When an option is unknown or a number is not positive.
    """

    method: ClassVar[str] = "integrated_gradients"
    label: ClassVar[str] = "Integrated gradients"
    signed: ClassVar[bool] = True
    clip_fraction: ClassVar[float] = CLIP_FRACTION

    n_steps: Count = 50
    baseline: Annotated[Baseline | tuple[Baseline, ...], as_baselines] = "zero_normalized"
    reduce: Literal["sum", "max"] = "sum"
    internal_batch_size: Count | None = None

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        images, baselines = recording.images, _several(self.baseline)
        starts = torch.stack([baseline_images(images, baseline, recording.normalization) for baseline in baselines])

        # Sums need more digits than half-precision networks have.
        mean = torch.zeros_like(starts, dtype=torch.promote_types(starts.dtype, torch.float32))
        for start, total in zip(starts, mean):
            for gradients in gradients_at(recording, self, self.n_steps, partial(self._way, images, start)):
                total += gradients.to(total).sum(0) / self.n_steps
        attribution = ((images - starts) * mean).mean(0)
        sample_index = torch.arange(len(images), device=images.device)
        score = recording.head.score(recording.logits, recording.targets)
        gained = score - torch.stack([recording.score(start, sample_index) for start in starts]).mean(0)
        maps = attribution.sum(1) if self.reduce == "sum" else attribution.amax(1)
        delta = attribution.sum((1, 2, 3)) - gained.to(attribution)
        return maps, {"convergence_delta": delta, "attribution": attribution}

    def _way(self, images: Tensor, start: Tensor, part: slice) -> Tensor:
        """Images ``(S, N, 3, H, W)`` at these parts of the way from ``start``."""
        share = (torch.arange(part.start, part.stop, device=images.device) + 0.5).to(images) / self.n_steps
        return start + share[:, None, None, None, None] * (images - start)


@dataclass(frozen=True)
class NoisyGradient(InputGradient):
    """A statistic of the gradients of noisy copies of an image.

    Costs ``num_samples`` forwards and backwards. Every image of a batch gets the same noise, scaled by its own range.

    Args:
        num_samples: Noisy copies per image.
        std: Standard deviation of the noise, as a share of the image's range (maximum minus minimum).
        noise: ``range`` reads ``std`` so, ``absolute`` in units of the model's input.
        seed: Seed of the noise.
        internal_batch_size: Images per pass; None takes what fits into free memory, see :mod:`livecam.runtime.memory`.
            A pass has at least one variant of every image.
        name: See :class:`Explainer`.
    """

    num_samples: Count = 25
    std: NonNegative = 0.15
    noise: NoiseUnit = "range"
    seed: Seed = 0
    internal_batch_size: Count | None = None

    def samples(self, recording: Recording) -> Iterator[Tensor]:
        """Gradients ``(S, N, 3, H, W)`` at noisy copies, in chunks."""
        noise = Noise(recording.images, self.num_samples, self.std, self.noise, self.seed)
        return gradients_at(recording, self, self.num_samples, noise.variants)


@dataclass(frozen=True)
class SmoothGrad(NoisyGradient):
    """SmoothGrad (Smilkov et al. 2017): the mean gradient of noisy copies, then the magnitude over channels.

    Args:
        average: What is averaged: ``signed`` gradients, their ``square`` (SmoothGrad-squared, PAIR's ``magnitude``), or
            their ``abs``.
    """

    method: ClassVar[str] = "smoothgrad"
    label: ClassVar[str] = "SmoothGrad"

    average: Literal["signed", "square", "abs"] = "signed"

    def gradient(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        read = {"signed": lambda g: g, "square": torch.square, "abs": torch.abs}[self.average]
        return sum(read(gradients).sum(0) for gradients in self.samples(recording)) / self.num_samples, {}


@dataclass(frozen=True)
class VarGrad(NoisyGradient):
    """VarGrad (Adebayo et al. 2018): the variance of the gradient over noisy copies, of the population.

    Where the network is linear around the image it is zero.
    """

    method: ClassVar[str] = "vargrad"
    label: ClassVar[str] = "VarGrad"

    def gradient(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        first, total, squares = None, 0, 0
        for gradients in self.samples(recording):
            # About the first sample: of gradients themselves, a difference of large squares would leave rounding only.
            first = gradients[0] if first is None else first
            off = gradients - first
            total, squares = total + off.sum(0), squares + off.square().sum(0)
        return (squares / self.num_samples - (total / self.num_samples).square()).clamp(min=0), {}
