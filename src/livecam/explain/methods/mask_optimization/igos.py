"""I-GOS: masks that descend along integrated gradients, with a line search."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from livecam.core.baselines import Baseline
from livecam.core.options import Amount, Count, NonNegative, Positive, Seed
from livecam.core.validation import check_number
from livecam.explain.methods.mask_optimization.base import Exponent, History, MaskOptimizer, Optimized, Side, Warmup
from livecam.explain.methods.mask_optimization.objective import MaskObjective
from livecam.runtime.inference import Precision
from livecam.runtime.progress import chunks

_ARMIJO = 1e-4


@dataclass(frozen=True)
class IGOS(MaskOptimizer):
    """I-GOS (Qi, Khorram & Li 2020): M <- clip(M - a G) with the gradient integrated from the baseline up to the mask.

    G = l1 dL1 + tv dTV + 1/S sum_s d/dM p_c(Phi(s/S U(M)) + noise), s = 1 ... S: where the class is certain, a plain
    gradient is nearly zero, and this one is not. Each step's length a starts from ``step`` and shrinks by ``decay``
    until J(M') <= J(M) - 1e-4 a |G|^2; where no length from ``least_step`` on will do, the next smaller is taken.

    Costs per iteration ``n_steps`` forwards and backwards and at most 12 forwards of the line search, and one forward
    more for the start and for each new baseline; the ``integrated`` line search takes ``n_steps`` times as many.

    ``details``: see :class:`MaskOptimizer`; ``score`` is p_c(Phi(M)), or the mean over noisy shares where the line
    search reads that. Without noise, or with the ``masked`` line search, the objective never rises but in forced steps,
    and where a warm-up ends, since it is then that of another baseline.

    Args:
        iterations: How many steps.
        n_steps: Terms S of the integral.
        size: Side m of the masks.
        l1: Weight of mean |1 - M|.
        tv: Weight of the total variation.
        beta: Its exponent.
        step: Length that each line search starts from.
        decay: What it is multiplied by until it will do, in (0, 1).
        least_step: Where the search ends.
        line_search: What it reads: ``masked``, p_c(Phi(M)) without noise, as the authors' demo does; ``integrated``,
            the mean over noisy shares, as their later code does.
        adapt_l1: As the authors' demo does, per image: a tenth of l1 where halfway the score fell by at most 0.001, and
            a fifth of it where after four fifths of the way it fell by at most 0.01, both under the same baseline.
        noise: Standard deviation, in units of the model's input.
        baseline: What is shown where a mask is 0, see :func:`livecam.core.baselines.baseline_images`.
        seed: Of the noise.
        precision: Of the masked images' passes, see :mod:`livecam.runtime.inference`; masks stay in at least float32.
            Each step builds on the last, so ``bf16`` may end at another mask: it is for a first look.
        internal_batch_size: Masked images per pass; None takes what fits into free memory, see
            :mod:`livecam.runtime.memory`.
        name: See :class:`Explainer`.

    Raises:
        ValueError: When an option is unknown or out of range.
    """

    method: ClassVar[str] = "igos"
    label: ClassVar[str] = "I-GOS"

    iterations: Amount = 15
    n_steps: Count = 20
    size: Side = 28
    l1: NonNegative = 1.0
    tv: NonNegative = 20.0
    beta: Exponent = 2.0
    step: Positive = 200.0
    decay: Annotated[float, partial(check_number, low=0, high=0.99, above=True)] = 0.2
    least_step: Positive = 1e-5
    line_search: Literal["masked", "integrated"] = "masked"
    adapt_l1: bool = False
    noise: NonNegative = 0.2
    baseline: Baseline = "blur51"
    seed: Seed = 0
    precision: Precision = "full"
    internal_batch_size: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("least_step", self.least_step, 0, self.step, above=True)

    @property
    def draws(self) -> int:
        return self.iterations * self.n_steps

    def minimize(self, objective: MaskObjective, masks: Tensor, warmup: Warmup | None, label: str) -> Optimized:
        history, baseline, score, since = History(objective), objective.baseline, None, 0
        warm = warmup.over(baseline) if warmup else baseline
        shares = torch.arange(1, self.n_steps + 1, device=masks.device).to(masks) / self.n_steps
        for part in chunks(label, self.iterations, 1):
            next_baseline = warm if warmup and part.start < warmup.iterations else baseline
            if next_baseline is not objective.baseline:
                objective.baseline, score, since = next_baseline, None, part.start
            if score is None and self.line_search == "masked":
                score = objective.probability(masks, objective.every_index)
            samples = part.start * self.n_steps + torch.arange(self.n_steps)
            mean, gradient = objective.gradient(masks, shares, samples)
            if self.line_search == "integrated":
                score = mean
            history.add(masks, score)
            if self.adapt_l1:
                self._adapt(objective, part.start, history.score[since], score)
            gradient = gradient + objective.penalty_gradient(masks)
            masks, score = self._descend(history, masks, score, gradient, shares, samples)
        if score is None or objective.baseline is not baseline:
            objective.baseline = baseline
            score = objective.probability(masks, objective.every_index)
        history.add(masks, score)
        return masks, history

    def _descend(
        self, history: History, masks: Tensor, score: Tensor, gradient: Tensor, shares: Tensor, samples: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The masks after one step, and their scores; each image has its own line search."""
        objective = history.problem
        waiting, least = objective.every_index, score + objective.penalty(masks, objective.every_index)
        gain = _ARMIJO * gradient.square().sum((1, 2))
        length, accepted = torch.full_like(score, self.step), torch.zeros_like(score, dtype=torch.bool)
        new_masks, scores = torch.empty_like(masks), torch.empty_like(score)
        while len(waiting):
            step = length[waiting]
            tried = (masks[waiting] - step[:, None, None] * gradient[waiting]).clamp(0, 1)
            if self.line_search == "masked":
                value = objective.probability(tried, waiting)
            else:
                value = objective.mean_probability(tried, waiting, shares, samples)
            good = value + objective.penalty(tried, waiting) <= least[waiting] - step * gain[waiting]
            new_masks[waiting], scores[waiting], accepted[waiting] = tried, value, good
            # The one wait for the device of each try: which images need another. Without it all would, twelve times.
            waiting = waiting[~good & (step >= self.least_step)]
            length[waiting] *= self.decay
        history.moved(length, accepted)
        return new_masks, scores

    def _adapt(self, objective: MaskObjective, iteration: int, first: Tensor, score: Tensor) -> None:
        fallen = (first - score).abs()
        if 0 < iteration == int(self.iterations / 2):
            objective.l1 = torch.where(fallen <= 0.001, objective.l1 / 10, objective.l1)
        if 0 < iteration == int(self.iterations / 1.25):
            objective.l1 = torch.where(fallen <= 0.01, objective.l1 / 5, objective.l1)
