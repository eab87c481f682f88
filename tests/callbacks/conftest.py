"""A small foreign project: its own module, its own ``(images, labels)`` batches."""

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class ForeignModule(LightningModule):
    """Somebody else's classifier: knows nothing of livecam; has dropout, batch norm and in-place ReLUs."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.2)
        )
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True))
        self.fc = nn.Linear(8, classes)
        self.losses: list[float] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.block(self.features(images)).mean((2, 3)))

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.losses.append(loss.item())
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


@pytest.fixture
def foreign_module():
    torch.manual_seed(0)
    return ForeignModule()


@pytest.fixture
def shapes_module():
    """Makes a tiny classifier for planted shapes of 32 px."""
    from livecam.classifier import Classifier

    def make(**kw) -> Classifier:
        torch.manual_seed(0)
        return Classifier("unet", 4, model_args={"width": 4, "depth": 1}, **kw)

    return make


@pytest.fixture
def foreign_loader():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(24, 3, 20, 20, generator=generator)
    labels = torch.arange(24) % 3

    def loader(shuffle: bool = False) -> DataLoader:
        return DataLoader(TensorDataset(images, labels), 6, shuffle=shuffle)

    return loader


@pytest.fixture
def make_trainer(tmp_path):
    def make(**kw) -> Trainer:
        settings = {
            "max_epochs": 2,
            "accelerator": "cpu",
            "devices": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "log_every_n_steps": 1,
            "default_root_dir": str(tmp_path),
            "logger": False,
        }
        return Trainer(**settings | kw)

    return make


@pytest.fixture
def picture_logger(tmp_path):
    from livecam.report.html_logger import HTMLLogger

    return HTMLLogger(str(tmp_path / "runs"), "page")
