import pytest
import torch

from livecam.batch import read_batch

IMAGES, LABELS = torch.zeros(3, 3, 8, 10), torch.tensor([0, 1, 2])


@pytest.mark.parametrize("batch", [(IMAGES, LABELS), [IMAGES, LABELS], (IMAGES, LABELS, "more")])
def test_somebody_elses_pair(batch):
    read = read_batch(batch)
    assert read.image is IMAGES and read.label is LABELS
    assert read.mask is None and read.has_mask is None and read.index is None
    assert len(read) == 3


def test_dict_with_everything():
    given = {
        "image": IMAGES,
        "label": LABELS,
        "mask": torch.ones(3, 8, 10, dtype=torch.bool),
        "has_mask": torch.tensor([True, False, True]),
        "index": torch.arange(3),
        "name": ["a", "b", "c"],
    }
    read = read_batch(given)
    assert all(getattr(read, key) is given[key] for key in ("image", "label", "mask", "has_mask", "index"))


def test_masks_without_a_word_are_all_there():
    read = read_batch({"image": IMAGES, "label": LABELS, "mask": torch.zeros(3, 8, 10, dtype=torch.bool)})
    assert read.has_mask.tolist() == [True] * 3


def test_masks_of_another_size():
    with pytest.raises(ValueError, match="10 x 8 px do not fit images of 8 x 10 px: transform them together"):
        read_batch({"image": IMAGES, "label": LABELS, "mask": torch.zeros(3, 10, 8)})


@pytest.mark.parametrize(
    ("batch", "got"),
    [(IMAGES, "Tensor"), ({"x": IMAGES, "y": LABELS}, r"\['x', 'y'\]"), ((IMAGES,), "tuple"), (("a", "b"), "tuple")],
)
def test_something_else(batch, got):
    with pytest.raises(TypeError, match=f"a pair \\(images, labels\\); got {got}"):
        read_batch(batch)
