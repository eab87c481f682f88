"""Arrays that grow on disk and end up in one ``.npz``, however many images there are."""

import os
import shutil
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np


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
                aside = Path(self._folder.name, "whole.npz")
                with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=1) as archive:
                    for name in self._rows:
                        self._write(archive, name)
                os.replace(aside, self.path)

    def _write(self, archive: zipfile.ZipFile, name: str) -> None:
        kind, shape, count = self._rows[name]
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (count, *shape)}
        with archive.open(f"{name}.npy", "w", force_zip64=True) as target, open(self._part(name), "rb") as source:
            np.lib.format.write_array_header_2_0(target, header)
            shutil.copyfileobj(source, target, 1 << 20)

    def _part(self, name: str) -> Path:
        return Path(self._folder.name, str(list(self._rows).index(name) if name in self._rows else len(self._rows)))
