"""Explaining a batch by all methods at once, whatever becomes of single ones: the only such loop of the house."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from livecam.core.errors import OptionError
from livecam.core.maps import is_finite
from livecam.evaluation.oom_backoff import OomBackoff, free_memory, halved, is_oom_error
from livecam.explain import Capture, Explainer, Explanation, record, structure_of
from livecam.explain.explanation import concatenate, explain_recording, explanation_of
from livecam.explain.forward_reuse import ReusableForward
from livecam.runtime.failures import FailurePolicy, together_or_alone, warn_once
from livecam.runtime.model_state import isolated_eval

Look = Callable[[Sequence[Explainer], slice], dict[str, Explanation]]

# Images that a method may fail on, one after the other, before the rest of a batch is spared the attempts.
_HOPELESS = 2


class FaultTolerantExplainer:
    """Explains batches; what fails is told once and left out, what runs out of memory goes again in smaller portions.

    A method that fails on a batch goes again image by image: one bad image costs its own map, which is NaN then. A
    method that gives nothing for the first two is left out of the batch. Failures of the network are nobody's but
    the caller's.

    Args:
        failed: What becomes of exceptions of methods.
    """

    def __init__(self, failures: FailurePolicy) -> None:
        self._failures = failures
        self._backoff = OomBackoff()

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor | None,
        explainers: Sequence[Explainer],
        reusable: ReusableForward | None = None,
        **options: Any,
    ) -> dict[str, Explanation]:
        """Explain ``images`` ``(N, 3, H, W)`` by every method that works.

        Args:
            model: The network.
            images: Model input.
            targets: Class of each image ``(N,)``; None means the predicted one.
            explainers: Methods, each under its own name.
            reusable: What another forward of these images showed; spares methods that need no more a pass.
            options: Of :func:`livecam.explain.recording.recording.record`.

        Returns:
            Explanations by method, without those that failed; maps of NaN or infinity are told of, and stay.
        """
        structure, count = structure_of(model, images), len(images)
        results: dict[str, Explanation] = {}

        def targets_of(rows: slice) -> Tensor | None:
            return None if targets is None else targets[rows]

        def is_free(explainer: Explainer, captures: Sequence[Capture]) -> bool:
            # What needs nothing of a pass joins whichever there is.
            joins = explainer.single_pass and not captures
            return reusable is not None and (joins or explainer.name in reusable.methods)

        def look(methods: Sequence[Explainer], rows: slice) -> dict[str, Explanation]:
            captures = {e.name: self._attempt(e, count, lambda e=e: e.captures(structure)) for e in methods}
            ready = [e for e in methods if captures[e.name] is not None]
            row_targets = targets_of(rows)
            explanations: dict[str, Explanation | None] = {}
            for free in (True, False):
                group = [e for e in ready if is_free(e, captures[e.name]) is free]
                if not group:
                    continue
                if free:
                    recording = reusable.recording(rows, row_targets, **options)
                else:
                    group_captures = [capture for e in group for capture in captures[e.name]]
                    recording = record(model, images[rows], row_targets, group_captures, structure=structure, **options)
                # One answer for all: near a tie, two passes might predict different classes.
                row_targets = recording.targets
                with isolated_eval(model, images.device):
                    for e in group:
                        explanations[e.name] = self._attempt(e, count, lambda e=e, r=recording: explain_recording(e, r))
            return {name: explanation for name, explanation in explanations.items() if explanation is not None}

        def bare(rows: slice) -> Explanation:
            return without_map(model, images[rows], targets_of(rows), structure=structure, **options)

        for halvings, group in self._backoff.groups(explainers):
            smaller, parts = [halved(e, halvings) for e in group], {e.name: [] for e in group}
            size = max(1, count >> halvings)
            for start in range(0, count, size):
                rows = slice(start, min(start + size, count))
                part_results = self._together_or_alone(look, bare, smaller, rows, count)
                for e in smaller:
                    if e.name not in part_results and not self._backoff.grown(e, halvings):
                        part_results |= self._one_by_one(look, bare, e, rows, count)
                smaller = [e for e in smaller if e.name in part_results]
                for e in smaller:
                    parts[e.name].append(part_results[e.name])
            results |= {e.name: concatenate(parts[e.name]) for e in smaller}
        results = {e.name: results[e.name] for e in explainers if e.name in results}
        self._tell_of_nan(results)
        return results

    def _together_or_alone(
        self, look: Look, bare: Callable[[slice], Explanation], methods: Sequence[Explainer], rows: slice, count: int
    ) -> dict[str, Explanation]:
        """One pass for all; where what one method asked of it broke it for all, a pass for each."""

        def broken(error: Exception) -> Sequence[Explainer]:
            if is_oom_error(error):
                return [e for e in methods if not self._smaller(e, count)]
            if self._failures.strict:
                raise error
            # Where the network itself fails, no method is to blame.
            bare(rows)
            return methods

        def alone(explainer: Explainer, work: Callable[[], dict[str, Explanation]]) -> dict[str, Explanation] | None:
            free_memory()
            return self._attempt(explainer, count, work)

        parts = together_or_alone(methods, lambda group: look(group, rows), broken, alone) if methods else []
        return {name: explanation for part in parts for name, explanation in part.items()}

    def _one_by_one(
        self, look: Look, bare: Callable[[slice], Explanation], explainer: Explainer, rows: slice, count: int
    ) -> dict[str, Explanation]:
        """A pass for each image, where a method failed on all together; nothing where it does not work at all."""
        places = range(rows.start, rows.stop)
        maps: list[Explanation | None] = []
        for place in places if len(places) > 1 else ():
            one = self._attempt(explainer, count, lambda place=place: look([explainer], slice(place, place + 1)))
            maps.append((one or {}).get(explainer.name))
            if len(maps) >= _HOPELESS and not any(maps):
                break
        like = next((explanation.raw for explanation in maps if explanation), None)
        if like is None:
            return {}
        failed = [explanation is None for explanation in maps]
        for number, place in enumerate(places):
            one = maps[number] or replace(bare(slice(place, place + 1)), raw=torch.full_like(like, torch.nan))
            maps[number] = replace(one, details={})
        details = {"failed": torch.tensor(failed), "note": ["failed" if wrong else "" for wrong in failed]}
        return {explainer.name: replace(concatenate(maps), details=details)}

    def _attempt(self, explainer: Explainer, count: int, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:
            if not (is_oom_error(error) and self._smaller(explainer, count)):
                self._failures(f"Explainer {explainer.name!r} failed and is left out.")
        # Only here, where the exception holds the tensors of the failed attempt no longer.
        free_memory()
        return None

    def _smaller(self, explainer: Explainer, count: int) -> bool:
        if not self._backoff.back_off(explainer, count):
            return False
        warn_once(f"Explainer {explainer.name!r} ran out of memory and is tried again in smaller portions.")
        return True

    def _tell_of_nan(self, explanations: dict[str, Explanation]) -> None:
        if not explanations:
            return
        wrong = {name: ~is_finite(explanation.raw) for name, explanation in explanations.items()}
        # One wait for the device, however many methods there are.
        counts = dict(zip(wrong, torch.stack([rows.sum() for rows in wrong.values()]).tolist()))
        for name, count in counts.items():
            if count and "failed" not in explanations[name].details:
                dark = bool((wrong[name] & ~explanations[name].score.isfinite()).any())
                why = ", as the network's own answer is: it diverged, or the images hold NaN" if dark else ""
                with self._failures.suppress(f"Explainer {name!r} failed for some images."):
                    raise OptionError(f"{count} of {len(wrong[name])} maps are NaN or infinite{why}.")


def without_map(model: nn.Module, images: Tensor, targets: Tensor | None, **options: Any) -> Explanation:
    """What is known of images ``(N, 3, H, W)`` that no method could explain: the answer, beside maps of NaN."""
    recording = record(model, images, targets, [], **options)
    return explanation_of(recording, torch.full_like(recording.images[:, 0], torch.nan))
