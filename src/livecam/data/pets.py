"""OxfordPets: photos of 37 breeds of cats and dogs, with the animal marked pixel by pixel."""

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torchvision.datasets import OxfordIIITPet
from torchvision.transforms.v2 import functional as F

from livecam.core.errors import DataError, MissingFileError
from livecam.core.text import printable
from livecam.data.annotation_files import malformed
from livecam.data.folder import check_inside, check_root, report_missing
from livecam.data.image_io import opened
from livecam.data.photo_datamodule import FileIndex, PhotoData
from livecam.data.photo_dataset import NoMaskError, Photo, PhotoDataset, check_copy, some
from livecam.data.splits import stratified_split

logger = logging.getLogger(__name__)

_FOLDER = "oxford-iiit-pet"
_PET, _BACKGROUND, _BORDER = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Pet(Photo):
    """A photo whose object is drawn in a trimap.

    Args:
        trimap: Path of the PNG below the data set's root; None: there is none.
    """

    trimap: str | None = None

    @property
    def annotated(self) -> bool:
        """Whether there is a trimap."""
        return self.trimap is not None


class PetDataset(PhotoDataset):
    """Photos with masks from trimaps: the pet and its border, 1 and 3, against the background, 2.

    The border is a band of some pixels on either side of the outline that its makers left undecided; fur and ears lie
    in it, and evidence on an outline is evidence on the pet. segmentation_models.pytorch's example takes it likewise.
    """

    def load_mask(self, photo: Pet, width: int, height: int) -> Tensor:
        """Read the trimap; one that is missing by now, broken, or of another photo costs this mask alone."""
        try:
            with opened(self.root / photo.trimap, ("PNG",)) as (_, image):
                if image.mode not in ("L", "P"):
                    raise DataError(f"it should have one channel of 8 bits, not mode {image.mode}")
                marks = torch.from_numpy(np.array(image))
            if marks.min() < _PET or marks.max() > _BORDER:
                raise DataError("it should hold 1 (pet), 2 (background) and 3 (border), and nothing else")
            check_copy(self.root / photo.path, (marks.shape[1], marks.shape[0]), (width, height))
        except Exception as error:  # Pillow's decoders raise over a dozen types on corrupt data.
            why = f"The trimap of {photo.path} cannot be used ({str(error).rstrip('.')})"
            raise NoMaskError(printable(why)) from error
        if marks.shape != (height, width):
            # The photos are a smaller or larger copy.
            marks = F.resize(marks[None], [height, width], F.InterpolationMode.NEAREST_EXACT)[0]
        return marks != _BACKGROUND


class OxfordPets(PhotoData):
    """The Oxford-IIIT Pet data: ``root/oxford-iiit-pet`` as torchvision lays it out, or that folder itself.

    It holds ``images/*.jpg``, ``annotations/trainval.txt``, ``annotations/test.txt`` and ``annotations/trimaps/*.png``.
    Training takes trainval without ``val_fraction`` of each class, which is for validation; testing takes the official
    test part. Photos whose trimap is missing or unusable count as not annotated.

    Args:
        root: Folder to read from, or to download to.
        download: Get the data (800 MB) where they are missing. Of several processes the first one does and the others
            wait: files are listed at construction, before Lightning's ``prepare_data``.
        allow_incomplete: Leave out photos that the lists name but that are not there, instead of refusing the data.
        **kwargs: See :class:`livecam.data.photo_datamodule.PhotoData`.
    """

    dataset = PetDataset

    def __init__(self, root: str, download: bool = False, allow_incomplete: bool = False, **kwargs: Any) -> None:
        self._download, self._allow_incomplete = download, allow_incomplete
        super().__init__(root, **kwargs)

    def find(self, root: str) -> FileIndex:
        """List the photos of the official parts, and divide the first."""
        if self._download:
            _download(root)
        check_root(root, f"{_FOLDER}/, or add --data.download true to get the data")
        base = "" if _complete(root) else f"{_FOLDER}/"
        if not _complete(os.path.join(root, base)):
            raise MissingFileError(
                f"{os.path.join(root, _FOLDER)} should hold images/, annotations/trainval.txt and annotations/test.txt "
                "of the Oxford-IIIT Pet data, but it does not: add --data.download true to get them, or give the "
                f"folder that holds {_FOLDER}/ as root."
            )
        photos, trimaps = (_names(root, f"{base}{part}") for part in ("images", "annotations/trimaps"))
        names: dict[int, str] = {}
        lists, absent, listed = [], [], set()
        for part in ("trainval", "test"):
            path = os.path.join(root, base, "annotations", f"{part}.txt")
            check_inside(path, root)
            lists.append([])
            for name, label in _read(path, names, listed):
                if f"{name}.jpg" not in photos:
                    absent.append(f"{name}.jpg")
                    continue
                trimap = f"{base}annotations/trimaps/{name}.png" if f"{name}.png" in trimaps else None
                lists[-1].append(Pet(f"{base}images/{name}.jpg", label, trimap=trimap))
        if absent:
            findings = [f"{len(absent)} of {len(listed)} photos are not in images/, such as {some(sorted(absent), 3)}"]
            report_missing(root, findings, self._allow_incomplete)
        if without := [pet.path for part in lists for pet in part if not pet.annotated]:
            logger.warning("%d photos have no trimap and count as not annotated: %s.", len(without), some(without))
        classes = [names.get(index) for index in range(max(names) + 1)]
        if None in classes:
            raise DataError(f"No photo listed in {root} has class {classes.index(None) + 1}: classes count from 1.")
        train, val = stratified_split(lists[0], classes, self.val_fraction, self.seed)
        return FileIndex(classes, train, val, lists[1] or None)


def _complete(folder: str) -> bool:
    needed = ("images", "annotations/trainval.txt", "annotations/test.txt")
    return all(os.path.exists(os.path.join(folder, path)) for path in needed)


def _names(root: str, folder: str) -> set[str]:
    """Files in a folder, none of which leaves the root; empty where there is no folder."""
    path = os.path.join(root, folder)
    if not os.path.isdir(path):
        return set()
    check_inside(path, root)
    entries = list(os.scandir(path))
    for entry in entries:
        if entry.is_symlink():
            check_inside(entry.path, root)
    return {entry.name for entry in entries}


def _read(path: str, names: dict[int, str], listed: set[str]) -> Iterator[tuple[str, int]]:
    """Photos of one list with their labels, from lines such as ``english_setter_12 13 2 8`` (name, class from 1, …).

    Args:
        path: The list.
        names: Class names found so far, which this adds to; written as torchvision does.
        listed: Photos that were listed before, which this adds to.

    Raises:
        DataError: When it is malformed.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [(number, line.split()) for number, line in enumerate(file, 1) if line.strip()]
    if not lines:
        raise malformed(path, "it lists no photo")
    for number, words in lines:
        name = words[0]
        breed = " ".join(part.title() for part in name.rpartition("_")[0].split("_"))
        if (
            len(words) != 4
            or not all(word.isdecimal() for word in words[1:])
            or not breed
            or os.path.basename(name) != name
        ):
            raise malformed(path, f"line {number} should read like 'english_setter_12 13 2 8'")
        label = int(words[1]) - 1
        if not 0 <= label < 37:
            raise malformed(path, f"line {number} gives class {words[1]}, but there are classes 1 to 37")
        if names.setdefault(label, breed) != breed:
            raise malformed(path, f"line {number} gives {breed} class {words[1]}, which is {names[label]} elsewhere")
        if name in listed:
            raise malformed(path, f"line {number} lists {name}, which is listed before, here or in the other part")
        listed.add(name)
        yield name, label


def _download(root: str) -> None:
    """Let torchvision download and unpack into a folder aside, which is renamed when it is whole.

    Raises:
        MissingFileError: When that fails.
    """
    done = os.path.join(root, _FOLDER)
    if _complete(root) or _complete(done):
        return
    unfinished = os.path.join(root, ".download")
    try:
        os.makedirs(unfinished, exist_ok=True)
        # Not Lightning's rank: started by torchrun or Slurm, no process knows the others yet.
        with FileLock(os.path.join(unfinished, "lock")):
            if _complete(done):
                return
            if os.path.isdir(done) and os.listdir(done):
                raise FileExistsError(f"{done} is not complete: remove or rename it")
            for part in ("images", "annotations"):
                # Unpacked by half: torchvision would take it for all. Archives that are whole are not fetched again.
                shutil.rmtree(os.path.join(unfinished, _FOLDER, part), ignore_errors=True)
            OxfordIIITPet(unfinished, download=True)
            os.replace(os.path.join(unfinished, _FOLDER), done)
    except FileExistsError as error:
        raise MissingFileError(f"{error}, and the data are downloaded anew.") from error
    except (OSError, RuntimeError) as error:
        raise MissingFileError(
            f"The Oxford-IIIT Pet data could not be downloaded to {root} ({str(error).splitlines()[0].rstrip('.')}): "
            "check the connection, or unpack images.tar.gz and annotations.tar.gz from "
            f"https://www.robots.ox.ac.uk/~vgg/data/pets/ in {done}."
        ) from error
