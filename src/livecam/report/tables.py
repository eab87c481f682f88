"""Tables of scores with intervals, the same in the terminal, in CSV files and on a page."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger

from livecam.report.drawing.strips import Method, printed_names
from livecam.report.log_media import log_table

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Measured:
    """A figure with its interval.

    Args:
        value: The figure.
        low: Lower bound of its interval; NaN where there is none.
        high: Upper bound.
        digits: Decimals that are shown.
        signed: Whether a plus is shown.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    digits: int = 3
    signed: bool = False

    def __str__(self) -> str:
        if self.value != self.value:
            return "-"
        if self.low != self.low or self.high != self.high:
            return self._text(self.value)
        return f"{self._text(self.value)} [{self._short(self.low)}, {self._short(self.high)}]"

    def _text(self, value: float) -> str:
        return f"{value:{'+' if self.signed else ''}.{self.digits}f}"

    def _short(self, value: float) -> str:
        """Without the zero before the point: a terminal has no room for it."""
        text = self._text(value)
        return text.replace("0.", ".", 1) if abs(value) < 1 else text


Cell = str | int | Measured

# Columns that a narrow terminal keeps.
_ALWAYS = ("n", "undefined", "no contrast", "accuracy", "in accuracy", "remark")


@dataclass
class ScoreTable:
    """One table.

    Args:
        title: What it is about.
        columns: Heads; those of the first ``words`` columns are over words, the others over numbers.
        rows: Cells of each row.
        chart: Number of the column whose intervals the page draws.
        marks: For each row, where the chart has a tick, such as at chance, or None; empty for no ticks.
        words: How many columns hold words.
        faint: Rows that are no results but something to compare with.
        notes: Lines below.
    """

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    chart: int = 1
    marks: Sequence[float | None] = ()
    words: int = 1
    faint: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def as_rows(self) -> list[dict[str, object]]:
        """Rows as plain values by column, for JSON: figures as value, low and high, null where there is none."""

        def plain(cell: Cell) -> object:
            if not isinstance(cell, Measured):
                return cell
            ends = {"value": cell.value, "low": cell.low, "high": cell.high}
            return {name: end if end == end else None for name, end in ends.items()}

        return [{column: plain(cell) for column, cell in zip(self.columns, row)} for row in self.rows]

    @property
    def axis(self) -> tuple[float, float]:
        """Ends of the chart's axis: all intervals and ticks, and zero."""
        cells = [row[self.chart] for row in self.rows]
        ends = [end for cell in cells for end in (cell.low, cell.high, cell.value) if end == end]
        ends += [mark for mark in self.marks if mark is not None and mark == mark]
        low, high = min([0.0, *ends]), max([0.0, *ends])
        return low, high if high > low else 1.0

    def place(self, value: float) -> float:
        """Where a value lies on the axis, in percent."""
        low, high = self.axis
        return 100 * (value - low) / (high - low)


def print_tables(tables: Sequence[ScoreTable]) -> None:
    """Print tables to the terminal; where it is narrow, further figures are left out, never names or the headline."""
    from rich.console import Console

    # Names of runs and files may hold brackets and colons, which mean nothing here.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        # A log has no width of its own.
        console.width = 160
    for table in tables:
        columns = list(range(len(table.columns)))
        spare = [number for number in columns if number > table.chart and table.columns[number] not in _ALWAYS]
        free = console.options.update(width=10_000)
        while spare and console.measure(_drawn(table, columns), options=free).maximum > console.width:
            columns.remove(spare.pop())
        console.print()
        console.print(_drawn(table, columns))
        for note in table.notes:
            console.print(note, style="dim")
        if len(columns) < len(table.columns):
            left_out = ", ".join(name for number, name in enumerate(table.columns) if number not in columns)
            console.print(f"Left out in this narrow terminal: {left_out}.", style="dim")


def _drawn(table: ScoreTable, columns: Sequence[int]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    rich_table = Table(title=table.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for number in columns:
        words = number < table.words
        longest = max((len(word) for row in table.rows for word in str(row[number]).split()), default=0)
        least = longest if words else None
        rich_table.add_column(
            table.columns[number], justify="left" if words else "right", no_wrap=not words, min_width=least
        )
    for number, row in enumerate(table.rows):
        rich_table.add_row(*(str(row[column]) for column in columns), style="dim" if number in table.faint else None)
    return rich_table


def as_csv(tables: Sequence[ScoreTable]) -> str:
    """All tables in one CSV: a row per figure, with its interval where it has one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["table", "row", "figure", "value", "low", "high"])
    for table in tables:
        for row in table.rows:
            name = " · ".join(map(str, row[: table.words]))
            for column, cell in zip(table.columns[table.words :], row[table.words :]):
                ends = [cell.value, cell.low, cell.high] if isinstance(cell, Measured) else [cell, "", ""]
                writer.writerow([table.title, name, column, *("" if end != end else end for end in ends)])
    return text.getvalue()


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
        # A control is scored by some metrics only.
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
