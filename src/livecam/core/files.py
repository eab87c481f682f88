"""Files that are whole or not there: written aside, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, so that a reader or a kill never meets half a file.

    Raises:
        OSError: When the disk refuses; ``path`` then still holds what it held before.
    """
    with aside(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def aside(path: Path, durable: bool = False) -> Iterator[Path]:
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
