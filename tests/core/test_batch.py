import pytest
import torch

from livecam.core.batch import concatenate, read_batch
from livecam.core.errors import DataError

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
    [(IMAGES, "Tensor"), ({"a": IMAGES, "b": LABELS}, r"\['a', 'b'\]"), ((IMAGES,), "tuple"), (("a", "b"), "tuple")],
)
def test_something_else(batch, got):
    with pytest.raises(DataError, match=f"a pair \\(images, labels\\); got {got}"):
        read_batch(batch)


HOT = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
CORNERS = torch.zeros(3, 8, 10, dtype=torch.bool)
CORNERS[0, 0, 0] = CORNERS[1, 7, 0] = CORNERS[2, 0, 9] = True


def scenes():
    images = torch.arange(3.0)[:, None, None, None].expand(3, 3, 8, 10)
    pairs = (torch.tensor([0, 0, 2]), torch.tensor([0, 2, 1]), CORNERS)
    return read_batch({"image": images, "label": HOT, "index": torch.tensor([5, 6, 9]), "pairs": pairs})


def test_several_labels_are_looked_at_one_by_one():
    rows = scenes().one_row_per_label()
    assert len(rows) == 3 and rows.image[:, 0, 0, 0].tolist() == [0, 0, 2]
    assert rows.label.tolist() == [0, 2, 1] and rows.index.tolist() == [5, 5, 9]
    assert torch.equal(rows.mask, CORNERS) and rows.has_mask.tolist() == [True] * 3 and rows.pairs is None
    assert torch.equal(rows.labels, HOT[[0, 0, 2]]), "what else is right to answer"
    assert rows.one_row_per_label() is rows


def test_the_mask_of_one_category_each():
    own = scenes().with_masks_for(torch.tensor([2, 2, 2]))
    assert own.has_mask.tolist() == [True, False, False]
    assert torch.equal(own.mask[0], CORNERS[1]) and not own.mask[1:].any()
    assert torch.equal(own.labels, HOT) and len(own) == 3
    plain = read_batch((IMAGES, LABELS))
    assert plain.with_masks_for(LABELS) is plain and plain.one_row_per_label() is plain and plain.labels is LABELS


def test_labels_without_masks_are_pairs_too():
    # Below a half is no label: not there, or unknown.
    batch = read_batch((torch.zeros(3, 3, 8, 10), HOT - torch.tensor([[0, 0, 0, 1]])))
    assert batch.pairs is None and batch.known_pairs.mask is None
    rows = batch.one_row_per_label()
    assert rows.label.tolist() == [0, 2, 1] and rows.mask is None and rows.has_mask is None and rows.index is None
    assert batch.with_masks_for(LABELS) is batch


@pytest.mark.parametrize("keep", [torch.tensor([True, False, True]), torch.tensor([0, 2])])
def test_some_rows_keep_their_pairs(keep):
    some = scenes().select(keep)
    assert some.image[:, 0, 0, 0].tolist() == [0, 2] and some.index.tolist() == [5, 9]
    assert [part.tolist() for part in some.pairs[:2]] == [[0, 0, 1], [0, 2, 1]]
    assert torch.equal(some.pairs.mask, CORNERS) and torch.equal(some.label, HOT[[0, 2]])
    last = scenes().select(torch.tensor([2]))
    assert [part.tolist() for part in last.pairs[:2]] == [[0], [1]] and torch.equal(last.pairs.mask, CORNERS[2:])


def test_batches_join():
    whole = concatenate([scenes(), scenes().select(torch.tensor([2]))])
    assert whole.index.tolist() == [5, 6, 9, 9] and whole.mask is None
    assert [part.tolist() for part in whole.pairs[:2]] == [[0, 0, 2, 3], [0, 2, 1, 1]]
    assert whole.pairs.mask.shape == (4, 8, 10)
    assert concatenate([read_batch((IMAGES, LABELS))] * 2).label.tolist() == [0, 1, 2, 0, 1, 2]


def test_a_column_is_for_one_logit():
    batch = read_batch((IMAGES, torch.tensor([[1.0], [0.0], [1.0]])))
    assert batch.label.tolist() == [1, 0, 1] and batch.label.dtype == torch.long and not batch.is_multilabel


def test_masks_of_pairs_have_to_fit():
    with pytest.raises(ValueError, match="4 x 4 px do not fit images of 8 x 10 px"):
        read_batch({"image": IMAGES, "label": HOT, "pairs": (LABELS, LABELS, torch.zeros(3, 4, 4))})
