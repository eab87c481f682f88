"""Every figure of every method with its interval, and what sets it apart from one of them, paired by image."""

from livecam.evaluation.results import NetworkScores
from livecam.evaluation.study import Question
from livecam.explain import AOP, Explainer
from livecam.explain.methods.controls import BASELINES
from livecam.metrics import ImageMetric
from livecam.metrics.summary import Figure
from livecam.report.tables import Cell, Measured, ScoreTable

_BASELINE = "baseline"
_NONE = Measured(float("nan"))


def paired_tables(asked: Question, scores: NetworkScores, metric: ImageMetric, against: str) -> list[ScoreTable]:
    """The figures of one metric, methods in the order given, and their differences from one method.

    With insertion and deletion this is Table 1 of Zhang, Rao and Yang's AOP paper, with intervals and in percent:
    deletion, insertion, and insertion minus deletion, which they call over-all.

    Args:
        asked: What was asked.
        scores: The scores of one network.
        metric: The metric.
        against: Name of the method that is subtracted.
    """
    words = metric.name.replace("_", " ")
    known = scores.line(metric, against).figures
    # Ties say nothing of the one method against the other; the ranking shows them.
    figures = [name for name in (*metric.shown, metric.parts[0]) if name in known and name != "tied"]
    if not figures:
        return []
    columns = ["stage", "method", *(f"{name.replace('_', ' ')} [95 %]" for name in figures), "n"]
    methods = [explainer for explainer in asked.explainers if scores.line(metric, explainer.name).figures]
    whole: list[list[Cell]] = []
    apart: list[list[Cell]] = []
    for explainer in methods:
        line = scores.line(metric, explainer.name)
        name: list[Cell] = [_stage(explainer), asked.printed[explainer.name]]
        whole.append([*name, *(_cell(line.figures[figure], metric) for figure in figures), line.n])
        if explainer.name != against:
            both, found = scores.apart(metric, explainer.name, against)
            apart.append([*name, *(_cell(found[figure], metric, True) if found else _NONE for figure in figures), both])
    told = asked.printed[against]
    mean = "Insertion deletion is insertion minus deletion, the paper's over-all." if "insertion" in figures else ""
    better = f"{'Higher' if metric.higher_is_better else 'Lower'} is better in the last figure. {mean}".strip()
    notes = ["Differences are paired: over the images that both have a score for, resampled together (bootstrap)."]
    chart = columns.index("n") - 1
    percent, points = (", in percent", ", in points") if metric.in_percent else ("", "")
    drawn = [
        (f"{words}, each method{percent}", whole, [better]),
        (f"{words}: minus {told}{points}", apart, notes),
    ]
    return [
        ScoreTable(title, columns, rows, chart, [None] * len(rows), 2, _baselines(rows), said)
        for title, rows, said in drawn
    ]


def _baselines(rows: list[list[Cell]]) -> set[int]:
    return {number for number, row in enumerate(rows) if row[0] == _BASELINE}


def _stage(explainer: Explainer | None) -> str:
    """Whether a method, or one that it works upon, refines another one's map."""
    if isinstance(explainer, BASELINES):
        return _BASELINE
    while explainer is not None and not isinstance(explainer, AOP):
        explainer = getattr(explainer, "base", None)
    return "AOP" if explainer else "one"


def _cell(figure: Figure, metric: ImageMetric, signed: bool = False) -> Measured:
    unit, digits = (100, 2) if metric.in_percent else (1, 3)
    return Measured(*(unit * value for value in (figure.value, figure.low, figure.high)), digits=digits, signed=signed)
