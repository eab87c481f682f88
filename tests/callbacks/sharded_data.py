"""What test_sharded.py and its ranks share: images with uneven numbers of categories, a network, and its watchers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from lightning import LightningDataModule
from torch import distributed
from torch.utils.data import DataLoader, Dataset, default_collate

from livecam.callbacks import ExplanationGallery, ExplanationScores, FeatureMapGallery
from livecam.core.normalization import IMAGENET
from livecam.explain import RISE, GradCAM, Occlusion
from livecam.metrics import EnergyInMask, InsertionDeletion
from livecam.training.classifier import Classifier

LIVE = ["gradcam", "cam", "layercam", "saliency"]
METHODS = [
    *LIVE,
    *("gradcam_pp", "xgradcam", "scorecam", "smooth_gradcam_pp", "gradual_gradcam"),
    *("guided_backprop", "integrated_gradients", "excitation_backprop", Occlusion(8, 8), RISE(8)),
]


class Images(Dataset):
    """Every second image has three categories, the others have one: two ranks have to explain unequal numbers."""

    def __init__(self, length: int) -> None:
        self.images = torch.randn(length, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        own = [0, 1, 2] if index % 2 == 0 else [index % 3]
        label = torch.zeros(3)
        label[own] = 1
        return {"image": self.images[index], "label": label, "index": index, "own": own}

    @staticmethod
    def collate(samples: Sequence[dict]) -> dict:
        pairs = [(place, category) for place, sample in enumerate(samples) for category in sample["own"]]
        masks = torch.zeros(len(pairs), 32, 32, dtype=torch.bool)
        for row, (_, category) in enumerate(pairs):
            masks[row, 8 * category : 8 * category + 12, 4:20] = True
        places, categories = torch.tensor(pairs).T
        batch = default_collate([{key: sample[key] for key in ("image", "label", "index")} for sample in samples])
        return batch | {"pairs": (places, categories, masks)}


class Uneven(LightningDataModule):
    normalization = IMAGENET

    def train_dataloader(self) -> DataLoader:
        return DataLoader(Images(16), 2, shuffle=True, collate_fn=Images.collate)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Images(9), 2, collate_fn=Images.collate)


@dataclass(frozen=True)
class Halves(GradCAM):
    """Grad-CAM that fails on the second rank, in the midst of a further pass."""

    method: ClassVar[str] = "halves"

    def explain(self, recording):
        if distributed.is_initialized() and distributed.get_rank():
            layer = recording.layer(recording.structure.target_layer)
            handle = layer.register_forward_hook(lambda *_: 1 / 0)
            try:
                recording.score(recording.images, torch.arange(len(recording.images)))
            finally:
                handle.remove()
        return super().explain(recording)


class Counted(Classifier):
    passes = 0

    def forward(self, images):
        self.passes += 1
        return super().forward(images)


def classifier() -> Counted:
    return Counted("unet", 3, "multilabel", model_args={"width": 4, "depth": 2}, image_size=32, lr=0.01)


def watching(*further) -> list:
    asked = [*LIVE, *further]
    return [
        ExplanationScores(asked, [EnergyInMask(), InsertionDeletion(step=512)]),
        ExplanationGallery(asked, samples=3, target="label"),
        FeatureMapGallery(samples=2),
    ]
