import logging

import pytest
import torch
from lightning import Callback
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from livecam.callbacks import ExplanationScores
from livecam.callbacks.base import non_padding_mask
from livecam.core.batch import Batch
from livecam.data.planted import PlantedShapesData
from livecam.explain import CAM, GradCAM, explain
from livecam.metrics import LocalizationScore, localization_score


@pytest.fixture
def shapes_data():
    return PlantedShapesData(image_size=32, train_length=16, val_length=20, batch_size=8)


def test_scores_equal_a_plain_loop_over_the_set(make_trainer, shapes_module, shapes_data):
    module, scores = shapes_module(), ExplanationScores([GradCAM(), CAM()])
    trainer = make_trainer(callbacks=[scores])
    trainer.validate(module, datamodule=shapes_data, verbose=False)
    module.eval()
    expected, chance, seen = [], [], {}
    module.net.decoder.register_forward_hook(lambda _, args, out: seen.update(features=out[0]))
    for sample in shapes_data.sets["val"]:
        # By hand: class evidence of a GAP net is its weights times its last feature map.
        with torch.no_grad():
            module(sample["image"][None])
        weights = module.net.head.weight[sample["label"]].detach()
        evidence = torch.einsum("k,khw->hw", weights, seen["features"]).relu()
        expected.append((evidence[sample["mask"]].sum() / evidence.sum()).item())
        chance.append(sample["mask"].float().mean().item())
    kept = [i for i, value in enumerate(expected) if value == value]
    mean = sum(expected[i] for i in kept) / len(kept)
    logged = trainer.callback_metrics
    assert logged["val/localization/gradcam"].item() == pytest.approx(mean, abs=1e-5)
    assert logged["val/localization/cam"].item() == pytest.approx(mean, abs=1e-5)
    level = sum(chance[i] for i in kept) / len(kept)
    assert logged["val/localization_chance/gradcam"].item() == pytest.approx(level, abs=1e-6)
    assert logged["val/localization_lift/gradcam"].item() == pytest.approx(mean / level, abs=1e-4)
    assert logged["val/localization_n/gradcam"].item() == len(kept)
    assert logged["val/localization_undefined/gradcam"].item() == 20 - len(kept)
    assert logged["val/images_without_mask"].item() == 0
    assert 0 < logged["val/sharpness/gradcam"].item() < 1


def test_label_is_explained_by_default(make_trainer, shapes_module, shapes_data):
    module, scores = shapes_module().eval(), ExplanationScores([GradCAM()], metrics=[LocalizationScore()])
    make_trainer(callbacks=[scores]).validate(module, datamodule=shapes_data, verbose=False)
    batch = next(iter(DataLoader(shapes_data.sets["val"], 20)))
    found = explain(module, batch["image"], [GradCAM()], batch["label"])["gradcam"]
    values = localization_score(found.energy, batch["mask"])
    assert scores.results["localization"]["gradcam"] == pytest.approx(values.nanmean().item(), abs=1e-6)


def test_first_batches_only(make_trainer, shapes_module, shapes_data):
    scores = ExplanationScores([GradCAM()], batches=1)
    make_trainer(callbacks=[scores]).validate(shapes_module(), datamodule=shapes_data, verbose=False)
    counted = scores.results["localization_n"]["gradcam"] + scores.results["localization_undefined"]["gradcam"]
    assert counted == 8


@pytest.mark.parametrize(
    ("few", "chosen"), [(1, [0]), (2, [0, 4]), (3, [0, 3, 5]), (7, list(range(7))), (9, list(range(7)))]
)
def test_a_slice_is_spread_over_the_set(make_trainer, shapes_module, few, chosen):
    data = PlantedShapesData(image_size=32, train_length=4, val_length=13, batch_size=2)
    scores, seen = ExplanationScores([GradCAM()], batches=few), []
    explain_rows = scores._evaluator.explain
    scores._evaluator.explain = lambda module, asked, *rest: (
        seen.append(asked.batch.index.tolist()) or explain_rows(module, asked, *rest)
    )
    make_trainer(callbacks=[scores]).validate(shapes_module(), datamodule=data, verbose=False)
    assert seen == [list(range(13))[2 * number : 2 * number + 2] for number in chosen]


def test_of_a_stream_the_first_batches_are_taken(make_trainer, shapes_module):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(PlantedShapesData(image_size=32, val_length=12).sets["val"][index] for index in range(12))

    scores = ExplanationScores([GradCAM()], batches=2)
    make_trainer(callbacks=[scores]).validate(shapes_module(), DataLoader(Stream(), 3), verbose=False)
    counted = scores.results["localization_n"]["gradcam"] + scores.results["localization_undefined"]["gradcam"]
    assert counted == 6


def test_plain_pairs_have_no_masks(make_trainer, foreign_module, foreign_loader):
    scores = ExplanationScores([GradCAM()])
    trainer = make_trainer(callbacks=[scores], max_epochs=1)
    trainer.fit(foreign_module, foreign_loader(), foreign_loader())
    logged = trainer.callback_metrics
    assert "val/localization/gradcam" not in logged
    assert logged["val/images_without_mask"].item() == 24
    assert logged["val/sharpness_n/gradcam"].item() + logged["val/sharpness_undefined/gradcam"].item() == 24


def test_masks_of_another_size_are_named_and_training_goes_on(make_trainer, foreign_module, foreign_loader, caplog):
    class Small(TensorDataset):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return {"image": image, "label": label, "mask": torch.ones(7, 7, dtype=torch.bool)}

    class Adapter(type(foreign_module)):
        def validation_step(self, batch, batch_idx):
            return super().validation_step((batch["image"], batch["label"]), batch_idx)

    loader = DataLoader(Small(torch.randn(6, 3, 20, 20), torch.arange(6) % 3), 3)
    with caplog.at_level(logging.WARNING):
        make_trainer(callbacks=[ExplanationScores([GradCAM()])], max_epochs=2).fit(Adapter(), foreign_loader(), loader)
    told = [
        r.getMessage() for r in caplog.records if "Masks of 7 x 7 px do not fit images of 20 x 20 px" in r.getMessage()
    ]
    assert len(told) == 1


def test_reference_maps_are_scored_beside_the_truth(make_trainer, shapes_module, shapes_data):
    class LeftHalf:
        def masks(self, batch, normalization):
            maps = torch.zeros(batch.image.shape[0], *batch.image.shape[-2:])
            maps[..., : maps.shape[-1] // 2] = 1.0
            return maps

    scores = ExplanationScores([GradCAM()], reference=LeftHalf())
    make_trainer(callbacks=[scores]).validate(shapes_module(), datamodule=shapes_data, verbose=False)
    assert scores.results["localization_ref_chance"]["gradcam"] == pytest.approx(0.5)
    assert scores.results["localization_ref_at_10"] == scores.results["localization_ref_at_90"]
    assert scores.results["localization_chance"]["gradcam"] < 0.4


def test_monitored_by_checkpoints(make_trainer, shapes_module, shapes_data, tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    keep = ModelCheckpoint(tmp_path, monitor="val/localization/gradcam", mode="max")
    make_trainer(callbacks=[ExplanationScores([GradCAM()]), keep], max_epochs=1, enable_checkpointing=True).fit(
        shapes_module(), datamodule=shapes_data
    )
    assert keep.best_model_score is not None


def test_closing_table_is_printed(make_trainer, shapes_module, shapes_data, capsys):
    scores = ExplanationScores([GradCAM(), GradCAM(layer="bottleneck", name="coarse")])
    make_trainer(callbacks=[scores], max_epochs=1).fit(shapes_module(), datamodule=shapes_data)
    told = capsys.readouterr().out
    assert {"method", "localization", "lift", "sharpness"} <= set(told.replace("┃", " ").split())
    assert (
        "at validation accuracy" in told
        and "Grad-CAM" in told
        and "coarse" in told
        and told.count(" images, up to ") == 2
    )


class _World:
    """As much of a trainer as the padding rule reads."""

    def __init__(self, sampler, world):
        self.world_size = world
        self.val_dataloaders = DataLoader(sampler.dataset, 2, sampler=sampler)


@pytest.mark.parametrize("length", [7, 8, 1, 2])
@pytest.mark.parametrize("with_index", [True, False])
def test_padding_of_a_distributed_sampler_is_dropped(length, with_index):
    data = TensorDataset(torch.arange(length))
    seen = []
    for rank in range(3):
        sampler = DistributedSampler(data, num_replicas=3, rank=rank, shuffle=False)
        mine, position = list(sampler), 0
        for start in range(0, len(mine), 2):
            part = torch.tensor(mine[start : start + 2])
            batch = Batch(torch.zeros(len(part), 1), part, index=part if with_index else None)
            seen += part[non_padding_mask(_World(sampler, 3), batch, position)].tolist()
            position += len(part)
    assert sorted(seen) == list(range(length))


def test_watching_does_not_disturb(make_trainer, foreign_loader):
    """Weights, losses and optimizer state are bit-identical with every callback and with none."""
    from foreign import ForeignModule

    from livecam.callbacks import ExplanationGallery

    class AllRandomNumbers(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            pl_module.losses.append(torch.get_rng_state().sum().item())

    def run(watched: bool):
        torch.manual_seed(3)
        module = ForeignModule()
        methods = [GradCAM(), CAM(), GradCAM(layer="features", name="early")]
        live = [ExplanationGallery(methods, samples=4), ExplanationScores(methods)] if watched else []
        trainer = make_trainer(
            callbacks=[*live, AllRandomNumbers()], max_epochs=3, accumulate_grad_batches=3, val_check_interval=2
        )
        trainer.fit(module, foreign_loader(True), foreign_loader())
        return module, trainer.optimizers[0].state_dict()["state"]

    (plain, plain_state), (watched, watched_state) = run(False), run(True)
    assert plain.losses == watched.losses
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), watched.state_dict().values()))
    for key, state in plain_state.items():
        assert all(torch.equal(value, watched_state[key][name]) for name, value in state.items())
