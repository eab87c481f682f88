"""What ``explain.py maps`` leaves of each photo: a strip or a grid, overlays, rows of arrays, a place on the page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from livecam.commands.reading import Photo
from livecam.commands.views import View
from livecam.report.arrays import ArrayFile
from livecam.report.maps_page import Entry
from livecam.report.render import to_uint8
from livecam.report.side_by_side import side_by_side


def write_pictures(folder: Path, photos: Sequence[Photo], views: Sequence[View], rows: Sequence[str]) -> list[Entry]:
    """Write ``<photo>.png`` and ``overlays/<photo>_<method>.png`` (``<photo>_<network>_<method>.png`` with several).

    Args:
        folder: Where to write; ``overlays`` lies in it.
        photos: The photos of a batch.
        views: What each network made of that batch.
        rows: Printed names of all methods.

    Returns:
        What the page shows of each photo.
    """
    return [_write(folder, photo, views, rows, number) for number, photo in enumerate(photos)]


def _write(folder: Path, photo: Photo, views: Sequence[View], rows: Sequence[str], number: int) -> Entry:
    samples = {view.network.label: view.samples[number] for view in views}
    for view in views:
        start = photo.stem if len(views) == 1 else f"{photo.stem}_{view.network.slug}"
        for name, overlay in zip(view.explanations, view.samples[number].overlays.values()):
            Image.fromarray(to_uint8(overlay)).save(folder / "overlays" / f"{start}_{name}.png")
    if len(views) == 1:
        (sample,) = samples.values()
        picture, caption = sample.strip(with_truth=False, with_caption=True), sample.caption
    else:
        picture = side_by_side(photo.picture, samples, rows)
        answers = (f"{label}: {', '.join(sample.answers)}" for label, sample in samples.items())
        caption = " · ".join([photo.path.name, *answers])
    Image.fromarray(picture).save(folder / f"{photo.stem}.png")
    return Entry(f"{photo.stem}.png", picture.shape[1], picture.shape[0], caption, str(photo.path))


def append_arrays(arrays: ArrayFile, photos: Sequence[Photo], views: Sequence[View]) -> None:
    """Add a batch of photos to ``files``, ``target``, ``probability`` and one array per method.

    With several networks all but ``files`` are there for each, as ``<network>.target`` and so on.
    """
    # Fixed width: arrays on disk have one type for all rows, and Python objects would need pickle to load.
    arrays.append("files", np.array([str(photo.path) for photo in photos], dtype="U512"))
    for view in views:
        start = "" if len(views) == 1 else f"{view.network.slug}."
        arrays.append(f"{start}target", view.answer.target.cpu().numpy())
        arrays.append(f"{start}probability", view.answer.probability.cpu().numpy())
        for name, explanation in view.explanations.items():
            arrays.append(f"{start}{name}", explanation.map.cpu().numpy())
