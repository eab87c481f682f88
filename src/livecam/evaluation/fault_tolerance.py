"""Explaining a batch by all methods at once, whatever becomes of single ones."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from livecam.core.maps import is_finite
from livecam.evaluation.oom_backoff import Portions, free_memory, halved, out_of_memory
from livecam.explain import Explainer, Explanation, record, structure_of
from livecam.explain.explanation import explain_recording, joined
from livecam.explain.forward_reuse import Heard
from livecam.runtime.failures import Failures, tell
from livecam.runtime.model_state import undisturbed
from livecam.runtime.progress import quietly


class Explaining:
    """Explains batches; what fails is told once and left out, what runs out of memory goes again in smaller portions.

    Args:
        failed: What becomes of exceptions.
    """

    def __init__(self, failed: Failures) -> None:
        self._failed = failed
        self._portions = Portions()

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor | None,
        explainers: Sequence[Explainer],
        heard: Heard | None = None,
        **options: Any,
    ) -> dict[str, Explanation]:
        """Explain ``images`` ``(N, 3, H, W)`` by every method that works.

        Args:
            model: The network.
            images: Model input.
            targets: Class of each image ``(N,)``; None means the predicted one.
            explainers: Methods, each under its own name.
            heard: What another forward of these images showed; spares methods that need no more a pass.
            options: Of :func:`livecam.explain.recording.recording.record`.

        Returns:
            Explanations by method; without those that failed, or whose maps are all NaN or infinite.
        """
        structure, count = structure_of(model, images), len(images)
        found: dict[str, Explanation] = {}

        def look(asked: Sequence[Explainer], rows: slice) -> dict[str, Explanation]:
            captures = {e.name: self._attempt(e, count, lambda e=e: e.captures(structure)) for e in asked}
            ready = [e for e in asked if captures[e.name] is not None]
            goals = None if targets is None else targets[rows]
            made: dict[str, Explanation | None] = {}
            for free in (True, False):
                group = [e for e in ready if (heard is not None and e.name in heard.methods) is free]
                if not group:
                    continue
                if free:
                    recording = heard.recording(rows, goals, **options)
                else:
                    wanted = [capture for e in group for capture in captures[e.name]]
                    recording = record(model, images[rows], goals, wanted, structure=structure, **options)
                # One answer for all: near a tie, two passes might predict different classes.
                goals = recording.targets
                with undisturbed(model, images.device), quietly():
                    for e in group:
                        made[e.name] = self._attempt(e, count, lambda e=e, r=recording: explain_recording(e, r))
            return {name: explanation for name, explanation in made.items() if explanation is not None}

        for halvings, group in self._portions.groups(explainers):
            asked, parts = [halved(e, halvings) for e in group], {e.name: [] for e in group}
            size = max(1, count >> halvings)
            for start in range(0, count, size):
                if not asked:
                    break
                made = self._together_or_alone(look, asked, slice(start, start + size), count)
                asked = [e for e in asked if e.name in made]
                for e in asked:
                    parts[e.name].append(made[e.name])
            found |= {e.name: joined(parts[e.name]) for e in asked}
        return self._finite({e.name: found[e.name] for e in explainers if e.name in found})

    def _together_or_alone(
        self,
        look: Callable[[Sequence[Explainer], slice], dict[str, Explanation]],
        asked: Sequence[Explainer],
        rows: slice,
        count: int,
    ) -> dict[str, Explanation]:
        """One pass for all; where what one method asked of it broke it for all, a pass for each."""
        try:
            return look(asked, rows)
        except Exception as error:
            large = out_of_memory(error)
            if not large and (self._failed.strict or len(asked) == 1):
                raise
            if large:
                asked = [e for e in asked if not self._smaller(e, count)]
        free_memory()
        alone = [self._attempt(e, count, lambda e=e: look([e], rows)) or {} for e in asked]
        return {name: explanation for part in alone for name, explanation in part.items()}

    def _attempt(self, explainer: Explainer, count: int, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:
            if not (out_of_memory(error) and self._smaller(explainer, count)):
                self._failed(f"Explainer {explainer.name!r} failed and is left out; training goes on.")
        # Only here, where the exception holds the tensors of the failed attempt no longer.
        free_memory()
        return None

    def _smaller(self, explainer: Explainer, count: int) -> bool:
        if not self._portions.halve(explainer, count):
            return False
        tell(f"Explainer {explainer.name!r} ran out of memory and is tried again in smaller portions.")
        return True

    def _finite(self, found: dict[str, Explanation]) -> dict[str, Explanation]:
        """Tell of maps of NaN or infinity, and leave out the methods that gave nothing else."""
        if not found:
            return found
        wrong = {name: ~is_finite(explanation.raw) for name, explanation in found.items()}
        # One wait for the device, however many methods there are.
        counts = dict(zip(wrong, torch.stack([rows.sum() for rows in wrong.values()]).tolist()))
        for name, count in counts.items():
            if count:
                dark = bool((wrong[name] & ~found[name].score.isfinite()).any())
                why = ", as the network's own answer is: it diverged, or the images hold NaN" if dark else ""
                with self._failed.spared(f"Explainer {name!r} failed for some images; training goes on."):
                    raise ValueError(f"{count} of {len(wrong[name])} maps are NaN or infinite{why}.")
        return {name: explanation for name, explanation in found.items() if counts[name] < len(explanation.raw)}
