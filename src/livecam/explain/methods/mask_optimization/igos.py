"""I-GOS: masks that descend along integrated gradients, with a line search."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from livecam.core.baselines import Fill
from livecam.core.validation import check_count, check_number, check_option
from livecam.explain.methods.mask_optimization.base import History, MaskOptimiser, Warmup
from livecam.explain.methods.mask_optimization.objective import DeletionGame
from livecam.runtime.inference import Precision
from livecam.runtime.progress import chunks

_ARMIJO = 1e-4


@dataclass(frozen=True)
class IGOS(MaskOptimiser):
    """I-GOS (Qi, Khorram & Li 2020): M <- clip(M - a G) with the gradient integrated from the blank up to the mask.

    G = l1 dL1 + tv dTV + 1/S sum_s d/dM p_c(Phi(s/S U(M)) + noise), s = 1 ... S: where the class is certain, a plain
    gradient is nearly zero, and this one is not. Each step's length a starts from ``step`` and shrinks by ``decay``
    until J(M') <= J(M) - 1e-4 a |G|^2; where no length from ``least_step`` on will do, the next smaller is taken.

    Costs per iteration ``points`` forwards and backwards and at most 12 forwards of the line search, and one forward
    more for the start and for each new blank; the ``integrated`` line search takes ``points`` times as many.

    ``details``: see :class:`MaskOptimiser`; ``score`` is p_c(Phi(M)), or the mean over noisy shares where the line
    search reads that. Without noise, or with the ``masked`` line search, the objective never rises but in forced steps,
    and where a warm-up ends, since it is then that of another blank.

    Args:
        iterations: How many steps.
        points: Terms S of the integral.
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
            a fifth of it where after four fifths of the way it fell by at most 0.01, both under the same blank.
        noise: Standard deviation, in units of the model's input.
        baseline: The blank, see :func:`livecam.core.baselines.filled`.
        seed: Of the noise.
        precision: Of the masked images' passes, see :mod:`livecam.runtime.inference`; masks stay in at least float32.
            Each step builds on the last, so ``bf16`` may end at another mask: it is for a first look.
        chunk: Masked images per pass; None takes what fits into free memory, see :mod:`livecam.runtime.memory`.
        name: See :class:`Explainer`.

    Raises:
        ValueError: When an option is unknown or out of range.
    """

    method: ClassVar[str] = "igos"
    label: ClassVar[str] = "I-GOS"

    iterations: int = 15
    points: int = 20
    size: int = 28
    l1: float = 1.0
    tv: float = 20.0
    beta: float = 2.0
    step: float = 200.0
    decay: float = 0.2
    least_step: float = 1e-5
    line_search: Literal["masked", "integrated"] = "masked"
    adapt_l1: bool = False
    noise: float = 0.2
    baseline: Fill = "blur51"
    seed: int = 0
    precision: Precision = "full"
    chunk: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("points", self.points)
        check_option("line_search", self.line_search, ("masked", "integrated"))
        check_number("decay", self.decay, 0, 0.99, above=True)
        check_number("step", self.step, 0, above=True)
        check_number("least_step", self.least_step, 0, self.step, above=True)

    @property
    def draws(self) -> int:
        return self.iterations * self.points

    def minimise(self, game: DeletionGame, masks: Tensor, warmup: Warmup | None, label: str) -> tuple[Tensor, History]:
        history, blank, score, since = History(game), game.blank, None, 0
        warm = warmup.over(blank) if warmup else blank
        shares = torch.arange(1, self.points + 1, device=masks.device).to(masks) / self.points
        for part in chunks(label, self.iterations, 1):
            wanted = warm if warmup and part.start < warmup.iterations else blank
            if wanted is not game.blank:
                game.blank, score, since = wanted, None, part.start
            if score is None and self.line_search == "masked":
                score = game.probability(masks, game.everyone)
            samples = part.start * self.points + torch.arange(self.points)
            mean, slope = game.slope(masks, shares, samples)
            if self.line_search == "integrated":
                score = mean
            history.add(masks, score)
            if self.adapt_l1:
                self._adapt(game, part.start, history.score[since], score)
            masks, score = self._descend(
                game, masks, score, slope + game.penalty_slope(masks), shares, samples, history
            )
        if score is None or game.blank is not blank:
            game.blank = blank
            score = game.probability(masks, game.everyone)
        history.add(masks, score)
        return masks, history

    def _descend(
        self,
        game: DeletionGame,
        masks: Tensor,
        score: Tensor,
        slope: Tensor,
        shares: Tensor,
        samples: Tensor,
        history: History,
    ) -> tuple[Tensor, Tensor]:
        """The masks after one step, and their scores; each game has its own line search."""
        waiting, least = game.everyone, score + game.penalty(masks, game.everyone)
        gain = _ARMIJO * slope.square().sum((1, 2))
        length, accepted = torch.full_like(score, self.step), torch.zeros_like(score, dtype=torch.bool)
        found, scores = torch.empty_like(masks), torch.empty_like(score)
        while len(waiting):
            step = length[waiting]
            tried = (masks[waiting] - step[:, None, None] * slope[waiting]).clamp(0, 1)
            if self.line_search == "masked":
                value = game.probability(tried, waiting)
            else:
                value = game.mean_probability(tried, waiting, shares, samples)
            good = value + game.penalty(tried, waiting) <= least[waiting] - step * gain[waiting]
            found[waiting], scores[waiting], accepted[waiting] = tried, value, good
            # The one wait for the device of each try: which games need another. Without it all would, twelve times.
            waiting = waiting[~good & (step >= self.least_step)]
            length[waiting] *= self.decay
        history.moved(length, accepted)
        return found, scores

    def _adapt(self, game: DeletionGame, iteration: int, first: Tensor, score: Tensor) -> None:
        fallen = (first - score).abs()
        if 0 < iteration == int(self.iterations / 2):
            game.l1 = torch.where(fallen <= 0.001, game.l1 / 10, game.l1)
        if 0 < iteration == int(self.iterations / 1.25):
            game.l1 = torch.where(fallen <= 0.01, game.l1 / 5, game.l1)
