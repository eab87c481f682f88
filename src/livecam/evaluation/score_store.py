"""Per-image scores on disk: written as they come, whole after a kill, merged in the end."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from livecam.core.errors import DataError
from livecam.core.files import temporary_sibling, write_atomically

Row = dict[str, str]

FACTS = ("index", "file", "label", "target", "predicted", "probability", "method", "degenerate", "failed", "of")
"""What a row says beside scores; ``of`` is the number of rows that its image has, one for each method and category.

A row without a method says that nothing was explained: the image has no category, or the network is not sure of it. A
method that ``failed`` on an image, or gave a map of NaN or infinity, has no scores there.
"""


class ScoreFolder:
    """A folder of scores that an interrupted run goes on with.

    Rows go to a file for each rank; :meth:`finish` makes ``scores.csv`` of them.

    Args:
        path: The folder; made where there is none.
        settings: What the scores depend on.
        columns: Names of scores.

    Raises:
        DataError: When the folder holds scores of other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], columns: Sequence[str]) -> None:
        self.path = path
        self.columns = [*FACTS, *columns]
        self._check({**settings, "columns": self.columns})

    def _check(self, settings: dict[str, Any]) -> None:
        # As they come back from the file: JSON knows no tuples.
        settings = json.loads(json.dumps(settings))
        settings_file = self.path / "settings.json"
        saved = json.loads(settings_file.read_text("utf-8")) if settings_file.exists() else {}
        differ = sorted(key for key in {*saved, *settings} if saved.get(key) != settings.get(key))
        if not differ:
            return
        if any(True for _ in self.images()):
            raise DataError(
                f"{self.path} holds scores of other settings ({', '.join(differ)}): choose another --out, or remove "
                "the folder."
            )
        # Here, because it takes seconds, and rows are read without it.
        from lightning.pytorch.utilities import rank_zero_only

        # Ranks that a launcher starts come here at the same time; they open their files after they have met.
        if rank_zero_only.rank != 0:
            return
        # What failed before its first image has nothing to lose.
        for file in self._parts():
            file.unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(settings_file, json.dumps(settings, indent=2).encode())

    def _parts(self) -> list[Path]:
        return sorted(self.path.glob("rows.rank*.csv"))

    def images(self) -> Iterator[tuple[int, list[Row]]]:
        """Index and rows of every image that is complete, each once, as they come."""
        indices: set[int] = set()
        for file in [self.path / "scores.csv", *self._parts()]:
            for index, group in _groups(file):
                if index not in indices:
                    indices.add(index)
                    yield index, group

    def open(self, rank: int) -> "RowWriter":
        """A writer for one rank; it appends."""
        return RowWriter(self.path / f"rows.rank{rank}.csv", self.columns)

    def finish(self) -> None:
        """Merge all rows into ``scores.csv`` in the order of images, in one step."""
        # As text, which takes a fraction of the memory of rows.
        parts = {index: self._text(rows) for index, rows in self.images()}
        with (
            temporary_sibling(self.path / "scores.csv") as part,
            part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            csv.writer(file, lineterminator="\n").writerow(self.columns)
            file.writelines(parts[index] for index in sorted(parts))
        for file in self._parts():
            file.unlink()

    def _text(self, rows: Iterable[Row]) -> str:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.columns, lineterminator="\n").writerows(rows)
        return text.getvalue()


class RowWriter:
    """Appends rows to a file; what was written survives a kill of the process."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        if path.exists():
            # What follows must not become part of a row that a kill cut off.
            os.truncate(path, len(_whole(path.read_bytes())))
        self._file: TextIO = path.open("a", newline="", encoding="utf-8", errors="surrogateescape")
        self._writer = csv.DictWriter(self._file, columns, lineterminator="\n")
        if not path.stat().st_size:
            self._writer.writeheader()

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows and hand them to the operating system."""
        self._writer.writerows(rows)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _whole(content: bytes) -> bytes:
    """Rows without the end that a kill cut off: up to the last line end that no quotes enclose."""
    end = content.rfind(b"\n") + 1
    while content.count(b'"', 0, end) % 2:
        end = content.rfind(b"\n", 0, end - 1) + 1
    return content[:end]


def _groups(path: Path) -> Iterator[tuple[int, list[Row]]]:
    """Images of a file with their rows; those that lack some are left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        lines = (line.decode("utf-8", "surrogateescape") for line in file if line.endswith(b"\n"))
        # A row that a kill cut off inside of quotes lacks what comes after them.
        rows = (row for row in csv.DictReader(lines) if None not in row.values())
        for index, group in groupby(rows, key=lambda row: row["index"]):
            # An image that was cut off is there again, and whole, when the run went on.
            unique = {(row["label"], row["method"]): row for row in group}
            if len(unique) == int(next(iter(unique.values()))["of"]):
                yield int(index), list(unique.values())
