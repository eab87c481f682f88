"""Tables of scores: rankings, differences from one method, differences between networks, over images or over runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import torch

from livecam.evaluation.results import NetworkScores
from livecam.evaluation.study import NetworkResult, ScoringConfig
from livecam.explain import AOP, Explainer
from livecam.explain.methods.controls import CONTROLS, CenteredGaussian
from livecam.metrics import ImageMetric
from livecam.metrics.summary import Figure, mean_figure
from livecam.report.html.scores_page import Curves
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

    kinds: dict[str, list[NetworkResult]]
    runs: bool

    def comparisons(self) -> list[tuple[str, list[tuple[NetworkResult, NetworkResult]]]]:
        """The first kind, or network, minus each of the others: what that is called, and the pairs."""
        if self.runs:
            (first, ours), *others = self.kinds.items()
            return [(f"{first} minus {kind}", list(zip(ours, theirs))) for kind, theirs in others]
        first, *others = [result for members in self.kinds.values() for result in members]
        return [(f"{first.network.label} minus {other.network.label}", [(first, other)]) for other in others]


def study_of(results: Sequence[NetworkResult]) -> Study:
    """Networks are runs where there are at least two kinds, each with equally many networks, and those are several."""
    kinds: dict[str, list[NetworkResult]] = {}
    for result in results:
        kinds.setdefault(result.network.kind, []).append(result)
    counts = {len(members) for members in kinds.values()}
    return Study(kinds, len(kinds) > 1 and len(counts) == 1 and counts != {1})


def difference_table(config: ScoringConfig, study: Study, metric: ImageMetric) -> list[ScoreTable]:
    """Differences of the headline by one metric; no table where no method was scored under two networks."""
    headline = metric.value_names[0]
    means: list[list[Cell]] = []
    pairs: list[list[Cell]] = []
    for name, members in study.comparisons():
        for explainer in config.candidates:
            label = config.printed[explainer.name]
            deltas, accuracies = [], []
            for one, other in members:
                _, figures = one.scores.apart(metric, explainer.name, explainer.name, other.scores)
                if figures:
                    deltas.append(figures[headline])
                    accuracies.append(_accuracy(one, other))
                    marks = one.network.mark, other.network.mark
                    what = " minus ".join(marks) if study.runs and all(marks) else name
                    pairs.append([label, what, *_cells(deltas[-1], accuracies[-1])])
            if study.runs and deltas:
                shares = [share for share in accuracies if share]
                means.append([label, name, *_cells(over_runs(deltas), over_runs(shares) if shares else None)])
                # Accuracies that differ in both directions cancel out; what they do to maps need not.
                if any(row[-1] for row in pairs[-len(deltas) :]):
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
    return [ScoreTable(f"{words}: paired differences", columns, rows, chart=2, words=2, notes=notes)]


def _cells(difference: Figure, accuracy: Figure | None) -> list[Cell]:
    share = Measured(accuracy.value, signed=True) if accuracy else "-"
    remark = _CONFOUNDED if accuracy and abs(accuracy.value) >= _EQUAL - 1e-9 else ""
    return [Measured(**vars(difference), signed=True), share, remark]


def _accuracy(one: NetworkResult, other: NetworkResult) -> Figure | None:
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


# More curves than these nobody can tell apart.
_LINES = 7


def accuracy_of(result: NetworkResult) -> Measured | None:
    """Accuracy on the scored images."""
    accuracy = result.scores.accuracy
    return Measured(**vars(accuracy)) if accuracy else None


def ranking(config: ScoringConfig, result: NetworkResult, metric: ImageMetric) -> ScoreTable:
    """Methods with their scores by one metric, the best first; beside them, paired by image, the control."""
    scores, headline = result.scores, metric.value_names[0]
    lines = scores.ranked(metric)
    best = lines[0].figures if lines else {}
    figures = [figure for figure in metric.table_columns if figure in best]
    counts = [count for count in ("undefined", "degenerate") if any(getattr(line, count) for line in lines)]
    gaussian = next(
        (e.name for e in config.explainers if isinstance(e, CenteredGaussian) and scores.knows(e.name)), None
    )
    beyond = {
        line.method: scores.beyond(metric, line.method, gaussian)
        for line in lines
        if gaussian and line.method not in config.controls
    }
    beyond = {method: figure for method, figure in beyond.items() if figure}
    words = metric.name.replace("_", " ")
    columns = ["method", f"{words} [95 %]", *(["minus Gaussian [95 %]"] if beyond else [])]
    columns += [*(name.replace("_", " ") for name in figures), "n"]
    columns += [{"undefined": "undefined", "degenerate": "no contrast"}[count] for count in counts]
    rows: list[list[Cell]] = []
    for line in lines:
        row: list[Cell] = [config.printed[line.method], measured(line.figures[headline], headline, True)]
        if beyond:
            figure = beyond.get(line.method)
            row.append(Measured(**vars(figure), signed=True) if figure else "")
        row += [measured(line.figures[name], name, name.endswith("lift")) for name in figures]
        rows.append([*row, line.n, *(getattr(line, count) for count in counts)])
    marks = [line.figures["chance"].value if "chance" in line.figures else None for line in lines]
    faint = {number for number, line in enumerate(lines) if line.method in config.controls}
    notes = [f"{'Higher' if metric.higher_is_better else 'Lower'} is better."]
    notes += ["No image has what this metric compares with."] if not lines and scores.explained else []
    notes += ["The red tick is chance."] if any(mark is not None for mark in marks) else []
    notes += ["Minus Gaussian: paired, over the images that both have a score for."] if beyond else []
    if len({line.n for line in lines}) > 1:
        notes.append("Methods rest on different images where n differs.")
    return ScoreTable(words, columns, rows, marks=marks, faint=faint, notes=[" ".join(notes)])


def measured(figure: Figure, name: str, with_interval: bool) -> Measured:
    """A figure as a cell; an interval beside every figure would leave nothing legible."""
    digits = 0 if name.endswith("_n") else 2 if name.endswith("lift") else 3
    return Measured(**vars(figure), digits=digits) if with_interval else Measured(figure.value, digits=digits)


def curves_of(config: ScoringConfig, result: NetworkResult, metric: ImageMetric) -> list[Curves]:
    """The curves that a metric has, at 0, 10, ... 100 percent: one drawing for each that its parts name."""
    controls, ranked = config.controls, result.scores.ranked(metric)
    results = [line for line in ranked if line.method not in controls]
    lines = [*results[:_LINES], *(line for line in ranked if line.method in controls)]
    note = f"The best {_LINES} of {len(results)} methods." if len(results) > _LINES else ""
    curves = []
    for start in dict.fromkeys(part.rpartition("_at_")[0] for part in metric.value_names if part.endswith("_at_00")):
        names = [f"{start}_at_{percent:02}" for percent in range(0, 101, 10)]
        values = {config.printed[line.method]: [line.figures[name].value for name in names] for line in lines}
        faint = frozenset(config.printed[name] for name in controls)
        curves.append(Curves(f"{metric.name.replace('_', ' ')}: {start}", values, faint, note))
    return curves


_CONTROL = "control"
_NONE = Measured(float("nan"))


def paired_tables(config: ScoringConfig, scores: NetworkScores, metric: ImageMetric, against: str) -> list[ScoreTable]:
    """The figures of one metric, methods in the order given, and their differences from one method.

    With insertion and deletion this is Table 1 of Zhang, Rao and Yang's AOP paper, with intervals and in percent:
    deletion, insertion, and insertion minus deletion, which they call over-all.

    Args:
        config: What is scored.
        scores: The scores of one network.
        metric: The metric.
        against: Name of the method that is subtracted.
    """
    words = metric.name.replace("_", " ")
    available = scores.line(metric, against).figures
    # Ties say nothing of the one method against the other; the ranking shows them.
    figures = [name for name in (*metric.table_columns, metric.value_names[0]) if name in available and name != "tied"]
    if not figures:
        return []
    columns = ["stage", "method", *(f"{name.replace('_', ' ')} [95 %]" for name in figures), "n"]
    methods = [explainer for explainer in config.explainers if scores.line(metric, explainer.name).figures]
    absolute: list[list[Cell]] = []
    apart: list[list[Cell]] = []
    for explainer in methods:
        line = scores.line(metric, explainer.name)
        name: list[Cell] = [_stage(explainer), config.printed[explainer.name]]
        absolute.append([*name, *(_cell(line.figures[figure], metric) for figure in figures), line.n])
        if explainer.name != against:
            both, deltas = scores.apart(metric, explainer.name, against)
            apart.append(
                [*name, *(_cell(deltas[figure], metric, True) if deltas else _NONE for figure in figures), both]
            )
    other = config.printed[against]
    mean = "Insertion deletion is insertion minus deletion, the paper's over-all." if "insertion" in figures else ""
    better = f"{'Higher' if metric.higher_is_better else 'Lower'} is better in the last figure. {mean}".strip()
    notes = ["Differences are paired: over the images that both have a score for, resampled together (bootstrap)."]
    chart = columns.index("n") - 1
    percent, points = (", in percent", ", in points") if metric.in_percent else ("", "")
    tables = [(f"{words}, each method{percent}", absolute, [better]), (f"{words}: minus {other}{points}", apart, notes)]
    return [
        ScoreTable(title, columns, rows, chart=chart, words=2, faint=_controls(rows), notes=table_notes)
        for title, rows, table_notes in tables
    ]


def _controls(rows: list[list[Cell]]) -> set[int]:
    return {number for number, row in enumerate(rows) if row[0] == _CONTROL}


def _stage(explainer: Explainer | None) -> str:
    """Whether a method, or one that it works upon, refines another one's map."""
    if isinstance(explainer, CONTROLS):
        return _CONTROL
    while explainer is not None and not isinstance(explainer, AOP):
        explainer = getattr(explainer, "base", None)
    return "AOP" if explainer else "one"


def _cell(figure: Figure, metric: ImageMetric, signed: bool = False) -> Measured:
    unit, digits = (100, 2) if metric.in_percent else (1, 3)
    return Measured(*(unit * value for value in (figure.value, figure.low, figure.high)), digits=digits, signed=signed)
