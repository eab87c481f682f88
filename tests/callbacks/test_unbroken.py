"""Whatever fails in watching is told once, with its traceback, and left out; the training goes on to its end."""

import logging

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers.logger import DummyLogger
from torch.utils.data import DataLoader, Subset
from undisturbed_fits import States

from livecam.callbacks import ExplanationGallery, ExplanationScores, FeatureMapGallery
from livecam.cli import _speak
from livecam.data import PlantedShapesData
from livecam.explain import CAM, GradCAM
from livecam.explain.explainer import Explainer
from livecam.metrics import LocalizationScore, Sharpness
from livecam.report.html.logger import HTMLLogger


class Dark(Explainer):
    """Grad-CAM with NaN for some images, or one infinite pixel."""

    method, label = "dark", "Dark"

    def __init__(self, wrong=lambda place: True, value=float("nan")):
        super().__init__()
        object.__setattr__(self, "wrong", wrong)
        object.__setattr__(self, "value", value)

    def captures(self, structure):
        return GradCAM().captures(structure)

    def explain(self, recording):
        maps = GradCAM().explain(recording).clone()
        for place in filter(self.wrong, range(len(maps))):
            maps[place, 0, 0] = self.value
        return maps


class Raising(Explainer):
    """Fails in words that would clear a terminal."""

    method, label = "raising", "Raising"

    def explain(self, recording):
        raise RuntimeError("gone\x1b[2J")


@pytest.fixture
def shapes_data():
    return PlantedShapesData(image_size=32, train_length=8, val_length=12, batch_size=4)


def told(caplog, word):
    return [text for text in map(caplog.handler.format, caplog.records) if word in text]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_maps_of_nan_are_told_once_and_counted(value, make_trainer, picture_logger, shapes_module, shapes_data, caplog):
    methods = [Dark(value=value), GradCAM()]
    gallery, scores = ExplanationGallery(methods, samples=2), ExplanationScores(methods)
    trainer = make_trainer(callbacks=[gallery, scores], logger=picture_logger)
    with caplog.at_level(logging.WARNING):
        trainer.fit(shapes_module(), datamodule=shapes_data)
    (sentence,) = told(caplog, "'dark'")
    assert "maps are NaN or infinite" in sentence and "Traceback" in sentence and "diverged" not in sentence
    assert trainer.current_epoch == 2 and trainer.state.finished
    assert list(gallery._last[0].overlays) == ["Dark", "Grad-CAM"]
    assert "dark" not in scores.results["sharpness"] and "gradcam" in scores.results["sharpness"]
    assert trainer.callback_metrics["val/failed_maps"] == 12


def test_a_strict_callback_raises_for_a_single_nan(make_trainer, shapes_module, shapes_data):
    scores = ExplanationScores([Dark(lambda place: place == 1)], strict=True)
    with pytest.raises(ValueError, match=r"1 of 4 maps are NaN or infinite\."):
        make_trainer(callbacks=[scores]).fit(shapes_module(), datamodule=shapes_data)


def test_single_maps_of_nan_cost_only_themselves(make_trainer, picture_logger, shapes_module, shapes_data, caplog):
    module, odd = shapes_module(), lambda place: place % 2 == 1
    scores = ExplanationScores([Dark(odd), GradCAM()], [LocalizationScore(), Sharpness()], control=False)
    gallery = ExplanationGallery([Dark(odd)], samples=4)
    trainer = make_trainer(callbacks=[scores, gallery], logger=picture_logger)
    with caplog.at_level(logging.WARNING):
        trainer.validate(module, datamodule=shapes_data, verbose=False)
    assert len(told(caplog, "'dark'")) == 1
    assert trainer.callback_metrics["val/failed_maps"] == 6
    assert ["no evidence" in sample.notes["Dark"] for sample in gallery._last][1::2] == [True, True]

    even = ExplanationScores([GradCAM()], [LocalizationScore(), Sharpness()], control=False)
    loader = DataLoader(Subset(shapes_data.sets["val"], range(0, 12, 2)), 4)
    make_trainer(callbacks=[even]).validate(module, loader, verbose=False)
    for key in ("localization", "localization_n", "sharpness"):
        assert scores.results[key]["dark"] == pytest.approx(even.results[key]["gradcam"], abs=1e-6), key


def test_a_network_that_diverged_is_named_as_the_cause(
    make_trainer, picture_logger, shapes_module, shapes_data, caplog
):
    module = shapes_module()
    with torch.no_grad():
        module.net.head.weight.fill_(float("nan"))
    trainer = make_trainer(
        callbacks=[ExplanationGallery(["gradcam", "saliency"], samples=2), ExplanationScores(["gradcam"])],
        logger=picture_logger,
    )
    with caplog.at_level(logging.WARNING):
        trainer.fit(module, datamodule=shapes_data)
    assert trainer.current_epoch == 2
    sentences = told(caplog, "failed for some images")
    assert len(sentences) == 2 and all("it diverged, or the images hold NaN" in sentence for sentence in sentences)


@pytest.mark.parametrize("kind", ["empty", "limited", "none"])
def test_a_validation_without_images(kind, make_trainer, picture_logger, foreign_module, foreign_loader, caplog):
    loader = foreign_loader()
    empty = {"empty": DataLoader(Subset(loader.dataset, []), 4), "limited": loader, "none": None}[kind]
    watching = [
        ExplanationGallery(["gradcam"], samples=2),
        FeatureMapGallery(samples=2),
        ExplanationScores(["gradcam"]),
    ]
    trainer = make_trainer(callbacks=watching, logger=picture_logger, limit_val_batches=0 if kind == "limited" else 1.0)
    with caplog.at_level(logging.WARNING, "livecam"):
        trainer.fit(foreign_module, foreign_loader(True), empty)
    assert trainer.current_epoch == 2 and len(foreign_module.losses) == 8
    assert not told(caplog, "Traceback"), "to have no images is no failure"


class Broken(DummyLogger):
    """Somebody's logger that takes scalars and fails at pictures and tables."""

    def log_image(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    log_table = log_image


def test_a_logger_that_fails_at_pictures_leaves_the_others(
    make_trainer, picture_logger, foreign_module, foreign_loader, caplog, tmp_path
):
    gallery = ExplanationGallery(["gradcam"], samples=2)
    trainer = make_trainer(callbacks=[gallery], logger=[Broken(), picture_logger])
    with caplog.at_level(logging.WARNING):
        trainer.fit(foreign_module, foreign_loader(True), foreign_loader())
    assert len(told(caplog, "giving the gallery to Broken failed")) == 1
    (shown,) = (HTMLLogger(picture_logger.save_dir, "page")._open().data.galleries).values()
    assert [*shown] == [0, 3, 7] and all(len(entry) == 2 for entry in shown.values())
    assert "explanations/gallery_table" in picture_logger._page.data.tables


def test_a_reference_that_fails_costs_only_itself(make_trainer, shapes_module, shapes_data, caplog):
    class Gone:
        def masks(self, batch, normalization):
            raise RuntimeError("the other network is gone")

    scores = ExplanationScores([GradCAM()], reference=Gone())
    with caplog.at_level(logging.WARNING):
        make_trainer(callbacks=[scores]).fit(shapes_module(), datamodule=shapes_data)
    (sentence,) = told(caplog, "the other network is gone")
    assert "Traceback" in sentence
    assert "localization_ref" not in scores.results
    assert scores.results["localization_n"]["gradcam"] + scores.results["localization_undefined"]["gradcam"] == 12


def test_the_gallery_sees_the_weights_that_are_validated(make_trainer, foreign_module, foreign_loader):
    """Averaged weights are in place during validation and are put away by a hook of the gallery's own moment."""
    seen = {}

    class Noting(ExplanationGallery):
        def pictures(self, trainer, pl_module, batch):
            seen["gallery"] = pl_module.fc.weight.clone()
            return super().pictures(trainer, pl_module, batch)

    class Scoring(States):
        def on_validation_batch_end(self, trainer, pl_module, *_):
            seen["validated"] = pl_module.fc.weight.clone()

        def on_validation_end(self, trainer, pl_module):
            seen["trained"] = pl_module.fc.weight.clone()

        on_train_batch_start = on_train_epoch_end = on_train_end = lambda self, *_: None

    watching = [EMAWeightAveraging(decay=0.5), Scoring(), Noting([CAM()], samples=2, strict=True)]
    make_trainer(callbacks=watching).fit(foreign_module, foreign_loader(True), foreign_loader())
    assert torch.equal(seen["gallery"], seen["validated"])
    assert not torch.equal(seen["trained"], seen["validated"])


def test_each_method_that_fails_is_told_as_train_py_tells_it(make_trainer, shapes_module, shapes_data, capsys):
    """Names that differ in a digit are two methods; the traceback keeps its lines below an escaped sentence."""
    log = logging.getLogger("livecam")
    level, handlers, log.handlers = log.level, log.handlers, []
    try:
        _speak()
        methods = [Raising(name="s4"), Raising(name="s5")]
        make_trainer(callbacks=[ExplanationScores(methods)]).fit(shapes_module(), datamodule=shapes_data)
    finally:
        log.handlers = handlers
        log.setLevel(level)
    lines = capsys.readouterr().err.splitlines()
    for name in ("s4", "s5"):
        (place,) = (number for number, line in enumerate(lines) if line.startswith(f"Explainer '{name}' failed"))
        assert lines[place + 1] == "Traceback (most recent call last):" and "\x1b" not in lines[place]
