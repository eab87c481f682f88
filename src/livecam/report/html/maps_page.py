"""The page of ``explain.py maps``: one strip per photo, opens from disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from livecam.core.files import write_atomically, write_png
from livecam.report.html.templates import render


@dataclass
class Picture:
    """A picture beside a file.

    Args:
        path: Relative to the page.
        width: In pixels.
        height: In pixels.
        words: What it shows.
    """

    path: str
    width: int
    height: int
    words: str

    @classmethod
    def write(cls, folder: Path, path: str, pixels: np.ndarray, words: str) -> "Picture":
        """Write pixels, uint8 ``(h, w, 3)``, to a PNG in the folder of the page."""
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_png(folder / path, pixels)
        return cls(path, pixels.shape[1], pixels.shape[0], words)


@dataclass
class Entry:
    """One photo on the page.

    Args:
        picture: Its strip.
        source: Where the photo came from.
        further: Pictures below the strip.
    """

    picture: Picture
    source: str
    further: list[Picture] = field(default_factory=list)


def write_maps_page(path: Path, title: str, subtitle: str, entries: Sequence[Entry]) -> None:
    """Write the page; all text is escaped."""
    write_atomically(path, render("maps.html", title=title, subtitle=subtitle, entries=entries))
