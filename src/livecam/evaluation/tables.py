"""Paired differences between networks, over images or over runs of each kind."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import torch

from livecam.evaluation.study import Question, Scored
from livecam.explain.methods.controls import BASELINES
from livecam.metrics import ImageMetric
from livecam.metrics.summary import Figure, differences, mean_figure
from livecam.report.tables import Cell, Measured, ScoreTable

# Accuracies that differ by less count as equal.
_EQUAL = 0.01
_CONFOUNDED = "confounded"


@dataclass
class Study:
    """Which networks are compared with which.

    Args:
        kinds: Networks of each kind, in the order given.
        runs: Whether those of one kind are runs of it: then the i-th of one kind is paired with the i-th of another.
    """

    kinds: dict[str, list[Scored]]
    runs: bool

    def comparisons(self) -> list[tuple[str, list[tuple[Scored, Scored]]]]:
        """The first kind, or network, minus each of the others: what that is called, and the pairs."""
        if self.runs:
            (first, ours), *others = self.kinds.items()
            return [(f"{first} minus {kind}", list(zip(ours, theirs))) for kind, theirs in others]
        first, *others = [answer for members in self.kinds.values() for answer in members]
        return [(f"{first.network.label} minus {other.network.label}", [(first, other)]) for other in others]


def study_of(answers: Sequence[Scored]) -> Study:
    """Networks are runs where there are at least two kinds, each with equally many networks, and those are several."""
    kinds: dict[str, list[Scored]] = {}
    for answer in answers:
        kinds.setdefault(answer.network.kind, []).append(answer)
    counts = {len(members) for members in kinds.values()}
    return Study(kinds, len(kinds) > 1 and len(counts) == 1 and counts != {1})


def difference_table(asked: Question, study: Study, metric: ImageMetric) -> list[ScoreTable]:
    """Differences of the headline by one metric; no table where no method was scored under two networks."""
    headline = metric.parts[0]
    means: list[list[Cell]] = []
    pairs: list[list[Cell]] = []
    for name, members in study.comparisons():
        for explainer in asked.explainers:
            if isinstance(explainer, BASELINES):
                continue
            told = asked.printed[explainer.name]
            found, accuracies = [], []
            for one, other in members:
                figures = _difference(one, other, metric, explainer.name)
                if figures:
                    found.append(figures[headline])
                    accuracies.append(_accuracy(one, other))
                    marks = one.network.mark, other.network.mark
                    what = " minus ".join(marks) if study.runs and all(marks) else name
                    pairs.append([told, what, *_cells(found[-1], accuracies[-1])])
            if study.runs and found:
                known = [share for share in accuracies if share]
                means.append([told, name, *_cells(over_runs(found), over_runs(known) if known else None)])
                # Accuracies that differ in both directions cancel out; what they do to maps need not.
                if any(row[-1] for row in pairs[-len(found) :]):
                    means[-1][-1] = _CONFOUNDED
    rows = [*means, *pairs]
    if not rows:
        return []
    notes = ["Intervals of pairs are over the images that both networks have a score for (bootstrap)."]
    if study.runs:
        notes[0] += " The first rows are means over runs, with intervals over runs (Student's t)."
    if any(row[-1] for row in rows):
        notes.append(f"Confounded: accuracies differ by {100 * _EQUAL:.0f} point or more, which alone may change maps.")
    elif any(row[-2] != "-" for row in rows):
        notes.append(f"Accuracies that differ by less than {100 * _EQUAL:.0f} point count as equal.")
    words = metric.name.replace("_", " ")
    columns = ["method", "networks", f"difference in {words} [95 %]", "in accuracy", "remark"]
    return [ScoreTable(f"{words}: paired differences", columns, rows, 2, [None] * len(rows), 2, set(), notes)]


def _cells(difference: Figure, accuracy: Figure | None) -> list[Cell]:
    share = Measured(accuracy.value, signed=True) if accuracy else "-"
    told = _CONFOUNDED if accuracy and abs(accuracy.value) >= _EQUAL - 1e-9 else ""
    return [Measured(**vars(difference), signed=True), share, told]


def _difference(one: Scored, other: Scored, metric: ImageMetric, method: str) -> dict[str, Figure]:
    """Every figure of ``one`` minus that of ``other``, over the images for which both have a defined headline."""
    images = one.scores.defined(metric, method)
    both = images[torch.isin(images, other.scores.defined(metric, method))]
    return differences(*(answer.scores.values(metric, method, both) for answer in (one, other)))


def _accuracy(one: Scored, other: Scored) -> Figure | None:
    (images, ours), (others, theirs) = one.scores.hits, other.scores.hits
    both = images[torch.isin(images, others)]
    if not len(both):
        return None
    return mean_figure(ours[torch.isin(images, both)] - theirs[torch.isin(others, both)])


def over_runs(figures: Sequence[Figure]) -> Figure:
    """Mean over runs with its 95 % interval by Student's t; a single run keeps its own interval."""
    if len(figures) == 1:
        return figures[0]
    from scipy.stats import t

    values = [figure.value for figure in figures]
    reach = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return Figure(mean(values), mean(values) - reach, mean(values) + reach)
