"""``explain.py reclassify``: what a trained network makes of photos of which only what maps mark is left."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from livecam.commands.choosing import choose_predicted, classes_of
from livecam.commands.photo_paths import find_photos, stems
from livecam.commands.photos import Photo, inputs_of, read_photos
from livecam.commands.reclassify_tables import Row, Ways, report, write_csv
from livecam.core.validation import check_count
from livecam.evaluation.loaded_network import Network, load_network
from livecam.explain import Explainer, GradualExtrapolation, by_names, explain
from livecam.explain.explanation import check_names
from livecam.metrics.asking import probabilities
from livecam.metrics.reclassification import Reclassification, reclassification, top_classes
from livecam.report.drawing.panels import Panel, strip
from livecam.report.drawing.strips import printed_names
from livecam.report.html.maps_page import Entry, write_maps_page
from livecam.report.pictures import write_png
from livecam.runtime.common import listed, progress, to_device


def reclassify(
    paths: list[str],
    checkpoint: str | None = None,
    model: str | None = None,
    weights: str | None = None,
    methods: str = "gradcam,gradual_gradcam",
    modes: str = "multiply,threshold",
    thresholds: str = "0.3,0.5,0.7",
    fills: str = "black,mean,blur",
    target: str | None = None,
    only: str | None = None,
    limit: int | None = None,
    out: str = "reclassified",
    batch_size: int = 8,
    num_classes: int = 1000,
    image_size: int = 224,
    resize: Literal["crop", "stretch"] = "crop",
    device: str | None = None,
) -> None:
    """Classify photos again of which only what their maps mark is left, as Szandala (2021) evaluates his method.

    Prints the five most probable classes of the photos as they are and behind each method's maps, and a summary of all
    ways to mask. Writes all tables to ``reclassify.md``, a line per photo, method and way to ``reclassify.csv``, masked
    photos to ``<photo>.png`` and ``index.html``. Printed and drawn is photo times map on black, else the first way.

    Args:
        paths: Photos, or folders of photos.
        checkpoint: Checkpoint of train.py.
        model: Network by name instead, such as torchvision/resnet50 or timm/convnext_tiny.
        weights: Weights of --model: pretrained, another published name, or a file.
        methods: Names separated by commas, or presets (s1 for VGG-16). Those sharpened by Gradual Extrapolation are
            compared with their base where both are named.
        modes: multiply (photo times map), threshold (pixels whose map reaches a threshold), or both.
        thresholds: Those thresholds, in (0, 1], separated by commas.
        fills: What takes the place of the rest, separated by commas: black, white, mean (the photo's mean colour),
            blur, zero_normalised, image_min or image_max.
        target: Class to explain and to find again, by name or index; by default the one that is predicted.
        only: Leave out photos whose prediction is not among these classes: names, indices, or ranges such as 151-268.
        limit: At most so many photos, evenly from all given paths, of a folder some at random, the same every time.
        out: Folder to write to.
        batch_size: Photos per pass.
        num_classes: Outputs of --model.
        image_size: Input size of --model.
        resize: How photos are brought to that size for --model: crop (centre) or stretch (whole photo).
        device: Where to compute; the accelerator by default, where there is one.
    """
    explainers = by_names(listed(methods))
    check_names(explainers)
    ways = _ways(listed(modes), listed(thresholds), listed(fills))
    if not (explainers and ways):
        raise ValueError("Nothing to compare: name methods, modes and fills, and thresholds for the mode threshold.")
    check_count("batch_size", batch_size)
    photos, told = find_photos(paths), []
    network = load_network(checkpoint, model, weights, num_classes, image_size, resize)
    index = network.class_index(target)
    wanted = set(range(network.num_classes)) if only is None else classes_of(only, network)
    to_device(network.model, device)
    check_count("limit", len(photos) if limit is None else limit)
    if only is not None or limit is not None:
        photos, line = choose_predicted(paths, network, wanted, limit, batch_size)
        told.append(line)
    shown = next(iter(ways))
    folder, printed = Path(out), printed_names(explainers)
    folder.mkdir(parents=True, exist_ok=True)
    rows, entries = [], []
    for chunk in progress("reclassifying", list(zip(photos, stems(photos))), batch_size):
        if read := read_photos(chunk, [network]):
            new, pictures = _look(network, read, explainers, index, ways)
            entries += _write_strips(folder, [row for row in new if row.way in ("", shown)], pictures, printed)
            rows += new
    if not rows:
        raise ValueError(f"None of the {len(photos)} photos could be read.")
    flat = sum(row.degenerate and row.way == shown for row in rows)
    told.insert(0, f"{len(entries)} photo{'s' * (len(entries) > 1)} reclassified")
    told += [f"{flat} map{'s' * (flat > 1)} without contrast"] * (flat > 0)
    write_csv(folder / "reclassify.csv", rows, ways)
    bases = {one.name: one.base.name for one in explainers if isinstance(one, GradualExtrapolation)}
    report(folder / "reclassify.md", rows, bases, printed, shown)
    title = f"What {network.label} recognises of what maps mark"
    write_maps_page(folder / "index.html", title, " · ".join([network.source, shown, *told]), entries)
    print(f"{', '.join(told)}: {folder / 'index.html'}")


def _ways(modes: Sequence[str], thresholds: Sequence[str], fills: Sequence[str]) -> Ways:
    """All ways to mask, by their labels, the paper's first."""
    try:
        levels = {"multiply": [1.0], "threshold": [float(number) for number in thresholds]}
    except ValueError as error:
        raise ValueError(f"thresholds are numbers in (0, 1], such as 0.3,0.5, got {','.join(thresholds)}.") from error
    pairs = [(mode, level) for mode in modes for level in levels.get(mode, [1.0])]
    ways = [Reclassification(*pair, fill) for pair in pairs for fill in fills]
    return {way.label: way for way in sorted(ways, key=lambda way: way.label != "multiply, black")}


def _look(
    network: Network, photos: Sequence[Photo], explainers: Sequence[Explainer], index: int | None, ways: Ways
) -> tuple[list[Row], list[Tensor]]:
    """Rows of a batch: as it is, then, way after way, masked by each method; and the pixels of the first way."""
    names = network.class_names or [f"class {number}" for number in range(network.num_classes)]
    images, known = inputs_of(photos, network), {"head": network.head, "normalisation": network.normalisation}
    found = explain(network.model, images, explainers, index, **known)
    targets = next(iter(found.values())).target
    clean = probabilities(network.model, images, network.head)

    def rows(method: str, way: str, answers: Tensor, flat: Tensor) -> Iterator[Row]:
        values = reclassification(answers, clean, targets).T.tolist()
        places, sure = (part.tolist() for part in top_classes(answers))
        for i, (photo, own) in enumerate(zip(photos, targets.tolist())):
            top = [(names[place], share, place == own) for place, share in zip(places[i], sure[i])]
            told = dict(zip(Reclassification.parts, values[i]))
            yield Row(photo.path, photo.stem, method, way, names[own], told, top, bool(flat[i]))

    result, left = [*rows("", "", clean, torch.zeros(len(photos)))], [images]
    for label, way in ways.items():
        for method, explanation in found.items():
            masked = way.masked(images, explanation.map, network.normalisation)
            left += [masked] if label == next(iter(ways)) else []
            result += rows(method, label, probabilities(network.model, masked, network.head), explanation.degenerate)
    return result, [network.normalisation.to_pixels(one).clamp(0, 1) for one in left]


def _write_strips(folder: Path, rows: list[Row], pictures: list[Tensor], printed: dict[str, str]) -> list[Entry]:
    """Write ``<photo>.png``: the photo and what each map leaves of it, the first answer below each."""
    entries, count, way = [], len(pictures[0]), rows[-1].way
    for i, first in enumerate(rows[:count]):
        told = zip(["input", *printed.values()], pictures, rows[i::count])
        caption = f"{first.path.name} · target {first.target} {first.values['original']:.2f} · {way}"
        picture = strip([Panel(title, pixels[i], row.note) for title, pixels, row in told], caption)
        write_png(folder / f"{first.stem}.png", picture)
        entries.append(Entry(f"{first.stem}.png", picture.shape[1], picture.shape[0], caption, str(first.path)))
    return entries
