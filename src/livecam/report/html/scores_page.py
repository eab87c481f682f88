"""The page of ``explain.py score`` and ``compare``: tables with their intervals drawn, curves, pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from livecam.core.files import write_atomically
from livecam.report.html.maps_page import Entry
from livecam.report.html.templates import render
from livecam.report.tables import Measured, ScoreTable

_LEFT, _FOOT = 40, 28


@dataclass
class Curves:
    """Lines over a common axis from 0 to 100 percent.

    Args:
        title: What they show.
        lines: Values at equal steps from 0 to 100 percent, by name; those of results first, at most 7.
        faint: Names of lines that are no results but something to compare with: gray and dashed.
        note: What is to be said below.
    """

    title: str
    lines: Mapping[str, Sequence[float]]
    faint: frozenset[str] = frozenset()
    note: str = ""

    width, height = 420, 240

    def look(self, name: str) -> str:
        """Classes of a line: its color, and its dashes."""
        if name not in self.faint:
            return f"s{list(self.lines).index(name)}"
        return f"s7 d{1 + sorted(self.faint & self.lines.keys()).index(name) % 2}"

    def points(self, name: str) -> str:
        """A line's points in the drawing."""
        values = self.lines[name]
        last = max(1, len(values) - 1)
        return " ".join(f"{self.x(100 * i / last):.1f},{self.y(value):.1f}" for i, value in enumerate(values))

    def x(self, percent: float) -> float:
        """Place of a percentage."""
        return _LEFT + percent / 100 * (self.width - _LEFT - 8)

    def y(self, value: float) -> float:
        """Place of a value between 0 and the axis' end."""
        return 8 + (1 - value / self.top) * (self.height - _FOOT - 8)

    @property
    def top(self) -> float:
        """End of the axis: a tenth above the greatest value."""
        greatest = max((value for line in self.lines.values() for value in line if value == value), default=1.0)
        return max(0.1, -(-greatest * 10 // 1) / 10)


def write_scores_page(
    path: Path,
    title: str,
    facts: Sequence[str],
    tables: Sequence[ScoreTable],
    curves: Sequence[Curves] = (),
    entries: Sequence[Entry] = (),
) -> None:
    """Write the page; it opens from disk, and all text is escaped.

    Args:
        path: The page.
        title: Its title.
        facts: What was scored, in a line below the title.
        tables: In order.
        curves: Drawn behind the tables.
        entries: Pictures behind them.
    """
    values = {"facts": " · ".join(facts), "tables": tables, "curves": curves, "entries": entries}
    page = render("scores.html", title=title, is_measured=lambda cell: isinstance(cell, Measured), **values)
    write_atomically(path, page)
