"""The closing table of scores, for the terminal and for loggers."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers import Logger

from livecam.report.drawing.strips import Method, printed_names
from livecam.report.log_media import log_table


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
    results: Mapping[str, Mapping[str, float]],
    methods: Sequence[Method],
    scalars: Mapping[str, Any],
    unit: str = "images",
) -> None:
    """Print the scores, with the accuracy, or average precision, they were reached at.

    Args:
        results: Metric key -> method -> value.
        methods: In the order of rows.
        scalars: What the trainer logged.
        unit: What was scored, in words.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    # Of several classes at once there is no accuracy.
    quality = next((word for word in ("accuracy", "average precision") if _key(word) in scalars), None)
    at = f", at validation {quality} {float(scalars[_key(quality)]):.3f}" if quality else ""
    console.print(f"\nWhere it looks{at}")
    printed = printed_names(methods)
    # One narrow table per metric: a terminal has no room for all of them side by side.
    for metric in (key.removesuffix("_degenerate") for key in results if key.endswith("_degenerate")):
        parts = [part for part in ("chance", "lift") if f"{metric}_{part}" in results]
        table = Table("method", metric.replace("_", " "), *parts)
        for column in table.columns[1:]:
            column.justify = "right"
        # A baseline is scored by some metrics only.
        for method in (method for method in methods if method.name in results[metric]):
            values = (results[key].get(method.name) for key in [metric, *(f"{metric}_{part}" for part in parts)])
            table.add_row(printed[method.name], *("-" if value is None else f"{value:.3f}" for value in values))
        console.print(table)
        console.print(_note(results, metric, unit), style="dim")


def _key(quality: str) -> str:
    return f"val/{quality.replace(' ', '_')}"


def _note(results: Mapping[str, Mapping[str, float]], metric: str, unit: str) -> str:
    """What the numbers rest on: how many images, and what is left out of the means."""
    most = {part: max(results[f"{metric}_{part}"].values()) for part in ("n", "undefined", "degenerate")}
    left_out = f", up to {most['undefined']:.0f} undefined" if most["undefined"] else ""
    flat = f", up to {most['degenerate']:.0f} maps without contrast" if most["degenerate"] else ""
    return f"{most['n']:.0f} {unit}{left_out}{flat}"


def log_scores(results: Mapping[str, Mapping[str, float]], methods: Sequence[Method], logger: Logger) -> None:
    """Log the scores as a table, where the logger takes tables."""
    log_table(logger, "explanations/scores", *score_rows(results, methods))
