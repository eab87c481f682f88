"""What EMP and I-GOS share: a mask per image that is optimized to delete what the class rests on."""

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor

from livecam.core.baselines import Baseline, baseline_images
from livecam.core.options import Amount, Count, NonNegative, Seed
from livecam.core.validation import check_count, check_number
from livecam.explain.explainer import Explainer
from livecam.explain.methods.mask_optimization.objective import MaskObjective, sparsity, total_variation
from livecam.explain.methods.noise import Noise
from livecam.explain.recording.recording import Recording
from livecam.runtime.inference import Precision


@dataclass(frozen=True)
class Warmup:
    """First iterations under a baseline that deletes less, so that a good start is not thrown away at once.

    Args:
        iterations: How many.
        baseline: What is shown meanwhile, ``(N, 3, H, W)``.
        active: Which images have it, ``(N,)`` bool.
    """

    iterations: int
    baseline: Tensor
    active: Tensor

    def over(self, baseline: Tensor) -> Tensor:
        """What is shown meanwhile, where others start under ``baseline``."""
        return torch.where(self.active[:, None, None, None], self.baseline, baseline)


@dataclass
class History:
    """The course of an optimization, one list entry per iteration.

    Args:
        problem: What is optimized.
    """

    problem: MaskObjective
    score: list[Tensor] = field(default_factory=list)
    l1: list[Tensor] = field(default_factory=list)
    tv: list[Tensor] = field(default_factory=list)
    objective: list[Tensor] = field(default_factory=list)
    step: list[Tensor] = field(default_factory=list)
    accepted: list[Tensor] = field(default_factory=list)

    def add(self, masks: Tensor, score: Tensor) -> None:
        """Note where all images stand."""
        self.score.append(score)
        self.l1.append(sparsity(masks))
        self.tv.append(total_variation(masks, self.problem.beta))
        self.objective.append(score + self.problem.penalty(masks, self.problem.every_index))

    def moved(self, step: Tensor, accepted: Tensor) -> None:
        """Note how far all images went ``(N,)``, and whether that was a descent step rather than the forced least."""
        self.step.append(step)
        self.accepted.append(accepted)

    def as_dict(self) -> dict[str, Tensor]:
        """Tensors ``(N, iterations + 1)``; ``step`` and ``accepted`` ``(N, iterations)``."""
        empty = self.problem.l1.new_zeros(len(self.problem.l1), 0)
        parts = {name: getattr(self, name) for name in ("objective", "score", "l1", "tv", "step", "accepted")}
        return {name: torch.stack(values, 1) if values else empty for name, values in parts.items()}


Optimized = tuple[Tensor, History]
"""Masks ``(N, m, m)`` in [0, 1], and how they came about."""
Side = Annotated[int, partial(check_count, least=2)]
"""Cells along each side of a mask."""
Exponent = Annotated[float, partial(check_number, low=1)]


@dataclass(frozen=True)
class MaskOptimizer(Explainer):
    """A method that looks for the smallest part of an image whose deletion costs it its class.

    See :class:`livecam.explain.methods.mask_optimization.objective.MaskObjective` for what is minimized. The map is 1 -
    U(M), enlarged as the network saw it. A batch is independent problems: each image has its own steps and its own end.

    ``details``: ``mask`` ``(N, m, m)`` in [0, 1], 0 where deleted; ``history``, the course of the optimization by name:
    ``objective``, ``score``, ``l1`` (mean |1 - M|) and ``tv`` ``(N, iterations + 1)``, ``step`` (its length) and
    ``accepted`` (False where the line search found no descent and took its least step) ``(N, iterations)``.
    """

    iterations: Amount
    size: Side
    l1: NonNegative
    tv: NonNegative
    beta: Exponent
    noise: NonNegative
    baseline: Baseline
    seed: Seed
    precision: Precision
    internal_batch_size: Count | None

    @property
    def draws(self) -> int:
        """How many noises there are."""
        return self.iterations

    @abstractmethod
    def minimize(self, objective: MaskObjective, masks: Tensor, warmup: Warmup | None, label: str) -> Optimized:
        """Optimize masks ``(N, m, m)``.

        Args:
            objective: What is minimized.
            masks: Where it starts.
            warmup: First iterations under another baseline.
            label: What is being done, for people.
        """

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        kind = torch.promote_types(recording.images.dtype, torch.float32)
        shape = len(recording.images), self.size, self.size
        return self.refine(recording, torch.ones(shape, dtype=kind, device=recording.images.device))

    def refine(
        self, recording: Recording, start: Tensor, warmup: Warmup | None = None, label: str | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Maps ``(N, H, W)`` in [0, 1] and details of masks ``(N, m, m)`` that were optimized from ``start`` on."""
        objective = self.objective(recording, start)
        masks, history = self.minimize(objective, start, warmup, label or self.label)
        return objective.upsample(1 - masks), {"mask": masks, "history": history.as_dict()}

    def objective(self, recording: Recording, start: Tensor) -> MaskObjective:
        """The objective; masks and all that is made of them are of the type of ``start``."""
        images = recording.images
        return MaskObjective(
            recording,
            baseline_images(images, self.baseline, recording.normalization),
            torch.full_like(start[:, 0, 0], self.l1),
            self.tv,
            self.beta,
            Noise(images, self.draws, self.noise, "absolute", self.seed) if self.noise else None,
            precision=self.precision,
            internal_batch_size=recording.internal_batch_size(self, backward=True),
        )
