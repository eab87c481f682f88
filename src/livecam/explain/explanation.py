"""``explain``: any number of methods on one batch, for the price of one recorded pass."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from livecam.core.errors import OptionError
from livecam.core.maps import is_degenerate, is_finite, minmax, resize
from livecam.core.normalization import Normalization
from livecam.explain.explainer import Explainer
from livecam.explain.recording.network_structure import structure_of
from livecam.explain.recording.recording import Recording, record
from livecam.explain.registry import by_names
from livecam.runtime.model_state import isolated_eval


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where the network looked, according to one method.

    Args:
        raw: ``(N, h, w)`` as the method defines it, at its own resolution.
        size: ``(H, W)`` of the images.
        target: ``(N,)`` explained class.
        predicted: ``(N,)`` most probable class.
        score: ``(N,)`` logit of that class.
        probability: ``(N,)`` in [0, 1].
        degenerate: ``(N,)`` bool, maps without any contrast, or with NaN or infinity.
        details: What else the method reports.
    """

    raw: Tensor
    size: tuple[int, int]
    target: Tensor
    predicted: Tensor
    score: Tensor
    probability: Tensor
    degenerate: Tensor
    details: dict[str, Any] = field(default_factory=dict)

    # Made when they are asked for: scores need one of the two, and enlarging maps is most of their cost.
    @cached_property
    def map(self) -> Tensor:
        """``(N, H, W)`` float32 in [0, 1], scaled per sample, for display and ranking; zeros when degenerate."""
        return minmax(resize(self.raw, self.size)).float()

    @cached_property
    def energy(self) -> Tensor:
        """``(N, H, W)`` float32 >= 0, the rectified raw map resized but **not** shifted, for energy metrics.

        Zeros where the map is not finite.
        """
        return resize(self.raw.relu(), self.size).float().masked_fill_(~is_finite(self.raw)[:, None, None], 0)


def explain(
    model: nn.Module,
    images: Tensor,
    explainers: Sequence[Explainer | str],
    targets: Tensor | int | None = None,
    *,
    head: str = "auto",
    normalization: Normalization | None = None,
) -> dict[str, Explanation]:
    """Explain a batch by several methods at once.

    The model is left exactly as it was: training flags, gradients, hooks, buffers and random state. The call works in
    training code, under ``torch.no_grad()`` and under ``torch.inference_mode()`` alike.

    Args:
        model: Classifier whose forward takes images and returns logits ``(N, K)``.
        images: Model input ``(N, 3, H, W)``.
        explainers: Methods, or their names, each under its own name.
        targets: Class per image ``(N,)``, one class for all, or None for the predicted class.
        head: ``softmax``, ``binary``, ``multilabel`` or ``auto``.
        normalization: Tie between model input and pixels, for methods that work in pixel space.

    Returns:
        One :class:`Explanation` per explainer, keyed by its name.

    Raises:
        OptionError: When two explainers share a name, a target is out of range or a method does not fit the network.
        KeyError: When a layer name fits no layer or several.
    """
    explainers = by_names(explainers)
    check_names(explainers)
    structure = structure_of(model, images)
    captures = [capture for explainer in explainers for capture in explainer.captures(structure)]
    with isolated_eval(model, images.device):
        recording = record(
            model, images, targets, captures, head=head, normalization=normalization, structure=structure
        )
        return {explainer.name: explain_recording(explainer, recording) for explainer in explainers}


def explain_recording(explainer: Explainer, recording: Recording) -> Explanation:
    """Explain by one method from a pass that has been recorded for it already."""
    raw, details = explainer.result(recording)
    # A method may have worked elsewhere; what is made of maps belongs beside the images.
    return explanation_of(recording, raw.detach().to(recording.images.device), details)


def explanation_of(recording: Recording, raw: Tensor, details: dict[str, Any] | None = None) -> Explanation:
    """Raw maps ``(N, h, w)`` beside what the network answered in that pass."""
    return Explanation(
        raw=raw,
        size=tuple(recording.images.shape[-2:]),
        target=recording.targets,
        predicted=recording.head.predict(recording.logits),
        score=recording.head.score(recording.logits, recording.targets).float(),
        probability=recording.head.probability(recording.logits, recording.targets).float(),
        degenerate=is_degenerate(raw),
        details=details or {},
    )


def concatenate(parts: Sequence[Explanation]) -> Explanation:
    """Explanations of consecutive images by one method as one; of details that are no rows, the first ones'."""
    if len(parts) == 1:
        return parts[0]
    tensors = [attribute.name for attribute in fields(Explanation) if attribute.name not in ("size", "details")]
    details = {key: _joined([part.details[key] for part in parts], parts) for key in parts[0].details}
    rows = {name: torch.cat([getattr(part, name) for part in parts]) for name in tensors}
    return Explanation(**rows, size=parts[0].size, details=details)


def _joined(values: list[Any], parts: Sequence[Explanation]) -> Any:
    rows = all(isinstance(value, Tensor | list) and len(value) == len(part.raw) for value, part in zip(values, parts))
    if not rows:
        return values[0]
    return torch.cat(values) if isinstance(values[0], Tensor) else [row for value in values for row in value]


def check_names(explainers: Sequence[Explainer]) -> None:
    """Refuse two explainers of one name: their results would overwrite each other.

    Raises:
        OptionError: With the remedy.
    """
    twice = [name for name, count in Counter(explainer.name for explainer in explainers).items() if count > 1]
    if twice:
        raise OptionError(f"Two explainers are called {twice[0]!r}: name one otherwise, such as name='{twice[0]}_2'.")
