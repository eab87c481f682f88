"""Every figure of every method with its interval, and what sets it apart from one of them, paired by image."""

from livecam.commands.score_question import Question
from livecam.commands.score_values import NetworkScores
from livecam.explain import AOP, Explainer
from livecam.metrics import ImageMetric
from livecam.metrics.summary import Figure
from livecam.report.score_tables import Cell, Measured, ScoreTable

_NO_SHARE = ("tied", "lift", "small_lift", "small_n")


def paired_tables(asked: Question, scores: NetworkScores, metric: ImageMetric, against: str) -> list[ScoreTable]:
    """The figures of one metric in percent, methods in the order given, and their differences from one method.

    With insertion and deletion this is Table 1 of Zhang, Rao and Yang's AOP paper, with intervals: deletion, insertion,
    and insertion minus deletion, which they call over-all.

    Args:
        asked: What was asked.
        scores: The scores of one network.
        metric: The metric.
        against: Name of the method that is subtracted.
    """
    words = metric.name.replace("_", " ")
    known = scores.line(metric, against).figures
    # What the ranking shows already, and is no share.
    figures = [name for name in (*metric.shown, metric.parts[0]) if name in known and name not in _NO_SHARE]
    if not figures:
        return []
    columns = ["stage", "method", *(f"{name.replace('_', ' ')} [95 %]" for name in figures), "n"]
    methods = [explainer for explainer in asked.explainers if scores.line(metric, explainer.name).figures]
    whole: list[list[Cell]] = []
    apart: list[list[Cell]] = []
    for explainer in methods:
        line = scores.line(metric, explainer.name)
        name: list[Cell] = [_stage(explainer), asked.printed[explainer.name]]
        whole.append([*name, *(_percent(line.figures[figure]) for figure in figures), line.n])
        if explainer.name != against:
            both, found = scores.apart(metric, explainer.name, against)
            apart.append([*name, *(_percent(found[figure], True) if found else "-" for figure in figures), both])
    told = asked.printed[against]
    mean = "Insertion deletion is insertion minus deletion, the paper's over-all." if "insertion" in figures else ""
    better = f"{'Higher' if metric.higher_is_better else 'Lower'} is better in the last figure. {mean}".strip()
    notes = ["Differences are paired: over the images that both have a score for, resampled together (bootstrap)."]
    chart = columns.index("n") - 1
    tables = [ScoreTable(f"{words}, in percent", columns, whole, chart, [None] * len(whole), 2, set(), [better])]
    title = f"{words}: minus {told}, in points"
    return [*tables, ScoreTable(title, columns, apart, chart, [None] * len(apart), 2, set(), notes)]


def _stage(explainer: Explainer) -> str:
    return "AOP" if isinstance(explainer, AOP) else "one"


def _percent(figure: Figure, signed: bool = False) -> Measured:
    return Measured(*(100 * value for value in (figure.value, figure.low, figure.high)), digits=2, signed=signed)
