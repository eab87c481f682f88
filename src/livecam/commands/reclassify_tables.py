"""What ``explain.py reclassify`` says: the paper's tables of first answers, a summary, and every line as CSV."""

import csv
import io
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from livecam.core.files import write_atomically
from livecam.metrics.reclassification import Reclassification
from livecam.metrics.summary import mean_figure

Ways = Mapping[str, Reclassification]


@dataclass(frozen=True)
class Row:
    """What the network answered to one photo: as it is (method and way are empty), or masked by one method in one way.

    ``values`` are parts of :class:`Reclassification`, ``top`` classes as word, probability, whether it is the target.
    """

    path: Path
    stem: str
    method: str
    way: str
    target: str
    values: dict[str, float]
    top: list[tuple[str, float, bool]]
    degenerate: bool

    @property
    def note(self) -> str:
        """The first answer, and what is left of the target where that is another class."""
        (word, sure, hit), *_ = self.top
        return f"{word} {sure:.2f}" + ("" if hit else f" · target {self.values['reclassification']:.2f}")


def write_csv(path: Path, rows: Sequence[Row], ways: Ways) -> None:
    """Write a line per photo, method and way."""
    text = io.StringIO()
    lines = csv.writer(text)
    places = [f"{word}_{place}" for place in range(1, len(rows[0].top) + 1) for word in ("class", "probability")]
    head = ["photo", "target", "method", "mode", "threshold", "fill", "degenerate", "probability"]
    lines.writerow([*head, *Reclassification.parts[1:], *places])
    for row in rows:
        way = ways.get(row.way)
        level = way.threshold if way and way.mode == "threshold" else ""
        how = [row.method, way.mode, level, way.fill] if way else ["original", "", "", ""]
        top = [cell for word, sure, _ in row.top for cell in (word, sure)]
        lines.writerow([row.path, row.target, *how, int(row.degenerate), *row.values.values(), *top])
    write_atomically(path, text.getvalue().encode("utf-8", "replace"))


def report(path: Path, rows: Sequence[Row], bases: dict[str, str], printed: dict[str, str], shown: str) -> None:
    """Print the tables of the photos as they are and of the shown way, and the summary; write all to a file."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.way, row.method), []).append(row)
    summary = _summary(groups, bases, printed)
    text, plain = io.StringIO(), {"highlight": False, "markup": False}
    terminal = Console(width=None if sys.stdout.isatty() else 100, **plain)
    file = Console(file=text, width=10_000, force_terminal=False, color_system=None, **plain)
    for table in (*(_top_table(rows, printed, *key) for key, rows in groups.items() if key[0] in ("", shown)), summary):
        terminal.print(table)
    for table in (summary, *(_top_table(map(_plain, rows), printed, *key) for key, rows in groups.items())):
        file.print(f"## {table.title}\n" + (f"\n{table.caption}.\n" if table.caption else ""))
        table.title = table.caption = table.columns[0].width = None
        table.box, table.show_edge = box.MARKDOWN, True
        file.print(table, "")
    write_atomically(path, text.getvalue().encode("utf-8", "replace"))


def _plain(row: Row) -> Row:
    """A row for Markdown, where names of classes must open neither cells nor tags."""
    top = [(re.sub(r"([\\`*|<>&\[\]])", r"\\\1", word), sure, hit) for word, sure, hit in row.top]
    return replace(row, top=top)


def _top_table(rows: Iterable[Row], printed: dict[str, str], way: str, method: str) -> Table:
    rows = list(rows)
    title = f"{printed[method]}: {way}" if way else "Photos as they are"
    table = Table("photo", *map(str, range(1, len(rows[0].top) + 1)), title=title, box=box.SIMPLE_HEAD, show_edge=False)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    # Leaves others 13 letters of 100, so that names of ImageNet's classes break between words.
    table.columns[0].width = min(23, max(len(row.stem) for row in rows))
    for row in rows:
        answers = [Text(f"{word} {sure:.2f}", "bold" if hit else "") for word, sure, hit in row.top]
        table.add_row(Text(row.stem, overflow="fold"), *answers)
    return table


def _summary(groups: dict[tuple[str, str], list[Row]], bases: dict[str, str], printed: dict[str, str]) -> Table:
    """Means over the photos, and what Gradual Extrapolation adds to its base's probability of the target."""
    told = {key: [list(row.values.values()) for row in group] for key, group in groups.items()}
    values = {key: torch.tensor(rows, dtype=torch.float64).T for key, rows in told.items()}
    count = len(groups["", ""])

    def sure(of: Tensor, form: str) -> str:
        mean = mean_figure(of)
        return f"{mean.value:{form}} [{mean.low:{form}}, {mean.high:{form}}]"

    table = Table("masked by", "probability", "top 1", "top 5", "rank", "GE - base", box=box.SIMPLE_HEAD)
    table.title = f"Probability of the target, {count} photo{'s' * (count > 1)}"
    table.caption = "Means over photos, in brackets 95 % bootstrap intervals"
    for column in table.columns[1:]:
        column.justify = "right"
    before = ""
    for (way, method), found in values.items():
        if way != before:
            table.add_row(Text(before := way, "bold"))
        probability, _, kept, top5, rank, _ = found
        base = values.get((way, bases.get(method, "")))
        gain = "" if base is None or not way else sure(probability - base[0], "+z.2f")
        means = sure(probability, ".2f"), f"{kept.mean():.2f}", f"{top5.mean():.2f}", f"{rank.mean():.1f}"
        table.add_row(f"  {printed[method]}" if way else "nothing", *means, gain)
    return table
