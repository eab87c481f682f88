"""Labels and class names of other people's data sets are read right, or refused in one sentence."""

import logging

import numpy as np
import pytest
import torch
from foreign_fits import Module, Rows, fit, images, right

from livecam.callbacks import ExplanationGallery, ExplanationScores
from livecam.core.batch import read_batch
from livecam.core.labels import is_unlabeled, read_class_names, read_labels
from livecam.explain import GradCAM, Saliency

LABELS = torch.tensor([0, 1, 1, 0])


@pytest.mark.parametrize(
    "given",
    [
        LABELS.float(),
        LABELS.half(),
        LABELS.double()[:, None],
        LABELS.bool(),
        LABELS.to(torch.uint8),
        LABELS[:, None].int(),
        LABELS.numpy(),
        LABELS.numpy().astype(np.float32),
        LABELS.tolist(),
        torch.tensor([0.1, 0.9, 0.5, 0.4]),
    ],
    ids=lambda given: f"{type(given).__name__} {getattr(given, 'dtype', '')} {getattr(given, 'shape', '')}",
)
def test_numbers_of_any_type_are_class_indices(given):
    assert read_labels(given).dtype == torch.int64 and read_labels(given).tolist() == [0, 1, 1, 0]


def test_indices_and_rows_stay_as_they_are():
    hot = torch.eye(3)
    assert read_labels(LABELS) is LABELS and read_labels(hot) is hot


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (torch.tensor([0, -100, 2]), [False, True, False]),
        (torch.tensor([-1, 0, 2]), [True, False, False]),
        (torch.tensor([0, 255, 2], dtype=torch.uint8), [False, True, False]),
        (torch.tensor([0.0, float("nan"), 2.0]), [False, True, False]),
        (torch.tensor([float("inf"), 0.0, 1.0]), [True, False, False]),
    ],
)
def test_what_stands_for_no_label(given, missing):
    assert is_unlabeled(read_labels(given), 3).tolist() == missing
    assert not is_unlabeled(torch.tensor([255]), 1000).any(), "a class of that number is a class"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (torch.tensor([0.0, 2.37]), "Labels such as 2.37 are no classes"),
        (["cat", "dog"], "Labels are words, such as 'cat'"),
        ([None, 1], "Labels should be numbers of classes"),
    ],
)
def test_what_is_no_label_is_refused_in_one_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_labels(given)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (np.array(["cat", "dog"]), ["cat", "dog"]),
        ({0: "cat", 1: "dog"}, ["cat", "dog"]),
        ({1: "dog", 0: "cat"}, ["cat", "dog"]),
        ({"cat": 0, "dog": 1}, ["cat", "dog"]),
        ({np.int64(0): "cat", np.int64(2): "dog"}, ["cat", "class 1", "dog"]),
        ([3, 5], ["3", "5"]),
        ("cat", None),
        ([], None),
        ({}, None),
        (7, None),
        ({"a": "b"}, None),
    ],
)
def test_class_names_of_any_kind(given, names):
    assert read_class_names(given) == names


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("pixel_values", "labels"),
        ("image", "target"),
        ("images", "targets"),
        ("img", "lab"),
        ("x", "y"),
        ("inputs", "labels"),
    ],
)
def test_keys_of_other_libraries(image, label):
    pixels, labels = images(4)
    # Decoys: other whole numbers of the same length.
    batch = {"idx": torch.arange(4), image: pixels, label: labels, "path": ["a", "b", "c", "d"]}
    read = read_batch(batch)
    assert read.image is pixels and read.label is labels


def test_of_several_keys_livecams_own_counts_and_others_are_asked_about():
    pixels, labels = images(4)
    read = read_batch({"image": pixels, "label": labels, "target": torch.zeros(4), "x": pixels[:, :1]})
    assert read.image is pixels and read.label is labels
    with pytest.raises(ValueError, match="A batch has 'labels' and 'y': call the one that is meant 'label'"):
        read_batch({"x": pixels, "labels": labels, "y": labels})
    with pytest.raises(ValueError, match="A batch is a dict with 'image' and 'label'"):
        read_batch({"x": pixels, "answer": labels})


@pytest.mark.parametrize("names", [None, ["cat", "dog"]])
@pytest.mark.parametrize("kind", [torch.float32, torch.bool, torch.uint8, torch.float16])
def test_a_gallery_of_one_logit_frames_right_answers_right(kind, names):
    pixels, labels = images(8, 2)
    gallery = ExplanationGallery([GradCAM()], samples=8, class_names=names)
    module = Module(1)
    trainer = fit(module, Rows(zip(pixels, labels.to(kind))), gallery)
    assert [sample.correct for sample in gallery._last] == right(module, pixels, labels)
    words = names or ["class 0", "class 1"]
    assert [sample.label for sample in gallery._last] == [words[label] for label in labels]
    assert all(f"true {words[label]} " in caption for label, caption in zip(labels, trainer.logger.captions))


@pytest.mark.parametrize("kind", [torch.float32, torch.uint8, torch.int32, torch.float64])
def test_scores_are_those_of_int64_labels(kind):
    pixels, labels = images(8)
    results = []
    for given in (labels, labels.to(kind), labels[:, None].to(kind)):
        scores = ExplanationScores([Saliency(), GradCAM()])
        fit(Module(), Rows(zip(pixels, given)), scores)
        results.append(scores.results)
    assert results[0] and results[1] == results[0] and results[2] == results[0]


@pytest.mark.parametrize("ignored", [-100, -1, 255, float("nan")])
def test_an_ignored_label_costs_its_image_alone(ignored):
    pixels, _ = images(8, 2)
    labels = torch.tensor([0, ignored, 1, 0, 1, 0, 1, 0])
    scores = ExplanationScores([Saliency()])
    trainer = fit(Module(2), Rows(zip(pixels, labels)), scores)
    assert scores.results["sharpness_n"] == {"saliency": 7}
    assert trainer.callback_metrics["val/images_without_label"] == 1
    assert trainer.callback_metrics["val/failed_maps"] == 0
    # The others' scores are what they are without it.
    known = torch.tensor([0, 2, 3, 4, 5, 6, 7])
    alone = ExplanationScores([Saliency()])
    fit(Module(2), Rows(zip(pixels[known], labels[known].long())), alone)
    assert scores.results["sharpness"]["saliency"] == pytest.approx(alone.results["sharpness"]["saliency"], rel=1e-6)


def test_an_ignored_label_is_framed_in_no_color():
    pixels, _ = images(4, 2)
    gallery = ExplanationGallery([GradCAM()], samples=4)
    fit(Module(2), Rows(zip(pixels, torch.tensor([0, -100, 1, 0]))), gallery)
    by_image = {int(sample.name[1:]): sample for sample in gallery._last}
    assert by_image[1].label is None and by_image[1].correct is None and by_image[0].correct is not None


class Frame:
    """A column as pandas has it."""

    def __init__(self, values):
        self.values = np.array(values)

    def __len__(self):
        return len(self.values)

    def to_numpy(self):
        return self.values


Y = [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("attributes", "head", "words"),
    [
        ({"targets": Frame(Y)}, None, ["class 0", "class 1"]),
        ({"targets": ["cat", "dog"] * 2}, None, ["class 0", "class 1"]),
        ({"targets": Frame(["cat", "dog"] * 2)}, None, ["class 0", "class 1"]),
        ({"targets": Y, "classes": np.array(["cat", "dog"])}, None, ["cat", "dog"]),
        ({"targets": Y, "classes": {0: "cat", 1: "dog"}}, None, ["cat", "dog"]),
        ({"targets": Y, "classes": {"cat": 0, "dog": 1}}, None, ["cat", "dog"]),
        ({"targets": Y}, [256, 2], ["class 0", "class 1"]),
        ({"targets": Y}, {"first": 2}, ["class 0", "class 1"]),
    ],
)
def test_attributes_of_somebody_elses_data_set_and_module(attributes, head, words, caplog):
    pixels, _ = images(4, 2)
    module, gallery = Module(2), ExplanationGallery([GradCAM()], samples=2)
    module.head = head
    with caplog.at_level(logging.WARNING):
        trainer = fit(module, Rows(zip(pixels, torch.tensor(Y)), **attributes), gallery)
    assert not [record for record in caplog.records if "failed" in record.getMessage()]
    assert [sample.label for sample in gallery._last] == words and len(trainer.logger.captions) == 2


@pytest.mark.parametrize("names", [np.array(["a", "b", "c"]), {0: "a", 1: "b", 2: "c"}, ("a", "b", "c")])
def test_class_names_of_a_module(names):
    pixels, labels = images(6)
    module, gallery = Module(), ExplanationGallery([GradCAM()], samples=3)
    module.class_names = names
    trainer = fit(module, Rows(zip(pixels, labels)), gallery)
    true = ["abc"[labels[index]] for index in gallery.indices]
    assert [f"true {name} " in caption for name, caption in zip(true, trainer.logger.captions)] == [True] * 3


def test_maps_of_a_batch_that_cannot_be_read_count_as_failed():
    pixels, _ = images(8)
    rows = [{"first": image, "second": index} for index, image in enumerate(pixels)]
    module = Module(loss=lambda module, batch: 0 * module(batch["first"]).sum())
    trainer = fit(module, Rows(rows), ExplanationScores([Saliency(), GradCAM()]))
    assert trainer.callback_metrics["val/failed_maps"] == 16
    read = [{"pixel_values": image, "labels": index % 3} for index, image in enumerate(pixels)]
    module = Module(loss=lambda module, batch: 0 * module(batch["pixel_values"]).sum())
    scores = ExplanationScores([Saliency(), GradCAM()])
    trainer = fit(module, Rows(read), scores)
    assert trainer.callback_metrics["val/failed_maps"] == 0 and scores.results["sharpness_n"]["gradcam"] == 8
