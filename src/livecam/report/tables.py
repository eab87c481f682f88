"""The closing table of scores, for the terminal and for loggers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers import Logger

from livecam.report.media import log_table
from livecam.report.strips import Method, printed_names

# A narrow terminal has room for headlines, chance and lift; loggers get every part.
_DETAILS = (" n", " undefined", " degenerate", " minmax lift", " hoyer", " area", " edges")


def score_rows(
    results: Mapping[str, Mapping[str, float]], methods: Sequence[Method]
) -> tuple[list[str], list[list[str | float]]]:
    """Columns and rows (one per method) of ``results``: metric key -> method -> value."""
    keys = [key for key in results if not key.endswith("minmax") and "_at_" not in key]
    printed = printed_names(methods)
    columns = ["method", *(key.replace("_", " ") for key in keys)]
    rows = [[printed[m.name], *(results[key].get(m.name, float("nan")) for key in keys)] for m in methods]
    return columns, rows


def print_scores(
    results: Mapping[str, Mapping[str, float]], methods: Sequence[Method], scalars: Mapping[str, Any]
) -> None:
    """Print the scores, with the accuracy they were reached at."""
    from rich.console import Console
    from rich.table import Table

    accuracy = scalars.get("val/accuracy")
    title = "Where it looks" + (f", at validation accuracy {float(accuracy):.3f}" if accuracy is not None else "")
    columns, rows = score_rows(results, methods)
    shown = [i for i, column in enumerate(columns) if not column.endswith(_DETAILS)]
    table = Table(title=title, title_justify="left")
    for i in shown:
        table.add_column(columns[i], justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(_cell(row[i]) for i in shown))
    console = Console()
    console.print(table)
    for note in _notes(results):
        console.print(note, style="dim", highlight=False)


def _notes(results: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    """What the numbers rest on: counts, and what is left out of the means."""
    for key, values in results.items():
        if key.endswith("_n") and values:
            metric = key.removesuffix("_n")
            undefined = max(results.get(f"{metric}_undefined", {"": 0}).values())
            flat = max(results.get(f"{metric}_degenerate", {"": 0}).values())
            odd = f", up to {undefined:.0f} undefined, {flat:.0f} without contrast" if undefined or flat else ""
            yield f"{metric.replace('_', ' ')}: {max(values.values()):.0f} images{odd}"


def log_scores(
    results: Mapping[str, Mapping[str, float]], methods: Sequence[Method], loggers: Iterable[Logger]
) -> None:
    """Log the scores as one table per logger that takes tables."""
    columns, rows = score_rows(results, methods)
    for logger in loggers:
        log_table(logger, "explanations/scores", columns, rows)


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"
