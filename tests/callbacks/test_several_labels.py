"""Multi-label images: every category is explained and scored on its own mask, as a plain loop over pairs does."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.coco_tree import plant, polygon
from helpers.toys import GapNet, build, pictures
from lightning import LightningModule
from torch.utils.data import DataLoader, IterableDataset

from livecam.callbacks import ExplanationGallery, ExplanationScores, FeatureMapGallery
from livecam.callbacks.sample_gallery import balanced, class_indices
from livecam.data import Coco
from livecam.explain import GradCAM, explain
from livecam.metrics import LocalizationScore, PointingGame, localization_score
from livecam.report.drawing.strips import samples_of
from livecam.training.classifier import Classifier

pytestmark = pytest.mark.filterwarnings("ignore:Found .* in eval mode")
PERSON, DOG, BRUSH = 1, 18, 90
REGION = {PERSON: [polygon(0, 0, 15, 12)], DOG: [polygon(12, 4, 30, 20)], BRUSH: [polygon(3, 3, 9, 18)]}
# Persons are everywhere; e.jpg shows nothing.
THERE = {
    "a.jpg": [PERSON, DOG],
    "b.jpg": [PERSON],
    "c.jpg": [PERSON, DOG, BRUSH],
    "d.jpg": [PERSON, DOG],
    "e.jpg": [],
    "f.jpg": [PERSON],
    "g.jpg": [BRUSH],
}


@pytest.fixture
def data(tmp_path):
    plant(tmp_path, [*THERE], [(name, number, REGION[number]) for name, own in THERE.items() for number in own])
    return Coco(str(tmp_path), image_size=32, batch_size=3, num_workers=0, resize="stretch")


@pytest.fixture
def module(data):
    torch.manual_seed(3)
    net = Classifier("unet", 3, "multilabel", model_args={"width": 4, "depth": 1}, image_size=32).eval()
    # Probabilities on both sides of a half.
    with torch.no_grad():
        net.net.head.bias -= net(torch.stack([data.sets["val"][index]["image"] for index in range(7)])).mean(0)
    return net


def by_hand(module, data):
    """(index, category, probability, localization, hit) of each pair, one image and category at a time."""
    found = []
    for index in range(len(data.sets["val"])):
        sample = data.sets["val"][index]
        for category, mask in zip(sample["categories"].tolist(), sample["masks"]):
            image = sample["image"][None]
            own = explain(module, image, [GradCAM()], category, head="multilabel")["gradcam"]
            point = divmod(int(own.map[0].argmax()), 32)
            share = localization_score(own.energy, mask[None]).item()
            sure = torch.sigmoid(module(image))[0, category].item()
            found.append((index, category, sure, share, bool(mask[point]) and own.map.max().item() > 0))
    return found


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_scores_equal_a_loop_over_pairs(make_trainer, module, data, least):
    scores = ExplanationScores(
        ["gradcam"], [LocalizationScore(), PointingGame(3, ties="first")], min_probability=least, control=False
    )
    make_trainer(callbacks=[scores]).validate(module, datamodule=data, verbose=False)
    pairs = by_hand(module, data)
    kept = [pair for pair in pairs if pair[2] >= least]
    assert len(pairs) == 10 and (least == 0 or 0 < len(kept) < 10), "the threshold should tell pairs apart"
    shares = [share for *_, share, _ in kept if share == share]
    assert scores.results["localization"]["gradcam"] == pytest.approx(sum(shares) / len(shares), abs=1e-5)
    assert scores.results["localization_n"]["gradcam"] == len(shares)
    hits = {}
    for _, category, _, _, hit in kept:
        hits.setdefault(category, []).append(hit)
    rate = sum(sum(own) / len(own) for own in hits.values()) / len(hits)
    assert scores.results["pointing"]["gradcam"] == pytest.approx(rate, abs=1e-6)
    logged = scores_logged(make_trainer, module, data, least)
    assert logged.get("val/below_probability_0.5", 0) == len(pairs) - len(kept)
    assert logged["val/images_without_mask"] == 0


def scores_logged(make_trainer, module, data, least):
    trainer = make_trainer(callbacks=[ExplanationScores(["gradcam"], [LocalizationScore()], min_probability=least)])
    trainer.validate(module, datamodule=data, verbose=False)
    return {key: float(value) for key, value in trainer.callback_metrics.items()}


def test_the_predicted_class_has_a_mask_where_it_is_there(make_trainer, module, data):
    scores = ExplanationScores(["gradcam"], [LocalizationScore()], target="predicted", control=False)
    trainer = make_trainer(callbacks=[scores])
    trainer.validate(module, datamodule=data, verbose=False)
    shares, without = [], 0
    for sample in (data.sets["val"][index] for index in range(7)):
        own = explain(module, sample["image"][None], [GradCAM()], head="multilabel")["gradcam"]
        there = (sample["categories"] == own.target[0]).nonzero()[:, 0]
        without += not len(there)
        shares += [localization_score(own.energy, sample["masks"][there]).item()] if len(there) else []
    assert 0 < without < 7
    assert trainer.callback_metrics["val/images_without_mask"].item() == without
    defined = [share for share in shares if share == share]
    assert scores.results["localization"]["gradcam"] == pytest.approx(sum(defined) / len(defined), abs=1e-5)


def test_labels_without_masks_are_scored_by_what_needs_none(make_trainer, module):
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]])
    scores = ExplanationScores(["gradcam"])
    make_trainer(callbacks=[scores]).validate(module, DataLoader([*zip(images, labels)], 2), verbose=False)
    assert scores.results["sharpness_n"]["gradcam"] + scores.results["sharpness_undefined"]["gradcam"] == 6
    assert "localization" not in scores.results


def history(logger):
    text = Path(logger.log_dir, "data.js").read_text()
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def captions(logger, key="explanations/gallery"):
    (shown,) = (gallery for gallery in history(logger)["galleries"] if gallery["key"] == key)
    return [image["caption"] for image in shown["entries"][-1]["images"]]


@pytest.mark.parametrize("target", ["label", "predicted"])
def test_a_gallery_shows_the_rarest_category_of_each_image(make_trainer, picture_logger, module, data, target):
    gallery = ExplanationGallery(["gradcam"], samples=4, target=target)
    trainer = make_trainer(callbacks=[gallery, FeatureMapGallery(samples=2)], logger=picture_logger, max_epochs=1)
    data.sets["train"] = data.sets["val"]
    trainer.fit(module, datamodule=data)
    # Two toothbrushes, then dogs, persons; of each image that which is rarest.
    assert class_indices(data.sets["val"]) == [1, 0, 2, 1, -1, 0, 2]
    assert gallery.indices == balanced([1, 0, 2, 1, -1, 0, 2], 4) and 4 not in gallery.indices
    told = captions(picture_logger)
    rarest = {0: "dog", 1: "person", 2: "toothbrush", 3: "dog", 5: "person", 6: "toothbrush"}
    names = {PERSON: "person", DOG: "dog", BRUSH: "toothbrush"}
    for index, caption in zip(gallery.indices, told):
        name, true, *answers = caption.split(" · ")
        assert name == f"#{index}"
        assert sorted(true.removeprefix("true ").split(", ")) == sorted(names[n] for n in [*THERE.values()][index])
        explained = answers[-1].split()[1]
        if target == "label":
            assert explained == rarest[index] == true.removeprefix("true ").split(", ")[0]
    assert len(captions(picture_logger, "explanations/features")) == 2


def test_an_image_without_categories_has_no_strip_of_a_label(make_trainer, picture_logger, module, data):
    gallery = ExplanationGallery(["gradcam"], samples=7, target="label")
    data.sets["train"] = data.sets["val"]
    make_trainer(callbacks=[gallery], logger=picture_logger, max_epochs=1).fit(module, datamodule=data)
    assert len(gallery.indices) == 6 and len(captions(picture_logger)) == 6


class Stream(IterableDataset):
    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        yield from (self.dataset[index] for index in range(len(self.dataset)))


@pytest.mark.parametrize("target", ["label", "predicted"])
def test_streams_are_shown_too(make_trainer, picture_logger, module, data, target):
    dataset = data.sets["val"]
    loader = DataLoader(Stream(dataset), 2, collate_fn=dataset.collate)
    gallery = ExplanationGallery(["gradcam"], samples=5, target=target, class_names=data.class_names)
    trainer = make_trainer(callbacks=[gallery], logger=picture_logger, max_epochs=1)
    trainer.fit(module, DataLoader(dataset, 3, collate_fn=dataset.collate), loader)
    told = captions(picture_logger)
    # The fifth image shows nothing.
    assert len(told) == (4 if target == "label" else 5)
    true = [{*caption.split(" · ")[1].removeprefix("true ").split(", ")} for caption in told]
    assert true[:2] == [{"person", "dog"}, {"person"}]
    if target == "predicted":
        assert true[4] == {"none of the classes"}
    else:
        assert [caption.split(" · ")[-1].split()[1] for caption in told][:2] == ["person", "person"], "the first each"


class Foreign(LightningModule):
    """Several labels at once, and nothing that says so but they."""

    def __init__(self):
        super().__init__()
        self.net = GapNet(3)

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def test_a_foreign_set_of_several_labels(make_trainer, picture_logger):
    """No data set that tells its labels, no module that tells its head."""
    module, images = build(Foreign), pictures(6)
    labels = torch.tensor([[0, 1, 1], [0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0]]).float()
    loader = DataLoader([*zip(images, labels)], 3)
    gallery = ExplanationGallery(["gradcam"], samples=6, target="label", strict=True)
    scores = ExplanationScores(["gradcam"], min_probability=0.5, strict=True)
    make_trainer(callbacks=[gallery, scores], logger=picture_logger, max_epochs=1).fit(module, loader, loader)
    assert gallery.indices == [0, 2, 3, 4]
    with torch.no_grad():
        sure = module.eval()(images).sigmoid()
    for index, caption in zip(gallery.indices, captions(picture_logger)):
        first = int(labels[index].argmax())
        # Each category is seen for itself: probabilities do not share a sum.
        assert caption.endswith(f"class {first} {sure[index, first]:.2f}")
    seen = int(((sure >= 0.5) & (labels > 0)).sum())
    assert 0 < seen < 6
    assert scores.results["sharpness_n"]["gradcam"] + scores.results["sharpness_undefined"]["gradcam"] == seen


def test_a_gallery_of_images_without_labels_shows_nothing(make_trainer, picture_logger):
    loader = DataLoader([*zip(pictures(4), torch.zeros(4, 3))], 2)
    gallery = ExplanationGallery(["gradcam"], samples=4, target="label", strict=True)
    make_trainer(callbacks=[gallery], logger=picture_logger, max_epochs=1).fit(build(Foreign), loader, loader)
    assert not any(shown["key"] == "explanations/gallery" for shown in history(picture_logger)["galleries"])


def test_a_column_of_labels_is_one_logit(make_trainer):
    """Both classes are explained, as they are for labels without a column."""
    net, images, labels = build(GapNet, 1), pictures(6), torch.tensor([1, 0, 1, 0, 1, 1])

    class OneLogit(Foreign):
        def __init__(self):
            super().__init__()
            self.net = net

        def validation_step(self, batch, batch_idx):
            pass

    results = []
    for given in (labels, labels[:, None].float()):
        scores = ExplanationScores(["gradcam"], strict=True)
        make_trainer(callbacks=[scores]).validate(OneLogit(), DataLoader([*zip(images, given)], 3), verbose=False)
        results.append(scores.results)
    assert results[0] == results[1] and results[0]["sharpness_n"]["gradcam"] > 0


def test_frames_say_whether_the_explained_category_is_seen():
    answer = SimpleNamespace(
        target=torch.tensor([0, 0, 1]), predicted=torch.tensor([0, 0, 1]), probability=torch.tensor([0.9, 0.2, 0.9])
    )
    hot = torch.tensor([[1, 0, 1], [1, 0, 0], [0, 0, 0]])
    seen, missed, wrong = samples_of(
        torch.zeros(3, 3, 4, 4), {}, [], list("abc"), ["x", "y", "z"], hot, prediction=answer
    )
    assert (seen.correct, missed.correct, wrong.correct) == (True, False, False)
    assert [sample.label for sample in (seen, missed, wrong)] == ["x, z", "x", "none of the classes"]


def test_another_network_explains_the_same_pairs(make_trainer, module, data):
    """Maps of the reference are those of each pair's own category."""
    asked = []

    class Reference:
        def masks(self, batch, normalization):
            asked.extend(zip(batch.index.tolist(), batch.label.tolist()))
            return batch.mask.float()

    scores = ExplanationScores(["gradcam"], reference=Reference(), control=False, strict=True)
    make_trainer(callbacks=[scores]).validate(module, datamodule=data, verbose=False)
    assert sorted(asked) == [(index, category) for index, category, *_ in by_hand(module, data)]
    assert scores.results["localization_ref"] == pytest.approx(scores.results["localization"])
