"""Which methods fit which network, and what is left out, said and raised."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.toys import DeepTail, GapNet, build
from PIL import Image

from livecam.commands.explained_photos import PhotoExplainer
from livecam.commands.photos import read_photos
from livecam.core.normalization import Normalization
from livecam.evaluation.loaded_network import Network
from livecam.explain import CAM, Explainer, GradCAM, explain
from livecam.runtime.failures import reset_warn_once as reset_told

HALF = Normalization((0.5,) * 3, (0.25,) * 3)


def network(make, label, size=24):
    return Network(build(make), "softmax", 4, None, size, "stretch", HALF, label, "memory")


@pytest.fixture(autouse=True)
def nothing_told():
    reset_told()


@pytest.fixture
def two():
    return [network(GapNet, "plain"), network(DeepTail, "deep", 36)]


@pytest.fixture
def photos(tmp_path, two):
    noise = np.random.default_rng(0)
    paths = [(tmp_path / f"{number}.png", str(number)) for number in range(3)]
    for path, _ in paths:
        Image.fromarray(noise.integers(0, 255, (40, 60, 3), np.uint8)).save(path)
    return read_photos(paths, two)


class Moody(Explainer):
    """Refuses only once it sees what was recorded, and only networks that have a certain layer."""

    name, label, signed = "moody", "Moody", False

    def __init__(self, layer, patience=0):
        self.layer, self.patience = layer, patience

    def captures(self, structure):
        return []

    def explain(self, recording):
        if self.layer in recording.structure.layers:
            if not self.patience:
                raise ValueError("not today")
            self.patience -= 1
        return recording.images.mean(1)


def test_every_network_is_explained_as_it_is_alone(two, photos):
    methods = [GradCAM(), CAM()]
    for view, one in zip(PhotoExplainer(two, methods, "1").explain(photos), two):
        images = torch.stack([one.prepare(Image.open(photo.path)) for photo in photos])
        alone = explain(one.model, images, methods, 1, head="softmax")
        assert set(view.explanations) == set(alone) and view.prediction.target.tolist() == [1] * 3
        for name, found in view.explanations.items():
            assert torch.equal(found.map, alone[name].map) and torch.equal(view.prediction.predicted, found.predicted)
            assert torch.equal(view.prediction.probability, found.probability)
        assert [list(sample.overlays) for sample in view.samples] == [["Grad-CAM", "CAM"]] * 3
        assert view.samples[0].pixels.shape == images.shape[1:]


def test_a_layer_that_only_one_has(two, photos, caplog):
    named = GradCAM(layer="early", name="gradcam_early")
    viewers = PhotoExplainer(two, [named, GradCAM()], None)
    for _ in range(2):
        plain, deep = viewers.explain(photos)
        assert list(plain.explanations) == ["gradcam"] and list(deep.explanations) == ["gradcam_early", "gradcam"]
        assert list(plain.samples[0].overlays) == [viewers.printed["gradcam"]]
    (record,) = caplog.records
    assert record.getMessage().startswith("Explainer 'gradcam_early' failed and is left out. The model has no layer")
    assert record.exc_info


def test_a_method_may_refuse_late(two, photos, caplog):
    viewers = PhotoExplainer(two, [Moody("early"), GradCAM()], None)
    assert [list(view.explanations) for view in viewers.explain(photos)] == [["moody", "gradcam"], ["gradcam"]]
    assert [record.getMessage() for record in caplog.records] == ["Explainer 'moody' failed and is left out. not today"]
    viewers.check()


def test_where_nothing_fits_it_is_said_why(two, photos):
    with pytest.raises(ValueError, match="No method fits plain, deep: The model has no layer 'nowhere'"):
        PhotoExplainer(two, [GradCAM(layer="nowhere", name="typo")], None).explain(photos)
    with pytest.raises(ValueError, match="No method fits deep: not today"):
        PhotoExplainer(two[1:], [Moody("early")], None).explain(read_photos([(photos[0].path, "0")], two[1:]))


def test_what_fails_after_the_first_batch_leaves_no_gap(two, photos, caplog):
    viewers = PhotoExplainer(two, [Moody("early", patience=1), GradCAM()], None)
    viewers.explain(photos)
    for view in viewers.explain(photos):
        assert list(view.explanations) == ["moody", "gradcam"]
        failed = view.network.label == "deep"
        assert view.explanations["moody"].degenerate.tolist() == [failed] * 3
        assert (view.explanations["moody"].map == 0).all() == failed
    viewers.check()


def test_where_every_map_failed_it_is_said(two, photos):
    class Dark(Moody):
        def explain(self, recording):
            return recording.images.mean(1) * torch.nan

    mixed = PhotoExplainer(two, [Dark("early"), GradCAM()], None)
    mixed.explain(photos)
    mixed.check()
    dark = PhotoExplainer(two, [Dark("early")], None)
    dark.explain(photos)
    with pytest.raises(ValueError, match="Every map failed"):
        dark.check()


def test_photos_are_read_once_for_all_and_the_unreadable_named(tmp_path, two, capsys):
    Image.new("RGB", (3000, 1000), (250, 10, 10)).save(tmp_path / "wide.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (photo,) = read_photos([(tmp_path / "broken.png", "broken"), (tmp_path / "wide.png", "wide")], two)
    assert "broken.png" in capsys.readouterr().err
    assert (photo.path, photo.stem, photo.picture.size) == (Path(tmp_path / "wide.png"), "wide", (768, 256))
    assert [tuple(image.shape) for image in photo.inputs] == [(3, 24, 24), (3, 36, 36)]
    assert torch.allclose(HALF.to_pixels(photo.inputs[0])[0], torch.tensor(250 / 255))
