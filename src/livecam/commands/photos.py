"""Photos read once for all networks, each of which sees them in its own way."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from livecam.core.errors import MissingFileError, OptionError
from livecam.data.image_io import SUFFIXES, UnreadableImageError, has_image_suffix, is_hidden, read_image
from livecam.evaluation.loaded_network import Network
from livecam.runtime.progress import progress

# Longer side in pixels at which photos are kept to be shown: a batch of them as cameras make them would fill memory.
_SHOWN = 768


@dataclass(kw_only=True)
class PhotoOptions:
    """Options of commands that take photos.

    Args:
        paths: Photos, or folders of photos.
        out: Folder to write to.
        batch_size: Photos per pass.
        device: Where to compute; the accelerator by default, where there is one.
    """

    paths: list[str]
    out: str
    batch_size: int = 8
    device: str | None = None


@dataclass
class Photo:
    """A photo that could be read.

    Args:
        path: Where it lies.
        stem: Unique stem of the names of its files.
        picture: Its pixels for people, RGB, at most 768 on a side.
        inputs: Its pixels for each network, model input ``(3, S, S)``.
    """

    path: Path
    stem: str
    picture: Image.Image
    inputs: list[Tensor]


def read_photos(photos: Iterable[tuple[Path, str]], networks: Sequence[Network]) -> list[Photo]:
    """Read photos for networks; those that cannot be read are named on standard error.

    Args:
        photos: Path, and stem of the names of its files.
        networks: In the order of :attr:`Photo.inputs`.
    """
    read = []
    for path, stem in photos:
        try:
            picture = read_image(path)
        except UnreadableImageError as error:
            print(f"skipped: {error}", file=sys.stderr)
            continue
        inputs = [network.prepare(picture) for network in networks]
        picture.thumbnail((_SHOWN, _SHOWN))
        read.append(Photo(path, stem, picture, inputs))
    return read


def photo_batches(label: str, photos: Sequence[Path], networks: Sequence[Network], size: int) -> Iterator[list[Photo]]:
    """Read photos batch by batch, under a progress bar; no batch is empty.

    Args:
        label: What is done with them, for people.
        photos: Which ones; the stems of their files are unique among them.
        networks: In the order of :attr:`Photo.inputs`.
        size: Photos per batch, fewer where some cannot be read.

    Raises:
        OptionError: At the end, when none could be read.
    """
    any_read = False
    for batch in progress(label, list(zip(photos, stems(photos))), size):
        if read := read_photos(batch, networks):
            any_read = True
            yield read
    if not any_read:
        raise OptionError(f"None of the {len(photos)} photos could be read.")


def inputs_of(photos: Sequence[Photo], network: Network, number: int = 0) -> Tensor:
    """Photos as a batch for a network, on its device: ``(N, 3, S, S)``.

    Args:
        photos: At least one.
        network: What reads them.
        number: Its place among the networks that they were read for.
    """
    return torch.stack([photo.inputs[number] for photo in photos]).to(next(network.model.parameters()).device)


def find_photos(paths: Iterable[str]) -> list[Path]:
    """List photos in a stable order, each once.

    Args:
        paths: Files, taken as they are, and folders, searched for the images that a training would find in them.

    Raises:
        MissingFileError: When a path does not exist.
        OptionError: When there is no image at all.
    """
    photos: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            photos |= dict.fromkeys(sorted(_photos_in(path)))
        elif path.exists():
            photos[path] = None
        else:
            raise MissingFileError(f"There is no file or folder {path}.")
    if not photos:
        raise OptionError(f"No images found: folders are searched for {', '.join(SUFFIXES)}.")
    return list(photos)


def _photos_in(root: Path) -> Iterator[Path]:
    """Photos below a folder, without hidden files and folders."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        yield from (Path(folder, name) for name in files if has_image_suffix(name) and not is_hidden(name))


def stems(photos: Iterable[Path]) -> list[str]:
    """A short file name stem for each photo, unique among them and safe on any file system."""
    counts: dict[str, int] = {}
    result = []
    for photo in photos:
        stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in photo.stem)[:80] or "photo"
        number = counts[stem.lower()] = counts.get(stem.lower(), 0) + 1
        result.append(stem if number == 1 else f"{stem}~{number}")
    return result
