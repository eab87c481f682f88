"""Smooth Grad-CAM++: Grad-CAM++ from derivatives averaged over noisy images; chosen feature maps and neurons."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from livecam.core.errors import OptionError
from livecam.core.options import Amount, Count, NonNegative, Seed
from livecam.explain.methods.cam import LayerExplainer, plus_plus_alpha
from livecam.explain.methods.noise import Noise, NoiseUnit
from livecam.explain.recording.channel_stats import squeeze_constant, weighted_sum
from livecam.explain.recording.hooks import Capture
from livecam.explain.recording.network_structure import Structure
from livecam.explain.recording.recording import Recording
from livecam.runtime.inference import Precision


def as_filters(option: str, filters: Any) -> tuple[int, ...]:
    """Numbers of feature maps; a check of :mod:`livecam.core.options`."""
    # Each map once, however often it is named: twice would count it double.
    chosen = tuple(dict.fromkeys(filters)) if isinstance(filters, Sequence) else ()
    if not chosen or not all(isinstance(index, int) for index in chosen):
        raise OptionError(f"{option} is a list of feature map numbers, such as [0, 32], got {filters!r}.")
    return chosen


def as_neurons(option: str, subset: Any) -> tuple[tuple[int, int], ...]:
    """Neurons as pairs of whole numbers."""
    pairs = tuple(map(tuple, subset)) if isinstance(subset, Sequence) and all(map(_is_pair, subset)) else ()
    if not pairs:
        raise OptionError(f"{option} is a list of (row, column), such as [(0, 10), (12, 12)], got {subset!r}.")
    return pairs


def _is_pair(neuron: Any) -> bool:
    return isinstance(neuron, Sequence) and len(neuron) == 2 and all(isinstance(number, int) for number in neuron)


@dataclass(frozen=True)
class SmoothGradCAMPlusPlus(LayerExplainer):
    """Smooth Grad-CAM++ (Omeiza et al. 2019): L = relu(sum_k w_k A_k) over the chosen maps k, at the chosen neurons.

    w_k = sum_ij alpha relu(D1) and alpha = D2 / (2 D2 + sum(A) D3), where D1, D2 and D3 are the means of g, g^2 and g^3
    over the noisy images; A and its sum are the clean image's. Without noise this is Grad-CAM++, and where everything
    behind the layer is linear (GAP heads) noise changes nothing. Costs ``num_samples`` forwards and backwards.

    Every image of a batch gets the same noise, scaled by its own range, so that a map does not depend on its
    neighbors; it comes from a generator of its own on the CPU, so that every device draws the same.

    ``details``: ``singular`` ``(N,)`` as in Grad-CAM++; with ``per_filter`` also ``per_filter`` ``(N, F, h, w)``, the
    map of each of ``filters`` alone, not summed.

    Args:
        layer: See :class:`LayerExplainer`.
        post_relu: See :class:`LayerExplainer`.
        num_samples: Noisy copies per image; 0 takes the clean image alone, otherwise the clean image is not among them.
        std: Standard deviation of the noise, as a share of the image's range (maximum minus minimum).
        filters: Feature maps to combine; None takes all.
        per_filter: Give each of ``filters`` (or of all) a map of its own in ``details`` too.
        region: Whether ``subset`` holds two corners of a rectangle, both inside it, instead of single neurons.
        subset: (row, column) of the neurons to show, from 0, at the layer's resolution; all others become 0.
        numerator: ``second`` puts D2 into alpha's numerator, as Grad-CAM++ does; ``first`` puts D1, as the paper's
            equation 7 is printed.
        noise: ``range`` reads ``std`` as above, ``absolute`` in units of the model's input.
        weighting: ``mean`` averages powers of g; ``exp`` weighs each noisy image by exp(score), which the derivatives
            of exp(score) carry and which cancels for one image only.
        seed: Seed of the noise.
        precision: Of the noisy images' passes, see :mod:`livecam.runtime.inference`; sums stay in at least float32.
        internal_batch_size: Noisy images per pass; None takes what fits into free memory, see
            :mod:`livecam.runtime.memory`. A pass has at least one sample of every image.
        name: See :class:`Explainer`.

    Raises:
        OptionError: When an option is unknown or out of range.
    """

    method: ClassVar[str] = "smooth_gradcam_pp"
    label: ClassVar[str] = "Smooth Grad-CAM++"

    num_samples: Amount = 0
    std: NonNegative = 0.15
    filters: Annotated[tuple[int, ...], as_filters] | None = None
    per_filter: bool = False
    region: bool = False
    subset: Annotated[tuple[tuple[int, int], ...], as_neurons] | None = None
    numerator: Literal["second", "first"] = "second"
    noise: NoiseUnit = "range"
    weighting: Literal["mean", "exp"] = "mean"
    seed: Seed = 0
    precision: Precision = "full"
    internal_batch_size: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.region and (self.subset is None or len(self.subset) != 2):
            raise OptionError(f"With region=True, subset is two corners (row, column), got {self.subset}.")

    @property
    def single_pass(self) -> bool:
        """Without noise, as Grad-CAM++."""
        return self.num_samples == 0

    def capture(self, structure: Structure) -> Capture:
        return replace(super().capture(structure), gradient=self.num_samples == 0)

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        activations = self.activations(recording)
        mask = _neurons(self.subset, self.region, tuple(activations.shape[2:])).to(activations)
        filters = _checked_filters(self.filters, activations.shape[1])
        if self.num_samples == 0:
            first = third_over_second = squeeze_constant(self.gradients(recording))
            first_over_second = 1 / first
        else:
            first, third_over_second, first_over_second = self._averages(recording, activations.shape)
        channels = self.channels(recording)
        alpha, singular = plus_plus_alpha(channels, third_over_second, first > 0)
        if self.numerator == "first":
            alpha = torch.where(alpha != 0, alpha * first_over_second, 0)
        weights = alpha.mul_(first).mean((2, 3)) * channels.positions
        details: dict[str, Any] = {"singular": singular}
        if self.per_filter:
            single = weights[:, filters, None, None] * activations[:, filters]
            details["per_filter"] = single.relu() * mask
        return weighted_sum(weights[:, filters], activations[:, filters]).relu() * mask, details

    def _averages(self, recording: Recording, shape: torch.Size) -> tuple[Tensor, Tensor, Tensor]:
        """D1, D3/D2 and D1/D2 over the noisy images, each ``(N, K, h, w)``."""
        images = recording.images
        capture = replace(self.capture(recording.structure), gradient=True)
        noise = Noise(images, self.num_samples, self.std, self.noise, self.seed)
        # In units of 1/Z, or cubes of gradients at full resolution would leave float32's range.
        unit = shape[2] * shape[3]
        sums = torch.zeros(3, *shape, dtype=self.activations(recording).dtype, device=images.device)
        top = torch.full_like(recording.logits[:, 0], -torch.inf, dtype=sums.dtype)
        # Sums are elementwise: in a matrix product, what is not finite in one image would reach all.
        count = len(images)
        for part in recording.chunks(self, self.num_samples, backward=True, every_image=True):
            noisy = noise.variants(part)
            sample_index = torch.arange(count, device=images.device).repeat(len(noisy))
            rerun = recording.rerun(noisy.flatten(0, 1), sample_index, [capture], precision=self.precision)
            g = rerun.gradients[capture].view(-1, *shape) * unit
            power = g
            if self.weighting == "exp":
                scores = rerun.head.score(rerun.logits, rerun.targets).view(-1, count).to(sums)
                # Relative to the highest score so far, as exp(score) leaves any float; a common factor means nothing.
                highest = torch.maximum(top, scores.amax(0))
                sums *= torch.where(top == highest, 1, (top - highest).exp())[:, None, None, None]
                power, top = g * (scores - highest).exp()[:, :, None, None, None], highest
            for total in sums:
                total += power.sum(0)
                power = power * g
        first, second, third = sums
        positive = second > 0
        safe = second.masked_fill(~positive, 1)
        return (
            first / (self.num_samples * unit),
            torch.where(positive, third / safe, 0) / unit,
            torch.where(positive, first / safe, 0) * unit,
        )


def _neurons(subset: tuple[tuple[int, int], ...] | None, region: bool, size: tuple[int, int]) -> Tensor:
    """1 at the neurons to show and 0 elsewhere, ``(h, w)``."""
    if subset is None:
        return torch.ones(size)
    for row, column in subset:
        if not (0 <= row < size[0] and 0 <= column < size[1]):
            raise OptionError(
                f"Neuron ({row}, {column}) lies outside of this layer's {size[0]} x {size[1]} map (rows 0 to "
                f"{size[0] - 1}, columns 0 to {size[1] - 1}): choose others with subset=, or a finer layer=."
            )
    mask = torch.zeros(size)
    if region:
        rows, columns = zip(*subset)
        mask[min(rows) : max(rows) + 1, min(columns) : max(columns) + 1] = 1
    else:
        for neuron in subset:
            mask[neuron] = 1
    return mask


def _checked_filters(filters: tuple[int, ...] | None, channels: int) -> list[int]:
    chosen = list(range(channels)) if filters is None else list(filters)
    wrong = [index for index in chosen if not 0 <= index < channels]
    if wrong:
        raise OptionError(f"Feature map {wrong[0]} does not exist: this layer has {channels}, 0 to {channels - 1}.")
    return chosen
