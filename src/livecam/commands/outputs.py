"""What ``explain.py maps`` leaves of each photo: a strip or grid, overlays, arrays, a place on the page, histories."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from livecam.commands.explained_photos import NetworkView
from livecam.commands.photos import Photo
from livecam.core.files import ArrayFile, write_png
from livecam.evaluation.loaded_network import as_slug
from livecam.report.drawing.comparison_grid import class_rows, one_or_several, rows_caption
from livecam.report.drawing.line_chart import history_chart
from livecam.report.drawing.panels import to_uint8
from livecam.report.drawing.strips import Sample
from livecam.report.html.maps_page import Entry, Picture

COLUMNS = ("file", "network", "class", "method", "iteration", "objective", "score", "l1", "tv", "step", "accepted")


class Histories:
    """Writes ``histories.csv`` and ``histories/<photo>_<method>.png``; nothing where no method optimizes.

    Args:
        folder: Where to write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "histories.csv"
        # Those of an earlier run would pass for this one's.
        for file in [self._path, *(folder / "histories").glob("*.png")]:
            file.unlink(missing_ok=True)

    def write(
        self, photo: Photo, views: Sequence[NetworkView], slugs: Sequence[Sequence[str]], number: int
    ) -> list[Picture]:
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
        several_networks = len({view.network.label for view in views}) > 1
        for view, what in zip(views, slugs):
            sample = view.samples[number]
            for (name, explanation), label in zip(view.explanations.items(), sample.overlays):
                history = explanation.details.get("history")
                if history is None:
                    continue
                history_lists = {key: values[number].tolist() for key, values in history.items()}
                identity = (str(photo.path), view.network.label, sample.explained, name)
                self._append([*identity, *row] for row in _history_rows(history_lists))
                title = " · ".join([label, sample.explained, *([view.network.label] if several_networks else [])])
                chart = history_chart(title, history_lists, history_lists["accepted"])
                path = f"histories/{'_'.join([photo.stem, *what, name])}.png"
                pictures.append(Picture.write(self.folder, path, chart, f"course of {title}"))
        return pictures

    def _append(self, rows: Iterator[list[object]]) -> None:
        fresh = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file, lineterminator="\n")
            if fresh:
                writer.writerow(COLUMNS)
            writer.writerows(rows)


def _history_rows(history: dict[str, list[float]]) -> Iterator[list[object]]:
    """A row per iteration; the last one, where it stands in the end, has no step."""
    steps = len(history["step"])
    for iteration in range(len(history["objective"])):
        stands = [history[name][iteration] for name in ("objective", "score", "l1", "tv")]
        moved = [history["step"][iteration], int(history["accepted"][iteration])] if iteration < steps else ["", ""]
        yield [iteration, *stands, *moved]


def write_pictures(
    folder: Path,
    photos: Sequence[Photo],
    views: Sequence[NetworkView],
    rows: Sequence[str],
    each_class: bool,
    histories: Histories,
) -> list[Entry]:
    """Write ``<photo>.png`` and ``overlays/<photo>_<method>.png``.

    With several networks overlays are ``<photo>_<network>_<method>.png``, with each class of one
    ``<photo>_<class>_<method>.png``.

    Args:
        folder: Where to write; ``overlays`` lies in it.
        photos: The photos of a batch.
        views: What each network made of that batch.
        rows: Printed names of all methods.
        each_class: Whether views are those of each class of one network.
        histories: Takes the courses of optimized masks.

    Returns:
        What the page shows of each photo.
    """
    entries = []
    for number, photo in enumerate(photos):
        samples = [view.samples[number] for view in views]
        slugs = _slugs(views, samples, each_class)
        for view, sample, what in zip(views, samples, slugs):
            for name, overlay in zip(view.explanations, sample.overlays.values()):
                write_png(folder / "overlays" / f"{'_'.join([photo.stem, *what, name])}.png", to_uint8(overlay))
        if each_class:
            picture, caption = class_rows(samples), rows_caption(samples)
        else:
            columns = {view.network.label: sample for view, sample in zip(views, samples)}
            picture, caption = one_or_several(photo.picture, columns, rows, with_truth=False)
        written = Picture.write(folder, f"{photo.stem}.png", picture, caption)
        entries.append(Entry(written, str(photo.path), histories.write(photo, views, slugs, number)))
    return entries


def _slugs(views: Sequence[NetworkView], samples: Sequence[Sample], each_class: bool) -> list[list[str]]:
    """What tells the overlays of views apart, as part of their names."""
    if each_class:
        names = [as_slug(sample.explained) for sample in samples]
        # Names in other scripts, or alike but for signs, leave the index.
        apart = len(set(names)) == len(names) and all(names)
        return [[name] for name in (names if apart else (f"class_{index}" for index in range(len(names))))]
    return [[view.network.slug] for view in views] if len(views) > 1 else [[]]


def append_arrays(
    arrays: ArrayFile, photos: Sequence[Photo], views: Sequence[NetworkView], each_class: bool = False
) -> None:
    """Add a batch of photos to ``files``, ``target``, ``probability`` and one array per method.

    With several networks all but ``files`` are there for each, as ``<network>.target`` and so on. With ``each_class``
    of one network they get an axis of classes behind that of photos, and ``predicted`` ``(N,)`` is there too.
    """
    # Fixed width: arrays on disk have one type for all rows, and Python objects would need pickle to load.
    arrays.append("files", np.array([str(photo.path) for photo in photos], dtype="U512"))
    if each_class:
        arrays.append("predicted", views[0].prediction.predicted.cpu().numpy())
        rows = [_rows(view) for view in views]
        for name in rows[0]:
            arrays.append(name, np.stack([row[name] for row in rows], axis=1))
        return
    for view in views:
        start = "" if len(views) == 1 else f"{view.network.slug}."
        for name, values in _rows(view).items():
            arrays.append(f"{start}{name}", values)


def _rows(view: NetworkView) -> dict[str, np.ndarray]:
    facts = {"target": view.prediction.target, "probability": view.prediction.probability}
    arrays = facts | {name: explanation.map for name, explanation in view.explanations.items()}
    return {name: values.cpu().numpy() for name, values in arrays.items()}
