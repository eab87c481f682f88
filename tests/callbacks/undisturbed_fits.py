"""Fits of one small network under many circumstances, watched or not, and all that may differ between two of them."""

import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, Dataset

from livecam.callbacks import ExplanationGallery, ExplanationScores, FeatureMapGallery, LoaderWatch
from livecam.explain import RISE, IntegratedGradients, SmoothGradCAMPlusPlus, by_names
from livecam.metrics import InsertionDeletion, Sharpness
from livecam.report.html.logger import HTMLLogger

METHODS = {
    "layercam": "layercam",
    "gradcam": "gradcam",
    "gradcam_pp": "gradcam_pp",
    "scorecam": "scorecam",
    "saliency": "saliency",
    "guided_backprop": "guided_backprop",
    "excitation_backprop": "excitation_backprop",
    "smooth_gradcam_pp": SmoothGradCAMPlusPlus(num_samples=2),
    "integrated_gradients": IntegratedGradients(2),
    "rise": RISE(4),
    "gradual_gradcam": "gradual_gradcam",
}

CIRCUMSTANCES = st.fixed_dictionaries(
    {
        "dropout": st.sampled_from([0.0, 0.3]),
        "dropout_in_eval": st.booleans(),
        "batch_norm": st.booleans(),
        "inplace": st.booleans(),
        "classes": st.sampled_from([1, 3]),
        "accumulate": st.integers(1, 3),
        "check_every": st.sampled_from([None, 1, 3]),
        "sanity_steps": st.sampled_from([0, 1]),
        "compiled": st.sampled_from([None, None, "in place", "wrapped"]),
        "precision": st.sampled_from(["32-true", "bf16-mixed", "64-true"]),
        "averaged": st.booleans(),
        "checkpoints": st.booleans(),
        "clip": st.sampled_from([None, 0.5]),
        "momentum": st.booleans(),
        "random_crops": st.booleans(),
        "methods": st.lists(st.sampled_from(sorted(METHODS)), min_size=1, max_size=3, unique=True),
        "target": st.sampled_from(["label", "predicted"]),
    }
)

EVERYTHING = {
    "dropout": 0.3,
    "dropout_in_eval": True,
    "batch_norm": True,
    "inplace": True,
    "classes": 3,
    "accumulate": 3,
    "check_every": 1,
    "sanity_steps": 1,
    "compiled": "wrapped",
    "precision": "bf16-mixed",
    "averaged": True,
    "checkpoints": True,
    "clip": 0.5,
    "momentum": False,
    "random_crops": True,
    "methods": list(METHODS),
    "target": "predicted",
}


class Noisy(Dataset):
    """Images and labels; crops draw from all three generators, as transforms of other people do."""

    def __init__(self, length: int, classes: int, random_crops: bool) -> None:
        self.images = torch.randn(length, 3, 18, 18, generator=torch.Generator().manual_seed(0))
        self.targets = torch.arange(length) % max(classes, 2)
        self.random_crops = random_crops

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        draws = int(torch.randint(3, ())), random.randrange(2), float(np.random.rand())
        top, left = draws[:2] if self.random_crops else (0, 0)
        return self.images[index, :, top : top + 16, left : left + 16] + draws[2] / 10, self.targets[index]


class Net(nn.Module):
    """Convolutions with what the circumstances ask for, global average pooling, a linear layer."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__()
        norm = [nn.BatchNorm2d(6)] if given["batch_norm"] else []
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), *norm, nn.ReLU(given["inplace"]), nn.MaxPool2d(2))
        self.drop = nn.Dropout(given["dropout"])
        self.block = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(given["inplace"]))
        self.fc = nn.Linear(6, given["classes"])
        self.dropout_in_eval = given["dropout_in_eval"]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = self.block(self.drop(self.stem(images))).mean((2, 3))
        return self.fc(F.dropout(pooled, 0.2, training=True) if self.dropout_in_eval else pooled)


class Module(LightningModule):
    """Somebody's classifier."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__()
        self.net, self.given = Net(given), given
        if given["compiled"] == "wrapped":
            self.net = torch.compile(self.net, backend=given.get("backend", "eager"))
        elif given["compiled"]:
            self.net.compile(backend=given.get("backend", "eager"))
        self.seen: list[Any] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        logits = self(images)
        if logits.shape[1] == 1:
            loss = F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype))
        else:
            loss = F.cross_entropy(logits, labels)
        self.seen.append(loss.detach().clone())
        return loss

    def validation_step(self, batch, batch_idx):
        self.seen.append(self(batch[0]).detach().clone())

    def configure_optimizers(self):
        if self.given["momentum"]:
            return torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)
        return torch.optim.AdamW(self.parameters(), 0.01)


class States(Callback):
    """Notes the random states, the modes and the gradients wherever training goes on."""

    def _note(self, trainer, module, *_):
        states = torch.get_rng_state(), np.random.get_state()[1:], random.getstate()
        gradients = [parameter.grad for parameter in module.parameters()]
        gradients = [gradient if gradient is None else gradient.clone() for gradient in gradients]
        module.seen.append((states, gradients, [each.training for each in module.modules()]))

    on_train_batch_start = on_validation_end = on_train_epoch_end = on_train_end = _note


def watchers(given: dict[str, Any]) -> list[Callback]:
    # Its rule needs the same answer twice, which dropout that stays on does not give.
    barred = {"excitation_backprop"} if given["dropout_in_eval"] else set()
    methods = by_names([METHODS[name] for name in given["methods"] if name not in barred] or ["gradcam"])
    return [
        ExplanationGallery(methods, samples=3, target=given["target"], strict=True),
        FeatureMapGallery(samples=2, strict=True),
        ExplanationScores(
            methods, [Sharpness(), InsertionDeletion(step=128)], target=given["target"], batches=1, strict=True
        ),
        LoaderWatch(),
    ]


def fit(given: dict[str, Any], watched: bool, folder: str, **settings: Any) -> dict[str, Any]:
    """Train for two epochs and tell all that a training leaves: losses, weights, states, what lies in a checkpoint.

    Of the trainer, ``settings`` are others than one device and the local page.
    """
    seed_everything(3, verbose=False)
    module = Module(given)
    callbacks: list[Callback] = [States()]
    # Behind the averaging, where the gallery would see the weights that training goes on with.
    callbacks += [EMAWeightAveraging(decay=0.8)] if given["averaged"] else []
    callbacks += watchers(given) if watched else []
    callbacks += [ModelCheckpoint(f"{folder}/checkpoints", save_top_k=-1, filename="{step}")] * given["checkpoints"]
    usual = {"max_epochs": 2, "devices": 1, "logger": HTMLLogger(folder, "page") if watched else False}
    trainer = Trainer(
        **usual | settings,
        accelerator="cpu",
        callbacks=callbacks,
        accumulate_grad_batches=given["accumulate"],
        val_check_interval=given["check_every"],
        num_sanity_val_steps=given["sanity_steps"],
        precision=given["precision"],
        gradient_clip_val=given["clip"],
        enable_checkpointing=given["checkpoints"],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    sets = [Noisy(length, given["classes"], given["random_crops"]) for length in (12, 8)]
    trainer.fit(module, DataLoader(sets[0], 4, shuffle=True), DataLoader(sets[1], 4))
    left = {
        "seen": module.seen,
        "weights": module.state_dict(),
        "optimizer": trainer.optimizers[0].state_dict(),
        "wanted": [parameter.requires_grad for parameter in module.parameters()],
        "hooks": [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in module.modules()],
        "next": (torch.rand(2), np.random.rand(2), random.random()),
    }
    if given["checkpoints"]:
        saved = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
        left["checkpoint"] = {key: saved[key] for key in ("state_dict", "optimizer_states", "loops", "global_step")}
        left["averages"] = saved.get("current_model_state")
    return left
