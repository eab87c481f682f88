"""Photos named on a command line: files, and all images in folders."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from livecam.data.image_io import SUFFIXES, has_image_suffix, is_hidden


def find_photos(paths: Iterable[str]) -> list[Path]:
    """List photos in a stable order, each once.

    Args:
        paths: Files, taken as they are, and folders, searched for the images that a training would find in them.

    Raises:
        FileNotFoundError: When a path does not exist.
        ValueError: When there is no image at all.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            found |= dict.fromkeys(sorted(_photos_in(path)))
        elif path.exists():
            found[path] = None
        else:
            raise FileNotFoundError(f"There is no file or folder {path}.")
    if not found:
        raise ValueError(f"No images found: folders are searched for {', '.join(SUFFIXES)}.")
    return list(found)


def _photos_in(root: Path) -> Iterator[Path]:
    """Photos below a folder, without hidden files and folders."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        yield from (Path(folder, name) for name in files if has_image_suffix(name) and not is_hidden(name))


def stems(photos: Iterable[Path]) -> list[str]:
    """A short file name stem for each photo, unique among them and safe on any file system."""
    seen: dict[str, int] = {}
    result = []
    for photo in photos:
        stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in photo.stem)[:80] or "photo"
        number = seen[stem.lower()] = seen.get(stem.lower(), 0) + 1
        result.append(stem if number == 1 else f"{stem}~{number}")
    return result
