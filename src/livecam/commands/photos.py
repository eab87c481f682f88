"""Photos named on a command line: files, and all images in folders."""

import os
from collections.abc import Iterable
from pathlib import Path

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}


def find_photos(paths: Iterable[str]) -> list[Path]:
    """List photos in a stable order, each once.

    Args:
        paths: Files, taken as they are, and folders, searched for images with usual endings.

    Raises:
        FileNotFoundError: When a path does not exist.
        ValueError: When there is no image at all.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = (Path(folder, file) for folder, _, files in os.walk(path) for file in files)
            found |= dict.fromkeys(sorted(file for file in inside if file.suffix.lower() in ENDINGS))
        elif path.exists():
            found[path] = None
        else:
            raise FileNotFoundError(f"There is no file or folder {path}.")
    if not found:
        raise ValueError(f"No images found: folders are searched for {', '.join(sorted(ENDINGS))}.")
    return list(found)


def stems(photos: Iterable[Path]) -> list[str]:
    """A short file name stem for each photo, unique among them and safe on any file system."""
    seen: dict[str, int] = {}
    result = []
    for photo in photos:
        stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in photo.stem)[:80] or "photo"
        number = seen[stem.lower()] = seen.get(stem.lower(), 0) + 1
        result.append(stem if number == 1 else f"{stem}~{number}")
    return result
