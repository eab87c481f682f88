"""How masks were optimised: what ``explain.py maps`` leaves of it, as a table and as charts."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from livecam.commands.explained_photos import View
from livecam.commands.photos import Photo
from livecam.report.drawing.line_chart import history_chart
from livecam.report.html.maps_page import Picture
from livecam.report.pictures import write_png

COLUMNS = ("file", "network", "class", "method", "iteration", "objective", "score", "l1", "tv", "step", "accepted")


class Histories:
    """Writes ``histories.csv`` and ``histories/<photo>_<method>.png``; nothing where no method optimises.

    Args:
        folder: Where to write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "histories.csv"
        # Those of an earlier run would pass for this one's.
        for file in [self._path, *(folder / "histories").glob("*.png")]:
            file.unlink(missing_ok=True)

    def write(self, photo: Photo, views: Sequence[View], slugs: Sequence[Sequence[str]], number: int) -> list[Picture]:
        """Write those of one photo.

        Args:
            photo: The photo.
            views: What each network made of its batch.
            slugs: What tells the views apart, as parts of file names.
            number: Place of the photo in the batch.

        Returns:
            Charts for the page.
        """
        pictures = []
        several = len({view.network.label for view in views}) > 1
        for view, what in zip(views, slugs):
            sample = view.samples[number]
            for (name, explanation), label in zip(view.explanations.items(), sample.overlays):
                history = explanation.details.get("history")
                if history is None:
                    continue
                own = {key: values[number].tolist() for key, values in history.items()}
                known = (str(photo.path), view.network.label, sample.explained, name)
                self._append([*known, *row] for row in _rows(own))
                file = self.folder / "histories" / f"{'_'.join([photo.stem, *what, name])}.png"
                file.parent.mkdir(exist_ok=True)
                title = " · ".join([label, sample.explained, *([view.network.label] if several else [])])
                chart = history_chart(title, own, own["accepted"])
                write_png(file, chart)
                path = f"histories/{file.name}"
                pictures.append(Picture(path, chart.shape[1], chart.shape[0], f"course of {title}"))
        return pictures

    def _append(self, rows: Iterator[list[object]]) -> None:
        fresh = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file, lineterminator="\n")
            if fresh:
                writer.writerow(COLUMNS)
            writer.writerows(rows)


def _rows(history: dict[str, list[float]]) -> Iterator[list[object]]:
    """A row per iteration; the last one, where it stands in the end, has no step."""
    steps = len(history["step"])
    for iteration in range(len(history["objective"])):
        stands = [history[name][iteration] for name in ("objective", "score", "l1", "tv")]
        moved = [history["step"][iteration], int(history["accepted"][iteration])] if iteration < steps else ["", ""]
        yield [iteration, *stands, *moved]
