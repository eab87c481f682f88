"""One labeled strip per sample: input, ground truth and one column per method, with the words beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from livecam.report.drawing.panels import (
    Panel,
    Strip,
    as_uint8,
    outline,
    overlay,
    signed_display,
    strips,
    to_host,
    unsigned_display,
)


class PredictionLike(Protocol):
    """What is read of a network's answer to N images."""

    target: Tensor
    predicted: Tensor
    probability: Tensor


class ExplanationLike(PredictionLike, Protocol):
    """What is read of an explanation of N images; a ``note`` among its ``details``, if it has any, is shown."""

    map: Tensor
    raw: Tensor
    degenerate: Tensor


class Method(Protocol):
    """What is read of an explainer."""

    name: str
    label: str
    signed: bool
    clip_fraction: float


@dataclass
class Sample:
    """One explained image.

    Args:
        name: Which sample it is.
        pixels: RGB ``(3, H, W)`` in [0, 1].
        predicted: Predicted class, in words.
        explained: Explained class, in words.
        probability: Probability of the explained class.
        overlays: Picture ``(3, H, W)`` of each method, uint8 or in [0, 1], by printed name.
        notes: Remark on each method, by printed name.
        label: True class, or all of several, in words; None when unknown.
        mask: Ground truth ``(H, W)``; None when this image has none.
        inside: Share of each method's energy inside the ground truth, by printed name; NaN where undefined.
        right: Whether the answer is right, where that is another question than whether the true class is predicted.
    """

    name: str
    pixels: Tensor
    predicted: str
    explained: str
    probability: float
    overlays: dict[str, Tensor]
    notes: dict[str, str]
    label: str | None = None
    mask: Tensor | None = None
    inside: dict[str, float] = field(default_factory=dict)
    right: bool | None = None

    @property
    def correct(self) -> bool | None:
        """Whether the answer is right; None when the true class is unknown."""
        return self.right if self.right is not None or self.label is None else self.label == self.predicted

    @property
    def statements(self) -> list[str]:
        """What was predicted and, where that is another class, what is explained; the latter with its probability."""
        sure = f" {self.probability:.2f}"
        if self.predicted == self.explained:
            return [f"predicted {self.predicted}{sure}"]
        return [f"predicted {self.predicted}", f"explained {self.explained}{sure}"]

    @property
    def caption(self) -> str:
        """One line for people."""
        true = [f"true {self.label}"] if self.label is not None else []
        return " · ".join([self.name, *true, *self.statements])

    def strip(self, with_truth: bool, with_caption: bool = False) -> np.ndarray:
        """Draw the strip alone, as :func:`draw_strips` does."""
        return draw_strips([self], with_truth, with_caption)[0]


def draw_strips(samples: Sequence[Sample], with_truth: bool, with_caption: bool = False) -> list[np.ndarray]:
    """Draw strips, uint8 ``(h, w, 3)``; mistakes are framed red.

    Args:
        samples: Of one batch.
        with_truth: Whether there is a column for ground truth; galleries have it in every strip or in none.
        with_caption: Whether the caption is drawn too, for pictures that travel alone.
    """
    inputs = as_uint8(torch.stack([sample.pixels for sample in samples]).float())
    truths = _truths(samples) if with_truth else [[] for _ in samples]
    rows = []
    for sample, pixels, truth in zip(samples, inputs, truths):
        panels = [Panel(name, picture, sample.notes[name]) for name, picture in sample.overlays.items()]
        caption = sample.caption if with_caption else ""
        rows.append(Strip([Panel("input", pixels), *truth, *panels], caption, sample.correct))
    return strips(rows)


def _truths(samples: Sequence[Sample]) -> list[list[Panel]]:
    annotated = [sample for sample in samples if sample.mask is not None]
    if annotated:
        pixels, masks = (torch.stack([getattr(sample, name) for sample in annotated]) for name in ("pixels", "mask"))
        pictures = iter(as_uint8(outline(pixels, masks[:, None]).float()))
    missing = Panel("ground truth", torch.full_like(samples[0].pixels, 0.94), "not annotated")
    return [[missing if sample.mask is None else Panel("ground truth", next(pictures))] for sample in samples]


def printed_names(methods: Sequence[Method]) -> dict[str, str]:
    """Method name -> what a person reads: the label, and where several share it, what sets their names apart."""
    printed = {}
    for method in methods:
        rivals = [m.name.split("_") for m in methods if m.label == method.label]
        shared = 0
        while all(len(words) > shared and words[shared] == rivals[0][shared] for words in rivals):
            shared += 1
        printed[method.name] = " ".join([method.label, *method.name.split("_")[shared:]])
    return printed


def shown(explanation: ExplanationLike, method: Method) -> Tensor:
    """Maps ``(N, H, W)`` for :func:`overlay`: as they are, or symmetric around zero for signed methods.

    Where single pixels stand out, as in gradients of pixels, they are cut, or nothing else would be seen.
    """
    if not method.signed:
        return unsigned_display(explanation.map, method.clip_fraction)
    size = tuple(explanation.map.shape[-2:])
    raw = torch.nn.functional.interpolate(explanation.raw[:, None].float(), size, mode="bilinear")[:, 0]
    return signed_display(raw, method.clip_fraction)


def samples_of(
    pixels: Tensor,
    explanations: Mapping[str, ExplanationLike],
    methods: Sequence[Method],
    names: Sequence[str],
    class_names: Sequence[str] | None = None,
    labels: Tensor | None = None,
    masks: Tensor | None = None,
    has_mask: Tensor | None = None,
    inside: Mapping[str, Tensor] | None = None,
    prediction: PredictionLike | None = None,
    printed: Mapping[str, str] | None = None,
) -> list[Sample]:
    """Describe a batch of explained images.

    Args:
        pixels: RGB ``(N, 3, H, W)`` in [0, 1].
        explanations: By method name; a method that failed or does not fit is missing.
        methods: In the order of columns.
        names: Name of each sample.
        class_names: Names in the order of class indices; None writes ``class 3``.
        labels: True classes ``(N,)``, or multi-hot ``(N, C)``.
        masks: Ground truth ``(N, H, W)``.
        has_mask: Which samples have ground truth, ``(N,)``.
        inside: Share ``(N,)`` of each method's energy inside the ground truth.
        prediction: What the network predicted; needed only where there may be no explanation to take it from.
        printed: What a person reads for each method; by default what tells those apart that are explained.
    """
    columns = [m for m in methods if m.name in explanations]
    printed = printed or printed_names(columns)
    prediction = prediction or explanations[columns[0].name]
    facts = {"target": prediction.target, "predicted": prediction.predicted, "probability": prediction.probability}
    facts |= {"label": labels} if labels is not None else {}
    facts |= {"has_mask": has_mask} if masks is not None else {}
    facts |= {("inside", m.name): inside[m.name] for m in columns if masks is not None and inside}
    facts |= {("degenerate", m.name): explanations[m.name].degenerate for m in columns}
    numbers = dict(zip(facts, (values.tolist() for values in to_host([*facts.values()]))))
    overlays = {m.name: as_uint8(overlay(pixels, shown(explanations[m.name], m), m.signed)) for m in columns}

    def word(index: int) -> str:
        return str(class_names[index]) if class_names is not None and index < len(class_names) else f"class {index}"

    def true(i: int) -> dict[str, Any]:
        # Negative ones stand for no label.
        if labels is None or (labels.ndim == 1 and numbers["label"][i] < 0):
            return {}
        if labels.ndim == 1:
            return {"label": word(numbers["label"][i])}
        # Of the classes that are there, that which is explained comes first.
        explained = numbers["target"][i]
        there = [c for c, value in enumerate(numbers["label"][i]) if value >= 0.5]
        words = [word(c) for c in sorted(there, key=lambda c: c != explained)]
        # Of several at once, each is seen or not.
        right = (numbers["probability"][i] >= 0.5) == (explained in there)
        return {"label": ", ".join(words) or "none of the classes", "right": right}

    samples = []
    for i, name in enumerate(names):
        annotated = masks is not None and bool(numbers["has_mask"][i])
        shares = {m.name: numbers["inside", m.name][i] for m in columns} if annotated and inside else {}
        remarks = {m.name: note_of(getattr(explanations[m.name], "details", {}), i) for m in columns}
        notes = {name: _note(numbers["degenerate", name][i], shares.get(name), text) for name, text in remarks.items()}
        samples.append(
            Sample(
                name=name,
                pixels=pixels[i],
                predicted=word(numbers["predicted"][i]),
                explained=word(numbers["target"][i]),
                probability=numbers["probability"][i],
                overlays={printed[m.name]: overlays[m.name][i] for m in columns},
                notes={printed[m.name]: notes[m.name] for m in columns},
                mask=masks[i] if annotated else None,
                inside={printed[key]: value for key, value in shares.items()},
                **true(i),
            )
        )
    return samples


def _note(degenerate: bool, share: float | None, remark: str) -> str:
    """What is said below one map: that it is empty, or how much of it lies inside the truth and the method's remark."""
    if degenerate:
        return "no evidence"
    inside = "" if share is None or share != share else f"{share:.0%} inside"
    return ", ".join(part for part in (inside, remark) if part)


def note_of(details: Mapping[str, object], number: int) -> str:
    """A method's remark on one image: ``note`` is one for all, or a list of one for each."""
    note = details.get("note") or ""
    return str(note[number] if isinstance(note, list) else note)
