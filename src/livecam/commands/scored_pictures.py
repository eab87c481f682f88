"""A few of the scored images with their maps, for people."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from livecam.evaluation.datasets import read_samples
from livecam.evaluation.kept_maps import kept_maps
from livecam.evaluation.study import SHOWN, NetworkResult, ScoringConfig
from livecam.metrics import localization_score, object_mask
from livecam.report.drawing.comparison_grid import one_or_several
from livecam.report.drawing.panels import to_uint8
from livecam.report.drawing.strips import Sample, samples_of
from livecam.report.html.maps_page import Entry, Picture


def pictures(folder: Path, config: ScoringConfig, results: Sequence[NetworkResult]) -> list[Entry]:
    """Draw some of the images: a strip for one network, a grid for several.

    Args:
        folder: Where the page is; pictures go to ``pictures/``.
        config: The methods; controls are left out where several networks would show the same.
        results: Of networks that saw the same images.
    """
    one = len(results) == 1
    columns = [_samples(config, result, with_controls=one) for result in results]
    rows = [config.printed[method.name] for method in config.candidates]
    entries = []
    for index in [index for index in columns[0] if all(index in column for column in columns)][:SHOWN]:
        samples = {result.network.label: column[index] for result, column in zip(results, columns)}
        photo = Image.fromarray(to_uint8(columns[0][index].pixels))
        picture = Picture.write(folder, f"pictures/{index}.png", *one_or_several(photo, samples, rows, with_truth=True))
        entries.append(Entry(picture, columns[0][index].name))
    return entries


def _samples(config: ScoringConfig, result: NetworkResult, with_controls: bool) -> dict[int, Sample]:
    """What one network made of the images, by index; those that cannot be read are missing."""
    indices, batch = read_samples(result.dataset, result.shown)
    methods = config.explainers if with_controls else config.candidates
    photos = getattr(result.dataset, "photos", None)
    network, samples = result.network, {}
    for place, index in enumerate(indices):
        explanations = kept_maps(result.folder, index)
        if not any(method.name in explanations for method in methods):
            continue
        image_batch = batch.select(torch.tensor([place])).with_masks_for(next(iter(explanations.values())).target)
        truth = {}
        if image_batch.mask is not None:
            masks = object_mask(image_batch.mask)
            inside = {name: localization_score(maps.energy, masks) for name, maps in explanations.items()}
            truth = {"masks": masks, "has_mask": image_batch.has_mask, "inside": inside}
        (samples[index],) = samples_of(
            network.normalization.to_pixels(image_batch.image).clamp(0, 1),
            explanations,
            methods,
            [Path(photos[index].path).name if photos else f"image {index}"],
            network.class_names,
            labels=image_batch.labels,
            printed=config.printed,
            **truth,
        )
    return samples
