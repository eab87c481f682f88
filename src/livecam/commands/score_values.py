"""From rows of scores back to per-image values, and on to what tables and pages show."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from livecam.commands.score_rows import Row
from livecam.commands.score_run import columns_of
from livecam.metrics import ImageMetric
from livecam.metrics.bootstrap import interval, resamples
from livecam.metrics.summary import Figure, ImageValues, summarise
from livecam.scoring import reads


@dataclass
class Line:
    """What one metric says of one method.

    Args:
        method: Name of the method.
        figures: By name, headline first; empty where no image could be scored.
        n: Images behind the headline.
        undefined: Images for which it is not defined.
        degenerate: Maps without contrast among all.
    """

    method: str
    figures: dict[str, Figure]
    n: int
    undefined: int
    degenerate: int

    def as_dict(self) -> dict[str, Any]:
        """For ``summary.json``; null where a figure is undefined, because JSON has no NaN."""
        figures = {
            name: {key: value if value == value else None for key, value in vars(figure).items()}
            for name, figure in self.figures.items()
        }
        return {"n": self.n, "undefined": self.undefined, "degenerate": self.degenerate, "figures": figures}


@dataclass
class NetworkScores:
    """All scores of one network.

    Args:
        label: What people call the network.
        rows: One per image and method.
        methods: Names of the methods, in order.
        metrics: What was measured.
    """

    label: str
    rows: Sequence[Row]
    methods: Sequence[str]
    metrics: Sequence[ImageMetric]
    _lines: dict[tuple[str, str], Line] = field(default_factory=dict, repr=False)

    def of(self, method: str) -> list[Row]:
        """Rows of one method, in the order of images."""
        return [row for row in self.rows if row["method"] == method]

    def values(self, metric: ImageMetric, method: str, images: frozenset[str] | None = None) -> ImageValues:
        """Per-image values of those images that the metric applies to.

        Args:
            metric: One of the metrics.
            method: One of the methods.
            images: Indices of the images to take; None takes all.
        """
        columns = columns_of(metric)
        rows = [row for row in self.of(method) if row[columns[0]] != "" and (images is None or row["index"] in images)]
        table = torch.tensor([[float(row[column]) for column in columns] for row in rows], dtype=torch.float64)
        categories = torch.tensor([int(row["target"]) for row in rows]) if "categories" in reads(metric) else None
        return ImageValues(metric, table.reshape(len(rows), len(columns)).T, categories)

    def defined(self, metric: ImageMetric, method: str) -> frozenset[str]:
        """Indices of the images that have a headline."""
        return frozenset(row["index"] for row in self.of(method) if row[metric.name] not in ("", "nan"))

    def line(self, metric: ImageMetric, method: str) -> Line:
        """Figures, intervals and counts."""
        key = metric.name, method
        if key not in self._lines:
            values = self.values(metric, method)
            undefined = int((~values.values[0].isfinite()).sum())
            flat = sum(int(row["degenerate"]) for row in self.of(method) if row[metric.name] != "")
            n = values.values.shape[1] - undefined
            self._lines[key] = Line(method, summarise(values), n, undefined, flat)
        return self._lines[key]

    def ranked(self, metric: ImageMetric) -> list[Line]:
        """Lines of all methods that were scored, the best first."""
        lines = [line for method in self.methods if (line := self.line(metric, method)).figures]
        sign = -1 if metric.higher_is_better else 1

        def place(line: Line) -> float:
            value = line.figures[metric.parts[0]].value
            return sign * value if value == value else float("inf")

        return sorted(lines, key=place)

    @property
    def hits(self) -> dict[str, bool]:
        """Whether each labelled image is answered right, by index."""
        return {row["index"]: row["label"] == row["predicted"] for row in self.rows if row["label"] != ""}

    @property
    def accuracy(self) -> Figure | None:
        """Share of right answers among the scored images; None where no label is known."""
        hits = torch.tensor(list(self.hits.values()), dtype=torch.float64)
        return mean_of(hits) if len(hits) else None


def mean_of(values: Tensor) -> Figure:
    """Mean of values ``(N,)`` with its bootstrap interval."""
    low, high = interval(resamples(len(values)).double() @ values.double() / len(values)).tolist()
    return Figure(float(values.double().mean()), low, high)
