"""A small foreign project: its own module, its own ``(images, labels)`` batches."""

import pytest
import torch
from foreign import ForeignModule
from lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset


@pytest.fixture
def foreign_module():
    torch.manual_seed(0)
    return ForeignModule()


@pytest.fixture
def shapes_module():
    """Makes a tiny classifier for planted shapes of 32 px."""
    from livecam.training.classifier import Classifier

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
    from livecam.report.html.logger import HTMLLogger

    return HTMLLogger(str(tmp_path / "runs"), "page")
