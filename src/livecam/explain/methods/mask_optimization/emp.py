"""EMP: meaningful perturbation, masks optimized by Adam."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from livecam.core.baselines import Baseline
from livecam.core.options import Amount, Count, NonNegative, Positive, Seed
from livecam.explain.methods.mask_optimization.base import Exponent, History, MaskOptimizer, Optimized, Side, Warmup
from livecam.explain.methods.mask_optimization.objective import MaskObjective
from livecam.explain.recording.recording import Recording
from livecam.runtime.inference import Precision
from livecam.runtime.progress import chunks

# The weights of fv2017 are those of its sums over 28 x 28 masks, 1e-4 and 1e-2, for means.
PRESETS: dict[str, dict[str, Any]] = {
    "port": {"l1": 0.01, "tv": 0.2, "noise": 0.2, "jitter": 0, "mask_blur": 0.0, "baseline": "blur51"},
    "fv2017": {"l1": 0.0784, "tv": 7.56, "noise": 0.0, "jitter": 4, "mask_blur": 5.0, "baseline": "blur"},
}


@dataclass(frozen=True)
class EMP(MaskOptimizer):
    """Meaningful perturbation (Fong & Vedaldi 2017): Adam on J(M) = p_c(Phi(M)) + l1 mean |1 - M| + tv TV_beta(M).

    Masks are clipped to [0, 1] after each step. Costs ``iterations`` forwards and backwards, and one forward.

    ``details``: see :class:`MaskOptimizer`; ``score`` is p_c as each iteration saw it, with its noise, and the last one
    without; every step is of length ``lr`` and accepted.

    Args:
        preset: What is not given below is taken from ``port``, the widespread PyTorch code, or from ``fv2017``, the
            authors' own: its weights, jitter and mask blur, a Gaussian of 10 px as baseline, no noise.
        iterations: How many steps.
        size: Side m of the masks.
        lr: Adam's learning rate.
        l1: Weight of mean |1 - M|.
        tv: Weight of the total variation.
        beta: Its exponent.
        noise: Standard deviation, in units of the model's input.
        jitter: The image is enlarged by so many pixels and cut at one of so many places per axis, another each time.
        mask_blur: Standard deviation, in pixels, of a Gaussian over the enlarged mask.
        baseline: What is shown where a mask is 0, see :func:`livecam.core.baselines.baseline_images`.
        seed: Of noise and jitter.
        precision: Of the masked images' passes, see :mod:`livecam.runtime.inference`; masks stay in at least float32.
            Each step builds on the last, so ``bf16`` may end at another mask: it is for a first look.
        internal_batch_size: Masked images per pass; None takes what fits into free memory, see
            :mod:`livecam.runtime.memory`.
        name: See :class:`Explainer`.

    Raises:
        ValueError: When an option is unknown or out of range.
    """

    method: ClassVar[str] = "emp"
    label: ClassVar[str] = "EMP"
    presets: ClassVar = PRESETS

    preset: Literal["port", "fv2017"] = "port"
    iterations: Amount = 300
    size: Side = 28
    lr: Positive = 0.1
    l1: NonNegative | None = None
    tv: NonNegative | None = None
    beta: Exponent = 3.0
    noise: NonNegative | None = None
    jitter: Amount | None = None
    mask_blur: NonNegative | None = None
    baseline: Baseline | None = None
    seed: Seed = 0
    precision: Precision = "full"
    internal_batch_size: Count | None = None

    def objective(self, recording: Recording, start: Tensor) -> MaskObjective:
        return replace(super().objective(recording, start), jitter=self.jitter, mask_blur=self.mask_blur)

    def minimize(self, objective: MaskObjective, masks: Tensor, warmup: Warmup | None, label: str) -> Optimized:
        history, baseline = History(objective), objective.baseline
        warm = warmup.over(baseline) if warmup else baseline
        generator = torch.Generator().manual_seed(self.seed)
        places = torch.randint(max(1, self.jitter**2), (self.iterations,), generator=generator).tolist()
        masks = masks.clone()
        # Elementwise, so that it is an optimizer of its own for each mask.
        adam, shares = torch.optim.Adam([masks], lr=self.lr), masks.new_ones(1)
        length, always = torch.full_like(objective.l1, self.lr), torch.ones_like(objective.l1, dtype=torch.bool)
        for part in chunks(label, self.iterations, 1):
            step = part.start
            objective.baseline = warm if warmup and step < warmup.iterations else baseline
            score, gradient = objective.gradient(masks, shares, torch.tensor([step]), places[step])
            history.add(masks, score)
            history.moved(length, always)
            masks.grad = gradient + objective.penalty_gradient(masks)
            adam.step()
            masks.clamp_(0, 1)
        masks.grad = None
        objective.baseline = baseline
        history.add(masks, objective.probability(masks, objective.every_index))
        return masks, history
