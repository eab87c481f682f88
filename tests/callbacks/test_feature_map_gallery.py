import logging
import re

import numpy as np
import pytest
import torch
from foreign import ForeignModule
from lightning.pytorch.loggers.logger import Logger
from torch.utils.data import DataLoader, IterableDataset

from livecam.callbacks import ExplanationGallery, FeatureMapGallery
from livecam.data.planted import PlantedShapesData
from livecam.explain import GradCAM
from livecam.report.drawing.colormap import apply_colormap


class Album(Logger):
    """Keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.pictures: dict[str, list[tuple[int, list, list]]] = {}
        self.rows: list[tuple[int, set]] = []

    name, version = "album", 0

    def log_hyperparams(self, *args, **kw):
        pass

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, set(metrics)))

    def log_image(self, key, images, step, caption):
        self.pictures.setdefault(key, []).append((step, images, caption))


@pytest.fixture
def album():
    return Album()


def test_both_galleries_share_one_row_per_validation(make_trainer, album, foreign_loader, foreign_module):
    galleries = [FeatureMapGallery(samples=2), ExplanationGallery([GradCAM()], samples=3)]
    trainer = make_trainer(callbacks=galleries, logger=album)
    trainer.fit(foreign_module, foreign_loader(True), foreign_loader())
    shown = {key: [(step, len(images)) for step, images, _ in told] for key, told in album.pictures.items()}
    assert shown == {
        "explanations/features": [(0, 2), (3, 2), (7, 2)],
        "explanations/gallery": [(0, 3), (3, 3), (7, 3)],
    }
    assert [step for step, keys in album.rows if "val/explanation_seconds" in keys] == [0, 3, 7]


def test_the_untrained_row_is_written_though_the_last_gallery_fails(
    make_trainer, album, foreign_loader, foreign_module
):
    galleries = [FeatureMapGallery(samples=2), ExplanationGallery([GradCAM(layer="blok")], samples=3)]
    make_trainer(callbacks=galleries, logger=album, max_epochs=1).fit(
        foreign_module, foreign_loader(), foreign_loader()
    )
    assert list(album.pictures) == ["explanations/features"]
    assert [step for step, keys in album.rows if "val/explanation_seconds" in keys] == [0, 3]


def test_tiles_show_the_strongest_channels_of_the_module(make_trainer, album, foreign_loader, foreign_module):
    gallery = FeatureMapGallery(layers=["block"], strongest=2, samples=2, class_names=["a", "b", "c"])
    make_trainer(callbacks=[gallery], logger=album).validate(foreign_module, foreign_loader(), verbose=False)
    ((_, pictures, captions),) = album.pictures["explanations/features"]
    foreign_module.eval()
    for index, picture, caption in zip(gallery.indices, pictures, captions):
        image, label = foreign_loader().dataset[index]
        with torch.no_grad():
            whole = foreign_module.block(foreign_module.features(image[None]))[0]
            predicted = foreign_module(image[None]).softmax(1)[0]
        best = whole.mean((1, 2)).argsort(descending=True)[:2]
        assert f"true {'abc'[label]} · predicted {'abc'[predicted.argmax()]} {predicted.max():.2f}" in caption
        # Maps of 10 px are enlarged twelve times: tiles of 120 px in places of 128 px.
        for column, channel in enumerate(best):
            top, left = len(picture) - 14 - 20 - 120, 14 + 184 + column * 136 + 4
            pixels = picture[top : top + 120 : 12, left : left + 120 : 12]
            end = np.quantile(whole[best][whole[best] > 0].numpy(), 0.995, method="higher")
            expected = apply_colormap(whole[channel][None] / float(end))[0].permute(1, 2, 0) * 255
            assert np.abs(pixels - expected.numpy()).max() < 1


def test_one_forward_for_all_layers(make_trainer, foreign_loader, foreign_module):
    passes = []
    gallery = FeatureMapGallery(layers=["features.0", "features.2", "block"], samples=2)
    trainer = make_trainer(callbacks=[gallery])
    trainer.validate(foreign_module, foreign_loader(), verbose=False)
    foreign_module.features.register_forward_hook(lambda *_: passes.append(1))
    trainer.validate(foreign_module, foreign_loader(), verbose=False)
    # The structure is known from the first validation; 24 samples come in batches of six.
    assert len(passes) == 4 + 1


def test_same_samples_after_a_resume_beside_another_gallery(make_trainer, tmp_path, shapes_module):
    def run(epochs, checkpoint=None):
        data = PlantedShapesData(image_size=32, train_length=16, val_length=40, batch_size=8)
        galleries = [
            FeatureMapGallery(samples=3),
            FeatureMapGallery(layers=["bottleneck"], samples=2, key="explanations/bottleneck"),
            ExplanationGallery([GradCAM()], samples=4),
        ]
        trainer = make_trainer(callbacks=galleries, max_epochs=epochs)
        trainer.fit(shapes_module(), datamodule=data, ckpt_path=checkpoint)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return [gallery.indices for gallery in galleries]

    before = run(1)
    assert sorted(map(len, before)) == [2, 3, 4]
    whole = torch.load(tmp_path / "last.ckpt", weights_only=True)
    # Each gallery finds another choice than the one that a new run would make.
    other = [[(index + 1) % 40 for index in indices] for indices in before]
    for state in whole["callbacks"].values():
        state["indices"] = other[before.index(state["indices"])]
    torch.save(whole, tmp_path / "other.ckpt")
    after = run(2, str(tmp_path / "other.ckpt"))
    assert [sorted(indices) for indices in after] == [sorted(indices) for indices in other]


def test_streams_give_their_first_samples(make_trainer, album, foreign_module, foreign_loader):
    class Stream(IterableDataset):
        def __iter__(self):
            generator = torch.Generator().manual_seed(1)
            for label in range(10):
                yield torch.randn(3, 20, 20, generator=generator), label % 3

    gallery = FeatureMapGallery(samples=5)
    make_trainer(callbacks=[gallery], logger=album).fit(foreign_module, foreign_loader(), DataLoader(Stream(), 4))
    assert [(step, len(images)) for step, images, _ in album.pictures["explanations/features"]] == [(3, 5), (7, 5)]


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"layers": ["blok", "block"]}, "Feature maps of 'blok' failed.*Did you mean block"),
        ({"layers": ["fc", "block"]}, "Feature maps of 'fc' failed.*choose a convolutional layer"),
        ({"layers": ["wide", "block"], "channels": [8]}, "Layer 'block' has 8 channels, 0 to 7"),
    ],
)
def test_a_failing_layer_is_reported_once_and_the_rest_goes_on(
    make_trainer, album, foreign_loader, caplog, choice, sentence
):
    class Wider(ForeignModule):
        def __init__(self):
            super().__init__()
            self.wide = torch.nn.Conv2d(3, 9, 1)

        def forward(self, images):
            self.wide(images)
            return super().forward(images)

    with caplog.at_level(logging.WARNING):
        trainer = make_trainer(callbacks=[FeatureMapGallery(samples=1, **choice)], logger=album)
        trainer.fit(Wider(), foreign_loader(), foreign_loader())
    (told,) = [text for text in map(caplog.handler.format, caplog.records) if "left out" in text]
    line = told.splitlines()[0]
    assert re.search(sentence, line) and "Traceback" in told
    assert trainer.state.finished
    shown = album.pictures["explanations/features"]
    assert [step for step, _, _ in shown] == [0, 3, 7]
    # One row of tiles is left: a second one would add its 140 px or more.
    assert all(200 < len(image) < 400 for _, images, _ in shown for image in images)


def test_when_all_layers_fail_training_goes_on_without_pictures(make_trainer, album, foreign_module, foreign_loader):
    trainer = make_trainer(callbacks=[FeatureMapGallery(layers=["blok", "clock"])], logger=album)
    trainer.fit(foreign_module, foreign_loader(), foreign_loader())
    assert trainer.state.finished and not album.pictures


def test_strict_raises(make_trainer, foreign_module, foreign_loader):
    gallery = FeatureMapGallery(layers=["blok", "block"], strict=True)
    with pytest.raises(KeyError, match="Did you mean block"):
        make_trainer(callbacks=[gallery]).fit(foreign_module, foreign_loader(), foreign_loader())


def test_two_galleries_under_one_key_are_refused(make_trainer, foreign_module, foreign_loader):
    galleries = [FeatureMapGallery(layers=["block"]), FeatureMapGallery()]
    assert galleries[0].state_key != galleries[1].state_key
    with pytest.raises(ValueError, match="key='explanations/features_2'"):
        make_trainer(callbacks=galleries).fit(foreign_module, foreign_loader(), foreign_loader())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"samples": 0}, "1 to 108"),
        ({"strongest": 0}, "from 1"),
        ({"channels": [-2]}, "counted from 0"),
        ({"layers": []}, "at least one"),
        ({"every_n_validations": 0}, "counts from 1"),
    ],
)
def test_wrong_arguments(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        FeatureMapGallery(**wrong)


def test_watching_does_not_disturb(make_trainer, foreign_loader):
    """Weights, losses and random numbers are bit-identical with the gallery and without; so are batch statistics."""

    def run(callbacks):
        torch.manual_seed(3)
        module = ForeignModule()
        trainer = make_trainer(callbacks=callbacks, max_epochs=2, accumulate_grad_batches=3, val_check_interval=2)
        trainer.fit(module, foreign_loader(True), foreign_loader())
        return module, torch.get_rng_state()

    plain, state = run([])
    watched, watched_state = run([FeatureMapGallery(layers=["features.1", "features", "block"], samples=3)])
    assert plain.losses == watched.losses and torch.equal(state, watched_state)
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), watched.state_dict().values()))
