"""Paired differences between networks, over images or over runs of each kind."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import torch

from livecam.commands.score_question import Question, Scored
from livecam.commands.score_values import mean_of
from livecam.metrics import ImageMetric
from livecam.metrics.summary import Figure, differences
from livecam.report.score_tables import Cell, Measured, ScoreTable

_EQUAL = 0.01
"""Accuracies that differ by less count as equal."""


@dataclass
class Study:
    """Which networks are compared with which.

    Args:
        pairs: Name of a comparison, and the networks of which the second is taken from the first.
        runs: Whether the pairs of one name are runs of two kinds.
    """

    pairs: dict[str, list[tuple[Scored, Scored]]]
    runs: bool


def study_of(answers: Sequence[Scored]) -> Study:
    """The first network, or kind of networks, minus each of the others.

    Networks are runs where there are at least two kinds, each with equally many networks, and those are several.
    """
    kinds: dict[str, list[Scored]] = {}
    for answer in answers:
        kinds.setdefault(answer.network.kind, []).append(answer)
    counts = {len(members) for members in kinds.values()}
    if len(kinds) > 1 and len(counts) == 1 and counts != {1}:
        (first, ours), *others = kinds.items()
        return Study({f"{first} minus {kind}": list(zip(ours, theirs)) for kind, theirs in others}, True)
    first, *others = answers
    return Study({f"{first.network.label} minus {other.network.label}": [(first, other)] for other in others}, False)


def difference_table(asked: Question, study: Study, metric: ImageMetric) -> list[ScoreTable]:
    """Differences of the headline by one metric; no table where no method was scored under two networks."""
    headline = metric.parts[0]
    rows: list[list[Cell]] = []
    confounded = False
    for name, pairs in study.pairs.items():
        for explainer in asked.explainers:
            found = [(one, other, _difference(one, other, metric, explainer.name)) for one, other in pairs]
            known = [(one, other, figures) for one, other, figures in found if figures]
            if not known or explainer.name in ("centred_gaussian", "uniform"):
                continue
            told = asked.printed[explainer.name]
            for one, other, figures in known:
                what = f"{one.network.label} minus {other.network.label}" if study.runs else name
                accuracy = _accuracy(one, other)
                rows.append([told, what, *_cells(figures[headline], accuracy)])
                confounded |= rows[-1][-1] != ""
            if study.runs and len(known) > 1:
                over = over_runs([figures[headline].value for *_, figures in known])
                shares = [found for one, other, _ in known if (found := _accuracy(one, other))]
                accuracy = over_runs([share.value for share in shares]) if len(shares) > 1 else None
                rows.append([told, f"mean of {len(known)} runs: {name}", *_cells(over, accuracy)])
                confounded |= rows[-1][-1] != ""
    if not rows:
        return []
    notes = ["Pairs: 95 % bootstrap interval over the images that both networks have a score for."]
    if study.runs:
        notes.append("Means: 95 % interval over runs (Student's t); the i-th run of one kind is paired with the i-th.")
    if confounded:
        notes.append(f"Confounded: accuracies differ by {100 * _EQUAL:.0f} point or more, which alone may change maps.")
    words = metric.name.replace("_", " ")
    columns = ["method", "networks", f"difference in {words} [95 %]", "in accuracy", ""]
    return [ScoreTable(f"{words}: paired differences", columns, rows, 2, [None] * len(rows), 2, set(), notes)]


def _cells(difference: Figure, accuracy: Figure | None) -> list[Cell]:
    share = Measured(**vars(accuracy), signed=True) if accuracy else "-"
    told = "confounded" if accuracy and abs(accuracy.value) >= _EQUAL - 1e-9 else ""
    return [Measured(**vars(difference), signed=True), share, told]


def _difference(one: Scored, other: Scored, metric: ImageMetric, method: str) -> dict[str, Figure]:
    """Every figure of ``one`` minus that of ``other``, over the images for which both have a defined headline."""
    images = [answer.scores.defined(metric, method) for answer in (one, other)]
    both = images[0] & images[1]
    return differences(*(answer.scores.values(metric, method, both) for answer in (one, other)))


def _accuracy(one: Scored, other: Scored) -> Figure | None:
    ours, theirs = one.scores.hits, other.scores.hits
    both = [index for index in ours if index in theirs]
    if not both:
        return None
    return mean_of(torch.tensor([float(ours[index]) - float(theirs[index]) for index in both]))


def over_runs(values: Sequence[float]) -> Figure:
    """Mean of at least two runs with its 95 % interval by Student's t."""
    from scipy.stats import t

    middle, error = mean(values), stdev(values) / math.sqrt(len(values))
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    return Figure(middle, middle - reach, middle + reach)
