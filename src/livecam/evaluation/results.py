"""From rows of scores back to per-image values, and on to what tables and pages show."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from livecam.evaluation.score_store import Row
from livecam.evaluation.scoring_module import columns_of
from livecam.metrics import ImageMetric
from livecam.metrics.image_metric import totals
from livecam.metrics.summary import Figure, ImageValues, differences, mean_figure, summarize

# More than any network tells apart.
_CATEGORIES = 2**20


@dataclass
class MethodSummary:
    """What one metric says of one method.

    Args:
        method: Name of the method.
        figures: By name, headline first; empty where no image could be scored.
        n: Images, or pairs of image and category, behind the headline.
        undefined: Images for which it is not defined.
        degenerate: Maps without contrast among all.
        counts: Images behind each part of the metric; those behind a further part may be fewer than n.
    """

    method: str
    figures: dict[str, Figure]
    n: int
    undefined: int
    degenerate: int
    counts: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For ``summary.json``; null where a figure is undefined, because JSON has no NaN."""
        figures = {
            name: {key: value if value == value else None for key, value in vars(figure).items()}
            for name, figure in self.figures.items()
        }
        fewer = {part: count for part, count in self.counts.items() if count != self.n}
        counts = {"n": self.n, "undefined": self.undefined, "degenerate": self.degenerate}
        return counts | {"n_of_parts": fewer, "figures": figures}


@dataclass
class MethodScores:
    """One method's scores of N images, as columns: a data set of millions of scores fits into memory.

    Of multi-label images there is one for each category that was explained.

    Args:
        index: Index of each image.
        target: Explained class.
        label: True class, -1 where unknown.
        predicted: Most probable class.
        degenerate: Whether the map is without contrast.
        cells: Values by column; NaN where undefined, or where the metric does not apply.
        applies: Whether a metric applies to the image, by its headline's column.
    """

    index: Tensor
    target: Tensor
    label: Tensor
    predicted: Tensor
    degenerate: Tensor
    cells: dict[str, Tensor]
    applies: dict[str, Tensor]

    @property
    def unit(self) -> Tensor:
        """A number for each image, or pair of image and category, that is the same for all methods and networks."""
        return self.index * _CATEGORIES + self.label + 1


class NetworkScores:
    """All scores of one network.

    Args:
        label: What people call the network.
        rows: One per image and method, of each method in the order of images; may be a stream.
        methods: Names of the methods, in order.
        metrics: What was measured.
    """

    def __init__(self, label: str, rows: Iterable[Row], methods: Sequence[str], metrics: Sequence[ImageMetric]) -> None:
        self.label, self.methods, self.metrics = label, list(methods), list(metrics)
        self._seen: set[int] = set()
        self.attempted: Counter[str] = Counter()
        """How many images, or pairs, each method was given."""
        self.failed: Counter[str] = Counter()
        """For how many of them it has no map, or one of NaN or infinity."""
        self.unsure = 0
        """How many images, or pairs of image and category, the network was not sure enough of."""
        self._of = _columns(self._known(rows), self.methods, self.metrics)
        self._lines: dict[tuple[str, str], MethodSummary] = {}
        # All methods explain the same images, unless one fails on some: those of most images know them all.
        self._most = max(self._of.values(), key=lambda scores: len(scores.index))

    @property
    def images(self) -> int:
        """How many images were looked at."""
        return len(self._seen)

    @property
    def explained(self) -> int:
        """How many images, or pairs of image and category, were explained."""
        return len(self._most.index)

    @property
    def is_multilabel(self) -> bool:
        """Whether images have several labels."""
        return bool((self._most.predicted < 0).any())

    @property
    def categories(self) -> int:
        """How many classes were explained, of any image."""
        return len(self._most.target.unique())

    def _known(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Those rows that hold scores."""
        for row in rows:
            self._seen.add(int(row["index"]))
            self.attempted[row["method"]] += 1
            self.failed[row["method"]] += row["failed"] == "1"
            if not row["method"]:
                self.unsure += row["probability"] != ""
            elif row["failed"] != "1":
                yield row

    def knows(self, method: str) -> bool:
        """Whether a method was scored on any image."""
        return bool(len(self._of[method].index))

    def values(self, metric: ImageMetric, method: str, images: Tensor | None = None) -> ImageValues:
        """Per-image values of those images that the metric applies to.

        Args:
            metric: One of the metrics.
            method: One of the methods.
            images: Which of them, as :meth:`defined` names them; None takes all.
        """
        scores = self._of[method]
        rows = scores.applies[metric.name]
        if images is not None:
            rows = rows & torch.isin(scores.unit, images)
        table = torch.stack([scores.cells[column][rows] for column in columns_of(metric)])
        categories = scores.target[rows] if "categories" in metric.inputs else None
        return ImageValues(metric, table, categories, scores.index[rows])

    def defined(self, metric: ImageMetric, method: str) -> Tensor:
        """Which images, or pairs of image and category, have a headline."""
        scores = self._of[method]
        return scores.unit[scores.cells[metric.name].isfinite()]

    def line(self, metric: ImageMetric, method: str) -> MethodSummary:
        """Figures, intervals and counts."""
        key = metric.name, method
        if key not in self._lines:
            values, scores = self.values(metric, method), self._of[method]
            undefined = int((~values.values[0].isfinite()).sum())
            flat = int(scores.degenerate[scores.applies[metric.name]].sum())
            n = values.values.shape[1] - undefined
            behind = dict(zip(metric.value_names, totals(values.values)[1].sum(1).tolist()))
            self._lines[key] = MethodSummary(method, summarize(values), n, undefined, flat, behind)
        return self._lines[key]

    def apart(
        self, metric: ImageMetric, method: str, other: str, network: "NetworkScores | None" = None
    ) -> tuple[int, dict[str, Figure]]:
        """Every figure of a method minus that of another, and the number of images that both have a headline for.

        Args:
            metric: One of the metrics.
            method: One of the methods.
            other: Another one, or the same of another network.
            network: That of ``other``; None means this one.
        """
        network, images = network or self, self.defined(metric, method)
        both = images[torch.isin(images, network.defined(metric, other))]
        return len(both), differences(self.values(metric, method, both), network.values(metric, other, both))

    def beyond(self, metric: ImageMetric, method: str, control: str) -> Figure | None:
        """Headline minus that of a control, over the images for which both are defined; None where there are none."""
        return self.apart(metric, method, control)[1].get(metric.value_names[0])

    def ranked(self, metric: ImageMetric) -> list[MethodSummary]:
        """Lines of all methods that were scored, the best first."""
        lines = [line for method in self.methods if (line := self.line(metric, method)).figures]
        sign = -1 if metric.higher_is_better else 1

        def place(line: MethodSummary) -> float:
            value = line.figures[metric.value_names[0]].value
            return sign * value if value == value else float("inf")

        return sorted(lines, key=place)

    def as_dict(self) -> dict[str, Any]:
        """Accuracy and every figure, by metric and method, for JSON."""
        metrics = {m.name: {line.method: line.as_dict() for line in self.ranked(m)} for m in self.metrics}
        return {"accuracy": vars(self.accuracy) if self.accuracy else None, "metrics": metrics}

    @property
    def hits(self) -> tuple[Tensor, Tensor]:
        """The labeled images, as :meth:`defined` names them, and whether each is answered right, as 0 and 1.

        There are none where labels name several classes: which of them is most probable says nothing.
        """
        most = self._most
        labeled = (most.label >= 0) & (most.predicted >= 0)
        return most.unit[labeled], (most.label == most.predicted)[labeled].double()

    @property
    def accuracy(self) -> Figure | None:
        """Share of right answers among the scored images; None where no label is known."""
        _, hits = self.hits
        return mean_figure(hits) if len(hits) else None


def _columns(rows: Iterable[Row], methods: Sequence[str], metrics: Sequence[ImageMetric]) -> dict[str, MethodScores]:
    facts = ("index", "target", "label", "predicted", "degenerate")
    columns = [column for metric in metrics for column in columns_of(metric)]
    numbers = {method: {fact: array("q") for fact in facts} for method in methods}
    cells = {method: {column: array("d") for column in columns} for method in methods}
    applies = {method: {metric.name: array("b") for metric in metrics} for method in methods}
    for row in rows:
        method = row["method"]
        for fact in facts:
            numbers[method][fact].append(int(row[fact] or -1))
        for column in columns:
            cells[method][column].append(float(row[column] or "nan"))
        for metric in metrics:
            applies[method][metric.name].append(row[metric.name] != "")
    return {
        method: MethodScores(
            **{fact: torch.tensor(numbers[method][fact], dtype=torch.long) for fact in facts[:-1]},
            degenerate=torch.tensor(numbers[method]["degenerate"], dtype=torch.bool),
            cells={column: torch.tensor(cells[method][column], dtype=torch.float64) for column in columns},
            applies={metric.name: torch.tensor(applies[method][metric.name], dtype=torch.bool) for metric in metrics},
        )
        for method in methods
    }
