"""Per-image scores on disk: written as they come, whole after a kill, merged in the end."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from livecam.core.files import aside, write_atomically
from livecam.evaluation.loaded_network import Network
from livecam.explain import Explainer, Explanation
from livecam.report.drawing.strips import note_of

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
        ValueError: When the folder holds scores of other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], columns: Sequence[str]) -> None:
        self.path = path
        self.columns = [*FACTS, *columns]
        self._check({**settings, "columns": self.columns})

    def _check(self, settings: dict[str, Any]) -> None:
        # As they come back from the file: JSON knows no tuples.
        settings = json.loads(json.dumps(settings))
        known = self.path / "settings.json"
        found = json.loads(known.read_text("utf-8")) if known.exists() else {}
        differ = sorted(key for key in {*found, *settings} if found.get(key) != settings.get(key))
        if not differ:
            return
        if any(True for _ in self.images()):
            raise ValueError(
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
        write_atomically(known, json.dumps(settings, indent=2).encode())

    def _parts(self) -> list[Path]:
        return sorted(self.path.glob("rows.rank*.csv"))

    def images(self) -> Iterator[tuple[int, list[Row]]]:
        """Index and rows of every image that is complete, each once, as they come."""
        seen: set[int] = set()
        for file in [self.path / "scores.csv", *self._parts()]:
            for index, group in _groups(file):
                if index not in seen:
                    seen.add(index)
                    yield index, group

    def open(self, rank: int) -> "RowWriter":
        """A writer for one rank; it appends."""
        return RowWriter(self.path / f"rows.rank{rank}.csv", self.columns)

    def finish(self) -> None:
        """Merge all rows into ``scores.csv`` in the order of images, in one step."""
        # As text, which takes a fraction of the memory of rows.
        parts = {index: self._text(rows) for index, rows in self.images()}
        with (
            aside(self.path / "scores.csv") as part,
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
            own = {(row["label"], row["method"]): row for row in group}
            if len(own) == int(next(iter(own.values()))["of"]):
                yield int(index), list(own.values())


_FACTS = ("target", "predicted", "probability", "degenerate")


@dataclass
class KeptMaps:
    """What a picture needs of one method's maps of N images; fields as in :class:`livecam.explain.Explanation`."""

    map: Tensor
    energy: Tensor
    raw: Tensor
    target: Tensor
    predicted: Tensor
    probability: Tensor
    degenerate: Tensor
    details: dict[str, Any]


def keep_maps(folder: Path, index: int, found: Mapping[str, Explanation], place: int) -> None:
    """Write the maps of one image, by all methods.

    Args:
        folder: Of a network's scores; maps go to ``maps/``.
        index: Of the image.
        found: Explanations of its batch, by method.
        place: The image's place in the batch.
    """
    kept = {}
    for name, explanation in found.items():
        own = {key: getattr(explanation, key)[place].cpu() for key in _FACTS}
        # Half precision is more than eyes and shares of energy can tell apart; raw maps may be of any scale.
        own |= {"map": explanation.map[place].half().cpu(), "raw": explanation.raw[place].float().cpu()}
        peak = explanation.energy[place].amax().clamp_min(torch.finfo(torch.float32).tiny)
        own |= {"energy": (explanation.energy[place] / peak).half().cpu()}
        kept[name] = own | {"note": note_of(explanation.details, place)}
    (folder / "maps").mkdir(exist_ok=True)
    content = io.BytesIO()
    torch.save(kept, content)
    write_atomically(folder / "maps" / f"{index}.pt", content.getvalue())


def kept_maps(folder: Path, index: int) -> dict[str, KeptMaps]:
    """The maps of one image by method, each for a batch of one; empty where none were kept."""
    path = folder / "maps" / f"{index}.pt"
    if not path.exists():
        return {}
    found = {}
    for name, own in torch.load(path, weights_only=True).items():
        note = own.pop("note")
        batch = {
            key: value[None].float() if key in ("map", "energy", "raw") else value[None] for key, value in own.items()
        }
        found[name] = KeptMaps(**batch, details={"note": note} if note else {})
    return found


def settings_of(
    network: Network, data: Mapping[str, Any], methods: Sequence[Explainer], metrics: Sequence[str], **more: Any
) -> dict[str, Any]:
    """What scores depend on, as plain values that tell one run's from another's."""
    return {
        "network": network.label,
        "weights": fingerprint(network.source),
        "input": [network.image_size, network.resize],
        "data": dict(data),
        "methods": [repr(method) for method in methods],
        "metrics": list(metrics),
        **more,
    }


def fingerprint(source: str) -> str:
    """Name and content of a file; the name alone of published weights."""
    path = Path(source)
    if not path.is_file():
        return source
    with path.open("rb") as file:
        return f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
