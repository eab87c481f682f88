"""SplitData: one loader for each part of a divided data set."""

from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, default_collate

from livecam.core.errors import OptionError
from livecam.core.normalization import Normalization


class SplitData(LightningDataModule):
    """Data as training, validation and test sets.

    A subclass sets ``sets``, by name (``train``, ``val``, ``test``), ``batch_size`` and ``num_workers``. Testing and
    prediction use the test set, or the validation set where there is none.

    Args:
        normalization: Of the images that the sets give.
    """

    head = "softmax"
    sets: dict[str, Any]
    batch_size: int
    num_workers: int

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        self.normalization = normalization
        self.mean, self.std = list(normalization.mean), list(normalization.std)

    def train_dataloader(self) -> DataLoader:
        """Augmented training batches, shuffled.

        Raises:
            OptionError: When the data have no training set.
        """
        if "train" not in self.sets:
            raise OptionError(
                f"{type(self).__name__} found nothing to train on in {self.sets['val'].root}: these data are for "
                "validation and for explain.py."
            )
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Validation batches, in the order of the set."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader:
        """Test batches, in the order of the set."""
        return self._loader("test" if "test" in self.sets else "val")

    def predict_dataloader(self) -> DataLoader:
        """The same batches as for testing."""
        return self.test_dataloader()

    def _loader(self, part: str, shuffle: bool = False) -> DataLoader:
        return DataLoader(
            self.sets[part],
            self.batch_size,
            shuffle=shuffle,
            num_workers=self.num_workers,
            collate_fn=getattr(self.sets[part], "collate", default_collate),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )
