"""A training that goes on from a checkpoint is the one that was never interrupted, wherever that was written."""

import itertools
from pathlib import Path

import pytest
import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from torch import nn
from torch.utils.data import DataLoader

from livecam.callbacks import ExplanationGallery, ExplanationScores, Resumption
from livecam.data.planted import PlantedShapesData
from livecam.explain import CAM, GradCAM
from livecam.report.html.logger import HTMLLogger
from livecam.report.html.page_data import PageData
from livecam.training.classifier import Classifier

EPOCHS = 3


class Killed(Exception):
    pass


class Kill(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step >= self.step:
            raise Killed


class Rows(Logger):
    """Remembers steps, as a logger that can be wound back does."""

    name, version, save_dir = "rows", "", None

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.wound: list[int] = []

    def log_metrics(self, metrics, step=None):
        self.steps.append(step)

    def log_hyperparams(self, *_):
        pass

    def discard_from(self, step):
        self.wound.append(step)
        self.steps = [at for at in self.steps if at < step]


class Drawing(PlantedShapesData):
    """Shuffled training images under noise that is drawn anew each time."""

    def train_dataloader(self):
        loader = super().train_dataloader()

        def noisy(samples):
            batch = loader.collate_fn(samples)
            return batch | {"image": batch["image"] + 0.1 * torch.randn_like(batch["image"])}

        return DataLoader(loader.dataset, loader.batch_size, shuffle=True, collate_fn=noisy)


class Dropping(Classifier):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch | {"image": nn.functional.dropout(batch["image"], 0.2)}, batch_idx)


def fit(folder, logger=False, kill=None, checkpoint=None, saves=None, epochs=EPOCHS, callbacks=(), **settings):
    seed_everything(0, verbose=False)
    saving = ModelCheckpoint(folder, "last", enable_version_counter=False, **saves or {})
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=logger,
        callbacks=[Resumption(), *callbacks, saving, *([Kill(kill)] if kill else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **settings,
    )
    module = Dropping("unet", 4, model_args={"width": 4, "depth": 1})
    data = Drawing(image_size=32, train_length=40, val_length=12, batch_size=8)
    if kill:
        with pytest.raises(Killed):
            trainer.fit(module, datamodule=data)
    else:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    return trainer


def test_order_noise_and_dropout_are_what_they_would_have_been(tmp_path):
    never = fit(tmp_path / "never").lightning_module.state_dict()
    fit(tmp_path / "killed", kill=8)
    # Whatever the process drew before it went on.
    torch.rand(7)
    resumed = fit(tmp_path / "killed", checkpoint=tmp_path / "killed" / "last.ckpt").lightning_module.state_dict()
    assert all(torch.equal(value, never[key]) for key, value in resumed.items())


SAVES = {
    "each epoch": (8, {}, {}),
    "mid-epoch": (9, {"every_n_train_steps": 7}, {}),
    "the last batch": (8, {"every_n_train_steps": 5}, {}),
    "each of several validations": (9, {}, {"val_check_interval": 2}),
    "each epoch of gathered gradients": (5, {}, {"accumulate_grad_batches": 2}),
    "gathered gradients, mid-epoch": (6, {"every_n_train_steps": 4}, {"accumulate_grad_batches": 2}),
}


QUICK = ("each epoch", "mid-epoch")


@pytest.mark.parametrize("where", [pytest.param(w, marks=[] if w in QUICK else pytest.mark.slow) for w in SAVES])
def test_no_step_is_logged_twice_and_none_is_missing(tmp_path, where):
    kill, saves, settings = SAVES[where]
    never, rows = Rows(), Rows()
    fit(tmp_path / "never", never, saves=saves, **settings)
    fit(tmp_path, rows, kill=kill, saves=saves, **settings)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
    assert max(rows.steps) >= saved, "there is something to take back"
    fit(tmp_path, rows, checkpoint=tmp_path / "last.ckpt", saves=saves, **settings)
    assert rows.wound == [saved]
    assert sorted(rows.steps) == rows.steps and set(rows.steps) == set(never.steps)
    counted = {step: sum(1 for _ in each) for step, each in itertools.groupby(rows.steps)}
    for step, count in counted.items():
        # The row of an epoch's own means follows the checkpoint of its end, and may be missing.
        missing = never.steps.count(step) - count
        assert missing == 0 or (missing == 1 and step == saved - 1), step


def test_the_page_forgets_what_is_never_reached_again(tmp_path):
    def gallery():
        return [ExplanationGallery([GradCAM()], samples=2)]

    page = HTMLLogger(str(tmp_path), "page")
    fit(tmp_path, page, kill=14, callbacks=gallery())
    assert max(page._page.data.metrics["train/loss"]) == 12
    page = HTMLLogger(str(tmp_path), "page")
    fit(tmp_path, page, checkpoint=tmp_path / "last.ckpt", callbacks=gallery(), limit_train_batches=2)
    data = PageData.from_js(Path(page.log_dir, "data.js").read_text("ascii"))
    assert set(data.metrics["train/loss"]) == set(range(12)) and data.step == 11
    assert set(data.galleries["explanations/gallery"]) == {0, 4, 9, 11}


def test_a_validation_and_a_finished_training_take_nothing_back(tmp_path):
    rows = Rows()
    trainer = fit(tmp_path, rows, epochs=2)
    before = list(rows.steps)
    last = str(tmp_path / "last.ckpt")
    trainer.validate(trainer.lightning_module, datamodule=trainer.datamodule, ckpt_path=last, verbose=False)
    fit(tmp_path, rows, checkpoint=tmp_path / "last.ckpt", epochs=2)
    assert rows.wound == [] and rows.steps[: len(before)] == before


def test_a_method_more_keeps_the_samples_and_a_kill_in_validation_the_count(tmp_path):
    def watchers(*methods):
        return [ExplanationGallery(methods, samples=3, every_n_validations=2), ExplanationScores([GradCAM()])]

    first = watchers(GradCAM())
    # The third validation has begun.
    with pytest.raises(Killed):
        fit(tmp_path, callbacks=[*first, KillInValidation(2)])
    assert first[1]._validations == 2
    second = watchers(GradCAM(), CAM())
    fit(tmp_path, checkpoint=tmp_path / "last.ckpt", callbacks=second)
    assert second[0].indices == first[0].indices and len(first[0].indices) == 3
    assert second[1]._validations == EPOCHS


class KillInValidation(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_validation_batch_end(self, trainer, *_):
        if trainer.current_epoch == self.epoch:
            raise Killed
