"""``explain.py reclassify``: what a trained network makes of photos of which only what maps mark is left."""

import csv
import io
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from livecam.commands.common import listed, progress, to_device
from livecam.commands.network import Network, load_network
from livecam.commands.photos import find_photos, stems
from livecam.commands.reading import Photo, read_photos
from livecam.explain import Explainer, GradualExtrapolation, by_names, explain
from livecam.explain.explanation import check_names
from livecam.metrics.asking import probabilities
from livecam.metrics.bootstrap import interval, resamples
from livecam.metrics.reclassification import Reclassification, reclassification, top_classes
from livecam.options import check_count
from livecam.report.atomic import write_atomically
from livecam.report.maps_page import Entry, write_maps_page
from livecam.report.render import Panel, strip
from livecam.report.strips import printed_names

Ways = Mapping[str, Reclassification]


@dataclass(frozen=True)
class Row:
    """What the network answered to one photo: as it is (method and way are empty), or masked by one method in one way.

    ``values`` are parts of :class:`Reclassification`, ``top`` classes as word, probability, whether it is the target.
    """

    path: Path
    stem: str
    method: str
    way: str
    target: str
    values: dict[str, float]
    top: list[tuple[str, float, bool]]
    degenerate: bool

    @property
    def note(self) -> str:
        """The first answer, and what is left of the target where that is another class."""
        (word, sure, hit), *_ = self.top
        return f"{word} {sure:.2f}" + ("" if hit else f" · target {self.values['reclassification']:.2f}")


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
    wanted = set(range(network.num_classes)) if only is None else _classes(only, network)
    to_device(network.model, device)
    check_count("limit", len(photos) if limit is None else limit)
    if only is not None or limit is not None:
        photos, line = _choose(paths, network, wanted, limit, batch_size)
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
    _write_csv(folder / "reclassify.csv", rows, ways)
    bases = {one.name: one.base.name for one in explainers if isinstance(one, GradualExtrapolation)}
    _report(folder / "reclassify.md", rows, bases, printed, shown)
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


def _classes(only: str, network: Network) -> set[int]:
    """Indices of classes that are written as names, indices and ranges."""
    found: set[int] = set()
    for part in listed(only):
        ends = re.fullmatch(r"(\d+)-(\d+)", part)
        first, last = map(network.class_index, ends.groups() if ends else (part, part))
        found |= set(range(first, last + 1))
    return found


def _images(network: Network, photos: Sequence[Photo]) -> Tensor:
    return torch.stack([photo.inputs[0] for photo in photos]).to(next(network.model.parameters()).device)


def _choose(
    paths: Sequence[str], network: Network, wanted: set[int], limit: int | None, batch_size: int
) -> tuple[list[Path], str]:
    """Photos that are predicted as wanted classes, in their order, and a line for people; one forward of each photo."""
    answers: dict[Path, int] = {}
    for chunk in progress("choosing", [(photo, photo.stem) for photo in find_photos(paths)], batch_size):
        if read := read_photos(chunk, [network]):
            predicted = probabilities(network.model, _images(network, read), network.head).argmax(1).tolist()
            answers |= zip([photo.path for photo in read], predicted)
    fitting = [photo for photo, answer in answers.items() if answer in wanted]
    if not fitting:
        raise ValueError(f"None of {len(answers)} photos is predicted as one of the classes of --only.")
    # Drawn, because the first ones of a folder are often all of one kind; in turns, so that no path outweighs others.
    sources = [[photo for photo in find_photos([path]) if answers.get(photo) in wanted] for path in paths]
    turns = zip_longest(*(random.Random(0).sample(source, len(source)) for source in sources))
    kept = set(list(dict.fromkeys(photo for turn in turns for photo in turn if photo))[:limit])
    told = f"chosen among {len(fitting)}, {len(answers) - len(fitting)} predicted otherwise left out"
    return [photo for photo in fitting if photo in kept], told


def _look(
    network: Network, photos: Sequence[Photo], explainers: Sequence[Explainer], index: int | None, ways: Ways
) -> tuple[list[Row], list[Tensor]]:
    """Rows of a batch: as it is, then, way after way, masked by each method; and the pixels of the first way."""
    names = network.class_names or [f"class {number}" for number in range(network.num_classes)]
    images, known = _images(network, photos), {"head": network.head, "normalisation": network.normalisation}
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
        Image.fromarray(picture).save(folder / f"{first.stem}.png")
        entries.append(Entry(f"{first.stem}.png", picture.shape[1], picture.shape[0], caption, str(first.path)))
    return entries


def _write_csv(path: Path, rows: Sequence[Row], ways: Ways) -> None:
    text = io.StringIO()
    lines = csv.writer(text)
    places = [f"{word}_{place}" for place in range(1, len(rows[0].top) + 1) for word in ("class", "probability")]
    head = ["photo", "target", "method", "mode", "threshold", "fill", "degenerate", "probability"]
    lines.writerow([*head, *Reclassification.parts[1:], *places])
    for row in rows:
        way = ways.get(row.way)
        level = way.threshold if way and way.mode == "threshold" else ""
        how = [row.method, way.mode, level, way.fill] if way else ["original", "", "", ""]
        top = [cell for word, sure, _ in row.top for cell in (word, sure)]
        lines.writerow([row.path, row.target, *how, int(row.degenerate), *row.values.values(), *top])
    write_atomically(path, text.getvalue().encode("utf-8", "replace"))


def _report(path: Path, rows: Sequence[Row], bases: dict[str, str], printed: dict[str, str], shown: str) -> None:
    """Print the tables of the photos as they are and of the shown way, and the summary; write all to a file."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.way, row.method), []).append(row)
    summary = _summary(groups, bases, printed)
    text, plain = io.StringIO(), {"highlight": False, "markup": False}
    terminal = Console(width=None if sys.stdout.isatty() else 100, **plain)
    file = Console(file=text, width=10_000, force_terminal=False, color_system=None, **plain)
    tables = {key: _top_table(group, printed, *key) for key, group in groups.items()}
    for table in (*(table for (way, _), table in tables.items() if way in ("", shown)), summary):
        terminal.print(table)
    for table in (summary, *tables.values()):
        file.print(f"## {table.title}\n" + (f"\n{table.caption}.\n" if table.caption else ""))
        table.title = table.caption = table.columns[0].width = None
        table.box, table.show_edge = box.MARKDOWN, True
        file.print(table, "")
    write_atomically(path, text.getvalue().encode("utf-8", "replace"))


def _top_table(rows: list[Row], printed: dict[str, str], way: str, method: str) -> Table:
    title = f"{printed[method]}: {way}" if way else "Photos as they are"
    table = Table("photo", *map(str, range(1, len(rows[0].top) + 1)), title=title, box=box.SIMPLE_HEAD, show_edge=False)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    # Leaves others 13 letters of 100, so that names of ImageNet's classes break between words.
    table.columns[0].width = min(23, max(len(row.stem) for row in rows))
    for row in rows:
        answers = [Text(f"{word} {sure:.2f}", "bold" if hit else "") for word, sure, hit in row.top]
        table.add_row(Text(row.stem, overflow="fold"), *answers)
    return table


def _summary(groups: dict[tuple[str, str], list[Row]], bases: dict[str, str], printed: dict[str, str]) -> Table:
    """Means over the photos, and what Gradual Extrapolation adds to its base's probability of the target."""
    told = {key: [list(row.values.values()) for row in group] for key, group in groups.items()}
    values = {key: torch.tensor(rows, dtype=torch.float64).T for key, rows in told.items()}
    counts = resamples(count := len(groups["", ""])).double()

    def sure(of: Tensor, form: str) -> str:
        return "{0:{3}} [{1:{3}}, {2:{3}}]".format(of.mean(), *interval(counts @ of / count), form)

    table = Table("masked by", "probability", "top 1", "top 5", "rank", "GE - base", box=box.SIMPLE_HEAD)
    table.title = f"Probability of the target, {count} photo{'s' * (count > 1)}"
    table.caption = "Means over photos, in brackets 95 % bootstrap intervals"
    for column in table.columns[1:]:
        column.justify = "right"
    before = ""
    for (way, method), found in values.items():
        if way != before:
            table.add_row(Text(before := way, "bold"))
        probability, _, kept, top5, rank, _ = found
        base = values.get((way, bases.get(method, "")))
        gain = "" if base is None or not way else sure(probability - base[0], "+z.2f")
        means = sure(probability, ".2f"), f"{kept.mean():.2f}", f"{top5.mean():.2f}", f"{rank.mean():.1f}"
        table.add_row(f"  {printed[method]}" if way else "nothing", *means, gain)
    return table
