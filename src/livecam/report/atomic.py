"""Files that are whole or not there: written aside, then renamed."""

import contextlib
import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, so that a reader or a kill never meets half a file.

    The file beside it has a fixed name: what a kill leaves behind is overwritten by the next write.

    Raises:
        OSError: When the disk refuses; ``path`` then still holds what it held before.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_bytes(content)
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
