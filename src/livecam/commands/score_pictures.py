"""A few of the scored images with their maps, for people."""

import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from livecam.batch import read_batch
from livecam.commands.score_question import Question, Scored
from livecam.explain import Explanation, explain
from livecam.metrics import localization_score, object_mask
from livecam.progress import quietly
from livecam.report.maps_page import Entry
from livecam.report.side_by_side import side_by_side
from livecam.report.strips import Sample, samples_of


def pictures(folder: Path, asked: Question, answers: Sequence[Scored], count: int = 6) -> list[Entry]:
    """Explain a few images again and draw them: a strip for one network, a grid for several.

    Args:
        folder: Where the page is; pictures go to ``pictures/``.
        asked: The methods.
        answers: Of networks that saw the same images.
        count: How many images, spread over those that were scored.
    """
    indices = answers[0].indices
    shown = [indices[place * len(indices) // count] for place in range(min(count, len(indices)))]
    columns = [_samples(asked, answer, dict.fromkeys(shown)) for answer in answers]
    (folder / "pictures").mkdir(exist_ok=True)
    entries = []
    for index in (index for index in dict.fromkeys(shown) if all(index in column for column in columns)):
        drawn = [column[index] for column in columns]
        if len(answers) == 1:
            picture, caption = drawn[0].strip(with_truth=True, with_caption=True), drawn[0].caption
        else:
            seen = {answer.network.label: sample for answer, sample in zip(answers, drawn)}
            photo = Image.fromarray((drawn[0].pixels.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
            picture = side_by_side(photo, seen, list(asked.printed.values()))
            caption = " · ".join(f"{label}: {', '.join(sample.answers)}" for label, sample in seen.items())
        Image.fromarray(picture).save(folder / "pictures" / f"{index}.png")
        entries.append(Entry(f"pictures/{index}.png", picture.shape[1], picture.shape[0], caption, drawn[0].name))
    return entries


def _samples(asked: Question, answer: Scored, indices: Sequence[int]) -> dict[int, Sample]:
    """What one network makes of some samples, by index; those that cannot be read are missing."""
    read = [(index, sample) for index in indices if (sample := answer.dataset[index]) is not None]
    batch = read_batch(default_collate([sample for _, sample in read]))
    network, device = answer.network, next(answer.network.model.parameters()).device
    images = batch.image.to(device)
    known = {explainer.name for explainer in asked.explainers if answer.scores.of(explainer.name)}
    methods = [explainer for explainer in asked.explainers if explainer.name in known]
    targets = batch.label.to(device) if asked.target == "label" else None
    settings = {"head": network.head, "normalisation": network.normalisation}
    with quietly(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = explain(network.model, images, methods, targets, **settings)
    truth = {}
    if batch.mask is not None:
        masks = object_mask(batch.mask).to(device)
        inside = {name: localization_score(explanation.energy, masks) for name, explanation in found.items()}
        truth = {"masks": masks.cpu(), "has_mask": batch.has_mask, "inside": inside}
    samples = samples_of(
        network.normalisation.to_pixels(images).clamp(0, 1).cpu(),
        {name: _on_cpu(explanation) for name, explanation in found.items()},
        methods,
        [_name(answer, index) for index, _ in read],
        network.class_names,
        labels=batch.label if batch.label.ndim == 1 else None,
        printed=asked.printed,
        **truth,
    )
    return {index: sample for (index, _), sample in zip(read, samples)}


def _on_cpu(explanation: Explanation) -> Explanation:
    moved = {
        f.name: value.cpu() for f in fields(explanation) if isinstance(value := getattr(explanation, f.name), Tensor)
    }
    return replace(explanation, **moved)


def _name(answer: Scored, index: int) -> str:
    photos = getattr(answer.dataset, "photos", None)
    return Path(photos[index].path).name if photos else f"image {index}"
