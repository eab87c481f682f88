import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset, random_split

from livecam.callbacks import ExplanationGallery
from livecam.callbacks.sample_gallery import balanced, class_indices
from livecam.data.planted import PlantedShapesData
from livecam.explain import CAM, GradCAM, GradualExtrapolation, LayerCAM
from livecam.report.html.logger import HTMLLogger


def history(logger: HTMLLogger) -> dict:
    text = Path(logger.log_dir, "data.js").read_text()
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def test_untrained_net_first_then_every_validation(make_trainer, picture_logger, foreign_loader, foreign_module):
    gallery = ExplanationGallery([GradCAM(), CAM()], samples=3, class_names=["a", "b", "c"])
    trainer = make_trainer(callbacks=[gallery], logger=picture_logger)
    trainer.fit(foreign_module, foreign_loader(True), foreign_loader())
    shown = next(g for g in history(picture_logger)["galleries"] if g["key"] == "explanations/gallery")
    assert [entry["step"] for entry in shown["entries"]] == [0, 3, 7]
    assert all(len(entry["images"]) == 3 for entry in shown["entries"])
    # The picture and the scalars of one validation share their step.
    scalars = {m["key"]: m["steps"] for m in history(picture_logger)["metrics"]}
    assert scalars["val/explanation_seconds"] == [0, 3, 7]
    assert scalars["val/loss"] == [3, 7]


def test_strips_show_real_pixels(make_trainer, picture_logger, shapes_module):
    data = PlantedShapesData(image_size=32, train_length=16, val_length=12, batch_size=8)
    gallery = ExplanationGallery([GradCAM(), LayerCAM()], samples=4)
    trainer = make_trainer(callbacks=[gallery], logger=picture_logger, max_epochs=1)
    trainer.fit(shapes_module(), datamodule=data)
    strip = gallery._strips[0]
    assert strip.dtype == np.uint8 and strip.ndim == 3 and strip.std() > 20
    # input | ground truth | two methods, 32 px enlarged five times
    assert strip.shape[1] >= 4 * 160
    first = data.sets["val"][gallery.indices[0]]
    pixels = data.normalization.to_pixels(first["image"]).clamp(0, 1)
    # The middle of the enlarged pixel (10, 20) of the input column; the frame is four pixels wide at the border only.
    left, top, factor = 6, 24, 5
    found = strip[top + 10 * factor + 2, left + (strip_cell(strip, 4) - 160) // 2 + 20 * factor + 2] / 255
    assert np.allclose(found, pixels[:, 10, 20].numpy(), atol=1 / 254)
    caption = gallery._last[0].caption
    assert "true disc" in caption and "predicted" in caption


def strip_cell(strip: np.ndarray, columns: int) -> int:
    return (strip.shape[1] - 6) // columns - 6


def test_samples_are_balanced_and_stable():
    classes = [0] * 50 + [1] * 5 + [2] * 20
    chosen = balanced(classes, 6)
    assert sorted(classes[i] for i in chosen) == [0, 0, 1, 1, 2, 2]
    assert chosen == balanced(classes, 6)
    assert len(balanced(list(range(1000)), 8)) == 8
    assert len(set(balanced(classes, 75))) == 75
    assert balanced([1, 1], 8) in ([0, 1], [1, 0])


def test_class_indices_look_through_subsets():
    data = TensorDataset(torch.zeros(6, 1))
    data.targets = torch.tensor([0, 1, 2, 0, 1, 2])
    part = Subset(Subset(data, [5, 4, 3]), [0, 2])
    assert class_indices(part) == [2, 0]
    assert class_indices(TensorDataset(torch.zeros(3, 1))) is None
    random_part, _ = random_split(data, [4, 2])
    assert class_indices(random_part) == [[0, 1, 2, 0, 1, 2][i] for i in random_part.indices]


def test_same_samples_after_resume(make_trainer, tmp_path, shapes_module):
    def run(epochs: int, checkpoint: str | None = None) -> ExplanationGallery:
        data = PlantedShapesData(image_size=32, train_length=16, val_length=40, batch_size=8)
        gallery = ExplanationGallery([GradCAM()], samples=4)
        trainer = make_trainer(callbacks=[gallery], max_epochs=epochs)
        trainer.fit(shapes_module(), datamodule=data, ckpt_path=checkpoint)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return gallery

    before = run(1)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
    assert before.indices in [value["indices"] for value in state.values() if "indices" in value]
    after = run(2, str(tmp_path / "last.ckpt"))
    assert after.indices == before.indices


def test_a_changed_choice_in_the_checkpoint_is_followed(make_trainer, shapes_module):
    gallery = ExplanationGallery([GradCAM()], samples=2)
    gallery.load_state_dict({"validations": 3, "indices": [7, 11]})
    data = PlantedShapesData(image_size=32, train_length=8, val_length=12, batch_size=8)
    make_trainer(callbacks=[gallery], max_epochs=1).fit(shapes_module(), datamodule=data)
    assert gallery.indices == [11, 7] or gallery.indices == [7, 11]


def test_unreadable_samples_are_replaced(make_trainer, foreign_module):
    class Holes(TensorDataset):
        targets = (0, 0, 0, 1, 1, 1)

        def __getitem__(self, index):
            return None if index in broken else super().__getitem__(index)

    broken = set(balanced(Holes.targets, 2)[:1])
    data = Holes(torch.randn(6, 3, 20, 20), torch.tensor(Holes.targets))

    def collate(samples):
        return torch.utils.data.default_collate([sample for sample in samples if sample is not None])

    loader = DataLoader(data, 3, collate_fn=collate)
    gallery = ExplanationGallery([GradCAM()], samples=2)
    make_trainer(callbacks=[gallery], max_epochs=1).fit(foreign_module, loader, loader)
    assert len(gallery._strips) == 2
    assert not broken & set(gallery.indices)
    assert [Holes.targets[i] for i in gallery.indices] == [0, 1]


def test_streams_give_their_first_samples(make_trainer, foreign_module, foreign_loader):
    class Stream(IterableDataset):
        def __iter__(self):
            generator = torch.Generator().manual_seed(1)
            for label in range(10):
                yield torch.randn(3, 20, 20, generator=generator), label % 3

    gallery = ExplanationGallery([GradCAM()], samples=5)
    trainer = make_trainer(callbacks=[gallery], max_epochs=2)
    trainer.fit(foreign_module, foreign_loader(), DataLoader(Stream(), 4))
    assert len(gallery._strips) == 5


def test_works_in_validate_under_inference_mode(make_trainer, foreign_module, foreign_loader):
    gallery = ExplanationGallery([GradCAM(), CAM()], samples=3)
    make_trainer(callbacks=[gallery]).validate(foreign_module, foreign_loader(), verbose=False)
    assert len(gallery._strips) == 3


def test_every_n_validations(make_trainer, picture_logger, foreign_module, foreign_loader):
    gallery = ExplanationGallery([GradCAM()], samples=2, every_n_validations=2)
    trainer = make_trainer(callbacks=[gallery], logger=picture_logger, max_epochs=4)
    trainer.fit(foreign_module, foreign_loader(), foreign_loader())
    shown = next(g for g in history(picture_logger)["galleries"] if g["key"] == "explanations/gallery")
    assert [entry["step"] for entry in shown["entries"]] == [0, 3, 11]


def test_failing_explainer_is_reported_once_and_the_rest_goes_on(make_trainer, foreign_module, foreign_loader, caplog):
    gallery = ExplanationGallery([GradCAM(layer="blok", name="typo"), GradCAM()], samples=2)
    with caplog.at_level(logging.WARNING):
        make_trainer(callbacks=[gallery], max_epochs=2).fit(foreign_module, foreign_loader(), foreign_loader())
    told = [text for text in map(caplog.handler.format, caplog.records) if "left out" in text]
    assert len(told) == 1 and "'typo'" in told[0] and "Did you mean block" in told[0] and "Traceback" in told[0]
    assert list(gallery._last[0].overlays) == ["Grad-CAM"]


def test_strict_raises(make_trainer, foreign_module, foreign_loader):
    gallery = ExplanationGallery([GradCAM(layer="blok")], samples=2, strict=True)
    with pytest.raises(KeyError, match="Did you mean block"):
        make_trainer(callbacks=[gallery], max_epochs=1).fit(foreign_module, foreign_loader(), foreign_loader())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"samples": 0}, "1 to 108"),
        ({"samples": 109}, "1 to 108"),
        ({"target": "truth"}, "'predicted' class or the true 'label'"),
        ({"every_n_validations": 0}, "counts from 1"),
        ({"explainers": [GradCAM(), GradCAM()]}, "name one otherwise"),
    ],
)
def test_wrong_arguments(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        ExplanationGallery(**{"explainers": [GradCAM()]} | wrong)


def test_pictures_on_disk_are_not_black(make_trainer, picture_logger, foreign_module, foreign_loader):
    gallery = ExplanationGallery([GradCAM()], samples=2)
    make_trainer(callbacks=[gallery], logger=picture_logger, max_epochs=1).fit(
        foreign_module, foreign_loader(), foreign_loader()
    )
    pictures = list(Path(picture_logger.log_dir, "media").iterdir())
    assert len(pictures) == 4
    for picture in pictures:
        values = np.asarray(Image.open(picture))
        assert values.mean() > 40 and values.std() > 20


@pytest.mark.slow
def test_tensorboard_gets_the_pictures(make_trainer, foreign_module, foreign_loader, tmp_path):
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(str(tmp_path))
    gallery = ExplanationGallery([GradCAM()], samples=2)
    make_trainer(callbacks=[gallery], logger=logger, max_epochs=1).fit(
        foreign_module, foreign_loader(), foreign_loader()
    )
    events = EventAccumulator(logger.log_dir).Reload()
    shown = events.Images("explanations/gallery/1")
    assert [image.step for image in shown] == [0, 3] and shown[0].width > shown[0].height


def test_every_nth_validation_goes_on_after_a_resume():
    before = ExplanationGallery([GradCAM()], every_n_validations=3)
    before._validations = 4
    after = ExplanationGallery([GradCAM()], every_n_validations=3)
    after.load_state_dict(before.state_dict())
    assert after._validations == 4


def test_a_map_that_is_another_method_s_says_so_beside_its_share(make_trainer, picture_logger, shapes_module):
    data = PlantedShapesData(image_size=32, train_length=16, val_length=12, batch_size=8)
    methods = [GradCAM(), GradualExtrapolation(GradCAM()), GradualExtrapolation(GradCAM("bottleneck"), name="sharp")]
    gallery = ExplanationGallery(methods, samples=2)
    trainer = make_trainer(callbacks=[gallery], logger=picture_logger, max_epochs=1)
    with pytest.warns(UserWarning, match="Gradual Grad-CAM is Grad-CAM itself here"):
        trainer.fit(shapes_module(), datamodule=data)
    notes = [list(sample.notes.values()) for sample in gallery._last if sample.notes["Grad-CAM"] != "no evidence"]
    assert notes and all(same == f"{plain}, same as Grad-CAM" for plain, same, _ in notes)
    assert not any("same" in sharp for _, _, sharp in notes)


def test_methods_may_be_words():
    assert ExplanationGallery(["gradcam", "gradual_cam"]).explainers == [GradCAM(), GradualExtrapolation(CAM())]
    with pytest.raises(ValueError, match=r"Unknown method 'gradcm'\. Did you mean gradcam"):
        ExplanationGallery(["gradcm"])
