"""``explain.py reclassify``: what a trained network makes of photos of which only what maps mark is left."""

import csv
import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from livecam.commands.explained_photos import NetworkExplainer, check_fitting, check_maps
from livecam.commands.photo_selection import choose_predicted, classes_of
from livecam.commands.photos import Photo, PhotoOptions, find_photos, inputs_of, photo_batches
from livecam.core.errors import OptionError
from livecam.core.files import write_atomically
from livecam.core.validation import check_count
from livecam.evaluation.loaded_network import NetworkOptions, load_network
from livecam.explain import GradualExtrapolation, by_names
from livecam.explain.explanation import check_names
from livecam.metrics.reclassification import Reclassification, reclassification, top_classes
from livecam.metrics.summary import mean_figure
from livecam.report.drawing.panels import Panel, strip
from livecam.report.drawing.strips import printed_names
from livecam.report.html.maps_page import Entry, Picture, write_maps_page
from livecam.runtime.inference import predict_proba
from livecam.runtime.progress import listed, to_device

Maskings = Mapping[str, Reclassification]


@dataclass(frozen=True)
class Row:
    """What the network answered to one photo: as it is (method and way are empty), or masked by one method in one way.

    ``values`` are those of :class:`Reclassification`, by its ``value_names``; ``top`` are classes: word, probability,
    whether it is the target.
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


def write_csv(path: Path, rows: Sequence[Row], ways: Maskings) -> None:
    """Write a line per photo, method and way."""
    text = io.StringIO()
    lines = csv.writer(text)
    places = [f"{word}_{place}" for place in range(1, len(rows[0].top) + 1) for word in ("class", "probability")]
    head = ["photo", "target", "method", "mode", "threshold", "baseline", "degenerate", "probability"]
    lines.writerow([*head, *Reclassification.value_names[1:], *places])
    for row in rows:
        way = ways.get(row.way)
        level = way.threshold if way and way.mode == "threshold" else ""
        how = [row.method, way.mode, level, way.baseline] if way else ["original", "", "", ""]
        top = [cell for word, sure, _ in row.top for cell in (word, sure)]
        lines.writerow([row.path, row.target, *how, int(row.degenerate), *row.values.values(), *top])
    write_atomically(path, text.getvalue().encode("utf-8", "replace"))


def report(path: Path, rows: Sequence[Row], bases: dict[str, str], printed: dict[str, str], headline: str) -> None:
    """Print the tables of the photos as they are and of the shown way, and the summary; write all to a file."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.way, row.method), []).append(row)
    summary = _summary(groups, bases, printed)
    text, plain = io.StringIO(), {"highlight": False, "markup": False}
    terminal = Console(width=None if sys.stdout.isatty() else 100, **plain)
    file = Console(file=text, width=10_000, force_terminal=False, color_system=None, **plain)
    for table in (
        *(_top_table(rows, printed, *key) for key, rows in groups.items() if key[0] in ("", headline)),
        summary,
    ):
        terminal.print(table)
    for table in (summary, *(_top_table(map(_plain, rows), printed, *key) for key, rows in groups.items())):
        file.print(f"## {table.title}\n" + (f"\n{table.caption}.\n" if table.caption else ""))
        table.title = table.caption = table.columns[0].width = None
        table.box, table.show_edge = box.MARKDOWN, True
        file.print(table, "")
    write_atomically(path, text.getvalue().encode("utf-8", "replace"))


def _plain(row: Row) -> Row:
    """A row for Markdown, where names of classes must open neither cells nor tags."""
    top = [(re.sub(r"([\\`*|<>&\[\]])", r"\\\1", word), sure, hit) for word, sure, hit in row.top]
    return replace(row, top=top)


def _top_table(rows: Iterable[Row], printed: dict[str, str], way: str, method: str) -> Table:
    rows = list(rows)
    title = f"{printed[method]}: {way}" if way else "Photos as they are"
    table = Table("photo", *map(str, range(1, len(rows[0].top) + 1)), title=title, box=box.SIMPLE_HEAD, show_edge=False)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    # Leaves others 13 letters of 100, so that names of ImageNet's classes break between words.
    table.columns[0].width = min(23, max(len(row.stem) for row in rows))
    for row in rows:
        predictions = [Text(f"{word} {sure:.2f}", "bold" if hit else "") for word, sure, hit in row.top]
        table.add_row(Text(row.stem, overflow="fold"), *predictions)
    return table


def _summary(groups: dict[tuple[str, str], list[Row]], bases: dict[str, str], printed: dict[str, str]) -> Table:
    """Means over the photos, and what Gradual Extrapolation adds to its base's probability of the target."""
    rows_of = {key: [list(row.values.values()) for row in group] for key, group in groups.items()}
    values = {key: torch.tensor(rows, dtype=torch.float64).T for key, rows in rows_of.items()}
    count = len(groups["", ""])

    def sure(of: Tensor, form: str) -> str:
        mean = mean_figure(of)
        return f"{mean.value:{form}} [{mean.low:{form}}, {mean.high:{form}}]"

    table = Table("masked by", "probability", "top 1", "top 5", "rank", "GE - base", box=box.SIMPLE_HEAD)
    table.title = f"Probability of the target, {count} photo{'s' * (count > 1)}"
    table.caption = "Means over photos, in brackets 95 % bootstrap intervals"
    for column in table.columns[1:]:
        column.justify = "right"
    before = ""
    for (way, method), numbers in values.items():
        if way != before:
            table.add_row(Text(before := way, "bold"))
        probability, _, top1, top5, rank, _ = numbers
        base = values.get((way, bases.get(method, "")))
        gain = "" if base is None or not way else sure(probability - base[0], "+z.2f")
        means = sure(probability, ".2f"), f"{top1.mean():.2f}", f"{top5.mean():.2f}", f"{rank.mean():.1f}"
        table.add_row(f"  {printed[method]}" if way else "nothing", *means, gain)
    return table


@dataclass(kw_only=True)
class Reclassify(PhotoOptions, NetworkOptions):
    """Classify photos again of which only what their maps mark is left, as Szandala (2021) evaluates his method.

    Prints the five most probable classes of the photos as they are and behind each method's maps, and a summary of all
    ways to mask. Writes all tables to ``reclassify.md``, a line per photo, method and way to ``reclassify.csv``, masked
    photos to ``<photo>.png`` and ``index.html``. Printed and drawn is photo times map on black, else the first way.

    Args:
        methods: Names separated by commas, or presets (s1 for VGG-16). Those sharpened by Gradual Extrapolation are
            compared with their base where both are named.
        modes: multiply (photo times map), threshold (pixels whose map reaches a threshold), or both.
        thresholds: Those thresholds, in (0, 1], separated by commas.
        baselines: What takes the place of the rest, separated by commas: black, white, mean (the photo's mean color),
            blur, zero_normalized, image_min or image_max.
        target: Class to explain and to find again, by name or index; by default the one that is predicted.
        only: Leave out photos whose prediction is not among these classes: names, indices, or ranges such as 151-268.
        limit: At most so many photos, evenly from all given paths, of a folder some at random, the same every time.
    """

    methods: str = "gradcam,gradual_gradcam"
    modes: str = "multiply,threshold"
    thresholds: str = "0.3,0.5,0.7"
    baselines: str = "black,mean,blur"
    target: str | None = None
    only: str | None = None
    limit: int | None = None
    out: str = "reclassified"

    def run(self) -> None:
        """Print the tables, and write them, the pictures and the page to ``out``."""
        explainers = by_names(listed(self.methods))
        check_names(explainers)
        ways = _ways(listed(self.modes), listed(self.thresholds), listed(self.baselines))
        if not (explainers and ways):
            raise OptionError("Nothing to compare: name methods, modes and baselines, and thresholds for threshold.")
        check_count("batch_size", self.batch_size)
        photos, remarks = find_photos(self.paths), []
        network = load_network(self)
        index = network.class_index(self.target)
        classes = set(range(network.num_classes)) if self.only is None else classes_of(self.only, network)
        to_device(network.model, self.device)
        check_count("limit", len(photos) if self.limit is None else self.limit)
        if self.only is not None or self.limit is not None:
            photos, line = choose_predicted(self.paths, network, classes, self.limit, self.batch_size)
            remarks.append(line)
        headline = next(iter(ways))
        folder, printed = Path(self.out), printed_names(explainers)
        folder.mkdir(parents=True, exist_ok=True)
        rows, entries, explainer = [], [], NetworkExplainer(network, explainers)
        for read in photo_batches("reclassifying", photos, [network], self.batch_size):
            new, pictures = _look(explainer, read, index, ways)
            entries += _write_strips(folder, [row for row in new if row.way in ("", headline)], pictures, printed)
            rows += new
        flat = sum(row.degenerate and row.way == headline for row in rows)
        remarks.insert(0, f"{len(entries)} photo{'s' * (len(entries) > 1)} reclassified")
        remarks += [f"{flat} map{'s' * (flat > 1)} without contrast"] * (flat > 0)
        write_csv(folder / "reclassify.csv", rows, ways)
        bases = {one.name: one.base.name for one in explainers if isinstance(one, GradualExtrapolation)}
        report(folder / "reclassify.md", rows, bases, printed, headline)
        title = f"What {network.label} recognizes of what maps mark"
        write_maps_page(folder / "index.html", title, " · ".join([network.source, headline, *remarks]), entries)
        print(f"{', '.join(remarks)}: {folder / 'index.html'}")
        check_maps([explainer])


def _ways(modes: Sequence[str], thresholds: Sequence[str], baselines: Sequence[str]) -> Maskings:
    """All ways to mask, by their labels, the paper's first."""
    try:
        levels = {"multiply": [1.0], "threshold": [float(number) for number in thresholds]}
    except ValueError as error:
        raise OptionError(f"thresholds are numbers in (0, 1], such as 0.3,0.5, got {','.join(thresholds)}.") from error
    pairs = [(mode, level) for mode in modes for level in levels.get(mode, [1.0])]
    ways = [Reclassification(*pair, baseline) for pair in pairs for baseline in baselines]
    return {way.label: way for way in sorted(ways, key=lambda way: way.label != "multiply, black")}


def _look(
    explainer: NetworkExplainer, photos: Sequence[Photo], index: int | None, ways: Maskings
) -> tuple[list[Row], list[Tensor]]:
    """Rows of a batch: as it is, then, way after way, masked by each method; and the pixels of the first way."""
    network = explainer.network
    names = network.class_names or [f"class {number}" for number in range(network.num_classes)]
    images = inputs_of(photos, network)
    prediction, explanations = explainer.explain(images, index)
    check_fitting([explainer])
    targets = prediction.target
    clean = predict_proba(network.model, images, network.head)

    def rows(method: str, way: str, probabilities: Tensor, flat: Tensor) -> Iterator[Row]:
        values = reclassification(probabilities, clean, targets).T.tolist()
        places, sure = (part.tolist() for part in top_classes(probabilities))
        for i, (photo, target) in enumerate(zip(photos, targets.tolist())):
            top = [(names[place], share, place == target) for place, share in zip(places[i], sure[i])]
            named_values = dict(zip(Reclassification.value_names, values[i]))
            yield Row(
                photo.path, photo.stem, method, way, names[target], named_values, top=top, degenerate=bool(flat[i])
            )

    result, pictures = [*rows("", "", clean, torch.zeros(len(photos)))], [images]
    for label, way in ways.items():
        for method, explanation in explanations.items():
            masked = way.masked(images, explanation.map, network.normalization)
            pictures += [masked] if label == next(iter(ways)) else []
            result += rows(method, label, predict_proba(network.model, masked, network.head), explanation.degenerate)
    return result, [network.normalization.to_pixels(one).clamp(0, 1) for one in pictures]


def _write_strips(folder: Path, rows: list[Row], pictures: list[Tensor], printed: dict[str, str]) -> list[Entry]:
    """Write ``<photo>.png``: the photo and what each map leaves of it, the first answer below each."""
    entries, count, way = [], len(pictures[0]), rows[-1].way
    for i, first in enumerate(rows[:count]):
        panels = zip(["input", *printed.values()], pictures, rows[i::count])
        caption = f"{first.path.name} · target {first.target} {first.values['original']:.2f} · {way}"
        pixels = strip([Panel(title, pixels[i], row.note) for title, pixels, row in panels], caption)
        entries.append(Entry(Picture.write(folder, f"{first.stem}.png", pixels, caption), str(first.path)))
    return entries
