"""Files that are whole or not there: written aside, then renamed; pictures and arrays among them."""

import contextlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np
from PIL import Image


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, so that a reader or a kill never meets half a file.

    Raises:
        OSError: When the disk refuses; ``path`` then still holds what it held before.
    """
    with temporary_sibling(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def temporary_sibling(path: Path, durable: bool = False) -> Iterator[Path]:
    """Give a file beside ``path`` to write to, which takes its place in one step once it is written.

    It has a fixed name: what a kill leaves behind is overwritten by the next write.

    Args:
        path: The file in the end.
        durable: Whether it has to be on the disk before it takes the place, so that a loss of power finds the old file
            or the new one too. A kill needs no such wait, which takes up to seconds.

    Raises:
        OSError: When the disk refuses; ``path`` then still holds what it held before.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        if durable:
            # Open for writing, or Windows refuses.
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
        if durable:
            _flush_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _flush_folder(path: Path) -> None:
    # Windows opens no folders, and some network file systems do not flush them: the file is in its place all the same.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def encode_jpeg(picture: Image.Image) -> bytes:
    """Encode an RGB picture.

    Quality 92 without chroma subsampling: on strips of photos this is far smaller and quicker than PNG
    (``benchmarks/pictures.py``), and the colors of a heat map keep their edges.
    """
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=92, subsampling=0)
    return jpeg.getvalue()


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture in one step.

    Args:
        path: File; its folder is there.
        picture: uint8 array ``(H, W, 3)``.
    """
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    write_atomically(path, content.getvalue())


class ArrayFile:
    """Collects rows of named arrays and writes them as one ``.npz`` when the ``with`` block ends well.

    Memory is bounded by one batch: rows wait in files beside the target.

    Args:
        path: The ``.npz`` to write; an older one stays until the new one is whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, tuple[np.dtype, tuple[int, ...], int]] = {}

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(dir=self.path.parent, prefix=".rows-")
        return self

    def append(self, name: str, rows: np.ndarray) -> None:
        """Add rows ``(n, ...)`` to the array ``name``; their other dimensions stay the same over a file."""
        rows = np.ascontiguousarray(rows)
        kind, shape, count = self._rows.get(name, (rows.dtype, rows.shape[1:], 0))
        if (rows.dtype, rows.shape[1:]) != (kind, shape):
            raise ValueError(f"Rows of {name!r} changed from {kind}{shape} to {rows.dtype}{rows.shape[1:]}.")
        with open(self._part(name), "ab") as file:
            rows.tofile(file)
        self._rows[name] = (kind, shape, count + len(rows))

    def __exit__(self, kind: type | None, *_: object) -> None:
        with self._folder:
            if kind is None:
                whole = Path(self._folder.name, "whole.npz")
                with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=1) as archive:
                    for name in self._rows:
                        self._write(archive, name)
                os.replace(whole, self.path)

    def _write(self, archive: zipfile.ZipFile, name: str) -> None:
        kind, shape, count = self._rows[name]
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (count, *shape)}
        with archive.open(f"{name}.npy", "w", force_zip64=True) as target, open(self._part(name), "rb") as source:
            np.lib.format.write_array_header_2_0(target, header)
            shutil.copyfileobj(source, target, 1 << 20)

    def _part(self, name: str) -> Path:
        return Path(self._folder.name, str(list(self._rows).index(name) if name in self._rows else len(self._rows)))
