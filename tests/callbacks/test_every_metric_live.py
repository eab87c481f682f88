"""Every metric runs in the live callback, and says there what it says of the same images by hand."""

from functools import partial

import pytest
import torch
from lightning import Callback
from lightning.pytorch import seed_everything
from torch.utils.data import DataLoader

from livecam.callbacks import ExplanationScores
from livecam.data import PlantedShapesData
from livecam.explain import GradCAM, explain
from livecam.metrics import (
    InsertionDeletion,
    LocalizationScore,
    MaskOverlap,
    PointingGame,
    ReferenceLocalizationScore,
    Sharpness,
)
from livecam.metrics.image_metric import metric_classes

OPTIONS = {"insertion_deletion": {"step": 256}, "pointing": {"num_categories": 4}}
# Every metric, found by itself; that which compares with another network is tested with the reference.
ALL = {
    name: partial(cls, **OPTIONS.get(name, {}))
    for name, cls in metric_classes().items()
    if cls.__module__.startswith("livecam.") and "reference" not in cls.inputs
}
COMPARE = {"energy_in_mask", "localization", "overlap", "pointing"}


@pytest.fixture
def shapes_data():
    return PlantedShapesData(image_size=32, train_length=8, val_length=12, batch_size=5)


@pytest.mark.parametrize("name", ALL)
def test_live_is_by_hand(name, make_trainer, shapes_module, shapes_data):
    # In double precision: which pixels of a map are equal, and so the ties of deletion, is decided by the last bit.
    module = shapes_module().double().eval()
    scores = ExplanationScores([GradCAM()], [ALL[name]()], strict=True)
    make_trainer(callbacks=[scores], precision="64-true").validate(module, datamodule=shapes_data, verbose=False)
    batch = next(iter(DataLoader(shapes_data.sets["val"], 12)))
    images, labels = batch["image"].double(), batch["label"]
    found = explain(module, images, [GradCAM()], labels)["gradcam"]
    metric = ALL[name]()
    given = {"maps": getattr(found, metric.uses), "masks": batch["mask"], "categories": labels, "targets": labels}
    given |= {"images": images, "model": module, "normalization": shapes_data.normalization}
    given["explain"] = lambda net: explain(net, images, [GradCAM()], labels)["gradcam"].raw
    metric.update(**{key: value for key, value in given.items() if key in metric.inputs})
    expected = metric.compute()
    for part, value in expected.items():
        key = name if part == metric.value_names[0] else f"{name}_{part}"
        assert scores.results[key]["gradcam"] == pytest.approx(float(value), abs=1e-5, nan_ok=True), part
    assert scores.results[f"{name}_n"]["gradcam"] + scores.results[f"{name}_undefined"]["gradcam"] == 12
    # The baseline is there where it costs nothing and means something.
    assert ("centered_gaussian" in scores.results[name]) == (name in COMPARE)


def test_the_baseline_is_a_gaussian_and_can_be_left_out(make_trainer, shapes_module, shapes_data):
    scores = ExplanationScores([GradCAM()], [LocalizationScore()])
    make_trainer(callbacks=[scores]).validate(shapes_module(), datamodule=shapes_data, verbose=False)
    place = ((torch.arange(32).double() + 0.5) / 32 - 0.5) / 0.25
    gaussian = (-0.5 * (place[:, None] ** 2 + place**2)).exp()
    shares = [(gaussian * sample["mask"]).sum() / gaussian.sum() for sample in shapes_data.sets["val"]]
    assert scores.results["localization"]["centered_gaussian"] == pytest.approx(float(sum(shares)) / 12, abs=1e-6)
    bare = ExplanationScores([GradCAM()], [LocalizationScore()], control=False)
    make_trainer(callbacks=[bare]).validate(shapes_module(), datamodule=shapes_data, verbose=False)
    assert bare.results["localization"].keys() == {"gradcam"}


def test_costly_metrics_on_a_few_images_of_every_second_validation(make_trainer, shapes_module, shapes_data):
    seed_everything(0)
    cheap = ExplanationScores([GradCAM()], [LocalizationScore()], strict=True)
    costly = ExplanationScores(
        [GradCAM()], [InsertionDeletion(step=256)], batches=1, every_n_validations=2, strict=True
    )
    assert cheap.state_key != costly.state_key
    counts = []

    class Look(Callback):
        def on_validation_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                counts.append(costly.results.get("insertion_deletion_n", {}).get("gradcam"))
                costly.results = {}

    trainer = make_trainer(callbacks=[cheap, costly, Look()], max_epochs=3)
    trainer.fit(shapes_module(), datamodule=shapes_data)
    assert counts == [5.0, None, 5.0], "validations 1 and 3, five images each"
    assert cheap.results["localization_n"]["gradcam"] + cheap.results["localization_undefined"]["gradcam"] == 12


def test_a_metric_that_fails_is_reported_and_leaves_the_others(make_trainer, shapes_module, shapes_data, caplog):
    small = PointingGame(2)  # the data have four categories
    scores = ExplanationScores([GradCAM()], [small, LocalizationScore()])
    trainer = make_trainer(callbacks=[scores], max_epochs=1)
    trainer.fit(shapes_module(), datamodule=shapes_data)
    assert "give it a greater num_categories" in caplog.text
    assert trainer.current_epoch == 1
    assert scores.results["localization_n"]["centered_gaussian"] == 12


def test_two_of_one_kind_or_no_reference_are_refused():
    with pytest.raises(ValueError, match="Two metrics are called 'sharpness'"):
        ExplanationScores([GradCAM()], [Sharpness(), Sharpness()])
    with pytest.raises(ValueError, match="compares with another network"):
        ExplanationScores([GradCAM()], [ReferenceLocalizationScore()])


def test_curves_are_logged(make_trainer, shapes_module, shapes_data):
    scores = ExplanationScores([GradCAM()], [InsertionDeletion(step=256, curves=True)], batches=1, strict=True)
    trainer = make_trainer(callbacks=[scores])
    trainer.validate(shapes_module(), datamodule=shapes_data, verbose=False)
    keys = [key for key in trainer.callback_metrics if "insertion_at_" in key or "deletion_at_" in key]
    assert len(keys) == 22
    logged = trainer.callback_metrics
    # Both curves join the image and its baseline, in opposite order.
    for one, other in (("insertion_at_00", "deletion_at_100"), ("insertion_at_100", "deletion_at_00")):
        pair = [float(logged[f"val/insertion_deletion_{part}/gradcam"]) for part in (one, other)]
        assert pair[0] == pytest.approx(pair[1], abs=1e-6)


def test_images_without_mask_are_counted_once(make_trainer, foreign_module, foreign_loader):
    both = [ExplanationScores([GradCAM()], [metric]) for metric in (LocalizationScore(), MaskOverlap())]
    trainer = make_trainer(callbacks=both, max_epochs=1)
    trainer.fit(foreign_module, foreign_loader(), foreign_loader())
    assert trainer.callback_metrics["val/images_without_mask"].item() == 24


def test_no_metric_disturbs_the_training_it_watches(make_trainer, shapes_module):
    """Weights and random numbers are bit-identical, also with metrics that draw numbers or question the network."""

    def run(watched: bool):
        seed_everything(3)
        module = shapes_module()
        scores = ExplanationScores([GradCAM()], [make() for make in ALL.values()], strict=True)
        trainer = make_trainer(callbacks=[scores] if watched else [], max_epochs=2, val_check_interval=1)
        trainer.fit(module, datamodule=PlantedShapesData(image_size=32, train_length=8, val_length=8, batch_size=4))
        return [*module.state_dict().values(), torch.get_rng_state()]

    assert all(torch.equal(one, other) for one, other in zip(run(False), run(True), strict=True))
