"""PhotoData: what every data module of photos on disk shares; a subclass only says which files there are."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from livecam.core.normalization import IMAGENET, Normalization
from livecam.core.text import printable
from livecam.data.photo_dataset import Photo, PhotoDataset
from livecam.data.split_datamodule import SplitData
from livecam.data.transforms import ResizeMode, eval_transform, train_transform


@dataclass(frozen=True)
class FileIndex:
    """What a data set consists of.

    Args:
        classes: Class names in the order of labels.
        train: Photos to train on; None where the set has no such part.
        val: Photos to validate on.
        test: Photos to test on; None where the set has no such part.
    """

    classes: list[str]
    train: Sequence[Photo] | None
    val: Sequence[Photo]
    test: Sequence[Photo] | None = None


class PhotoData(SplitData, ABC):
    """Photos as training, validation and test sets; the files are listed, and problems reported, at construction.

    Batches are dicts as :class:`livecam.core.batch.Batch` describes them. Testing and prediction use the test part, or
    the validation part where there is none.

    Args:
        root: Folder of the data set.
        image_size: Side of the model input in pixels.
        batch_size: Images per batch.
        num_workers: Loader processes; None takes one per CPU core, at most 4.
        mean: Channel means for normalization, in pixel units ([0, 1]).
        std: Channel standard deviations, likewise.
        resize: ``crop`` (shorter side, then center) or ``stretch`` (the whole photo) for validation.
        augmentation: Strength of training augmentation, 0 (none) to 1.
        val_fraction: Share of each class that is held out, where the files do not say it themselves.
        seed: Seed of that division.
        max_unreadable: Most unreadable files in each part before training stops; None: the larger of 10 and 1 %.

    Raises:
        FileNotFoundError: When the root, or a folder that belongs there, is missing.
        OptionError: When the files do not make a data set, or an argument is out of range; the message says why.
    """

    dataset: ClassVar[type[PhotoDataset]] = PhotoDataset

    def __init__(
        self,
        root: str,
        image_size: int = 224,
        batch_size: int = 32,
        num_workers: int | None = None,
        mean: Sequence[float] = IMAGENET.mean,
        std: Sequence[float] = IMAGENET.std,
        resize: ResizeMode = "crop",
        augmentation: float = 1.0,
        val_fraction: float = 0.2,
        seed: int = 0,
        max_unreadable: int | None = None,
    ) -> None:
        super().__init__(Normalization(tuple(mean), tuple(std)))
        self.image_size, self.resize = image_size, resize
        self.batch_size = batch_size
        self.num_workers = min(4, os.cpu_count() or 1) if num_workers is None else num_workers
        self.val_fraction, self.seed = val_fraction, seed
        augmented = train_transform(image_size, self.normalization, resize, augmentation)
        prepared = eval_transform(image_size, self.normalization, resize)

        root = os.path.realpath(os.path.expanduser(root))
        file_index = self.find(root)
        parts = {"train": file_index.train, "val": file_index.val, "test": file_index.test}
        # Folders and annotations may call a class anything; from here on names go to pages, pictures and terminals.
        self.class_names = [printable(name) for name in file_index.classes]
        self.num_classes = len(self.class_names)
        self.sets = {
            name: self.dataset(
                root,
                photos,
                self.class_names,
                augmented if name == "train" else prepared,
                any(photo.annotated for photo in photos),
                max_unreadable,
            )
            for name, photos in parts.items()
            if photos is not None
        }

    @abstractmethod
    def find(self, root: str) -> FileIndex:
        """List the files below an absolute, resolved root; raises where they do not make a data set."""

    @property
    def unreadable(self) -> int:
        """Number of distinct files that could not be read so far, over all parts and loader processes."""
        return sum(len(part.unreadable_files) for part in self.sets.values())
