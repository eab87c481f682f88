"""The local page on disk: its history, and its files, which are written in the background and in order."""

import base64
import hashlib
import os
import re
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from markupsafe import Markup
from PIL import Image

from livecam.core.errors import DataError
from livecam.core.files import encode_jpeg, write_atomically
from livecam.report.html.background import Background
from livecam.report.html.page_data import PageData
from livecam.report.html.templates import read, render

WRITER = Background(64)
"""Writes the files of all pages of this process; holds up to 64 pictures."""


class Page:
    """A folder with ``index.html``, ``data.js`` and ``media/``; one that is there already is continued.

    Failures cost the page, with one warning, never the training. A fork of the process that began the page, such
    as a worker of a DataLoader, writes nothing.

    Args:
        folder: Where it is; made if it has to be.
        title: Heading; None takes that of a page that is there already, else the name.
        name: What the run is called.

    Attributes:
        data: The history, without pictures that are still to be written.
    """

    def __init__(self, folder: Path, title: str | None, name: str) -> None:
        self._folder = folder
        self._owner: int | None = os.getpid()
        self._next_write = 0.0
        self._warned = False
        self.data = PageData(started=time.time())
        # What is there may still be about to be written, by another logger of this process.
        WRITER.drain()
        self._spared(self._find)
        self.data.status = "running"
        self.data.title = title or self.data.title or name
        self._clock = time.monotonic() - self.data.elapsed
        self._later(partial(self._write_html, self.data.title))
        self.write()

    def __getstate__(self) -> dict:
        # A copy may go to another process, and writes there.
        WRITER.drain()
        return self.__dict__ | {"_owner": None}

    @property
    def due(self) -> bool:
        """Whether it is time to write again: a second after the last time, more where that takes long."""
        return time.monotonic() >= self._next_write

    def write(self) -> None:
        """Have ``data.js`` written, as it is by then."""
        now = time.monotonic()
        self._next_write = now + 1.0 if self.data.status == "running" else now
        self._later(partial(self._write_data, now))

    def flush(self) -> None:
        """Write what there is; returns when all of it is on the disk."""
        self.write()
        WRITER.drain()

    def show(self, key: str, step: int, pictures: list[tuple[Image.Image, str]]) -> None:
        """Have pictures with their captions written, and named in the history once they are there."""
        entries: list[dict] = []
        for index, (picture, caption) in enumerate(pictures):
            file = f"media/{safe_name(key)}-{step}-{index}.jpg"
            self._later(partial(self._write_picture, file, picture, caption, entries))
        self._later(lambda: self.data.galleries.setdefault(key, {}).__setitem__(step, entries))
        self.write()

    def discard_from(self, step: int) -> None:
        """Forget points and pictures from ``step`` on."""
        WRITER.drain()
        self.data.discard_from(step)
        self.write()

    def _find(self) -> None:
        (self._folder / "media").mkdir(parents=True, exist_ok=True)
        file = self._folder / "data.js"
        if not file.exists():
            return
        try:
            self.data = PageData.from_js(file.read_text("utf-8"))
        except ValueError as error:
            backup = file.with_name(f"data.unreadable-{time.strftime('%Y%m%d-%H%M%S')}.js")
            file.replace(backup)
            rank_zero_warn(f"The history in {file} is unreadable ({error}): the page starts anew, the old is {backup}.")

    def _write_html(self, title: str) -> None:
        write_atomically(self._folder / "index.html", render_page(title))

    def _write_data(self, requested: float) -> None:
        start = time.perf_counter()
        self.data.updated, self.data.elapsed = time.time(), requested - self._clock
        write_atomically(self._folder / "data.js", self.data.to_js().encode())
        # A history of millions of points takes long to write: never more than a twentieth of the time goes there.
        if self.data.status == "running":
            self._next_write = max(self._next_write, requested + 20 * (time.perf_counter() - start))

    def _write_picture(self, file: str, picture: Image.Image, caption: str, entries: list[dict]) -> None:
        jpeg = encode_jpeg(picture)
        about = {"caption": caption, "width": picture.width, "height": picture.height}
        write_atomically(self._folder / file, jpeg)
        entries.append({"file": file, "check": zlib.crc32(jpeg), **about})

    def _later(self, job: Callable[[], object]) -> None:
        self._owner = self._owner or os.getpid()
        if os.getpid() == self._owner:
            WRITER.put(partial(self._spared, job))
        else:
            self._warn(f"The page {self._folder} is written by the process that began it: a fork of it shows nothing.")

    def _spared(self, job: Callable[[], object]) -> None:
        try:
            job()
        except Exception as error:
            page = self._folder / "index.html"
            self._warn(f"The page {page} cannot be written ({error}); training goes on, writing is retried.")

    def _warn(self, sentence: str) -> None:
        if not self._warned:
            self._warned = True
            rank_zero_warn(sentence)


def render_page(title: str) -> bytes:
    """Render ``index.html``; its policy lets the browser run only this very script and load only files beside it."""
    script = read("charts.js") + read("page.js")
    hashes = {"style_hash": _policy_hash(read("page.css")), "script_hash": _policy_hash(script)}
    return render("page.html", title=title, script=Markup(script), **hashes)


def as_picture(image: Any, name: str) -> Image.Image:
    """Take a picture as RGB, with pixels of its own: whoever gave it may go on to change it.

    Args:
        image: uint8 array or tensor ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``, or a PIL image.
        name: What to call it when it is refused.

    Raises:
        DataError: When it has another form.
    """
    if not isinstance(image, Image.Image):
        array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        if array.dtype != np.uint8 or array.size == 0 or (array.ndim != 2 and array.shape[2:] not in {(3,), (4,)}):
            raise DataError(
                f"{name} must be uint8 of shape (H, W, 3), not {array.dtype} of shape {array.shape}: "
                "scale values to 0..255 and put the channels last."
            )
        image = Image.fromarray(array)
    return image.convert("RGB")


def safe_name(key: str) -> str:
    """Turn any text into a file name stem that no other text has, even where file systems ignore case."""
    stem = re.sub(r"[^a-z0-9_]+", "-", key.lower()).strip("-")[:60]
    if stem and stem.replace("-", "/") == key:
        return stem
    return f"{stem}-{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}".lstrip("-")


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
