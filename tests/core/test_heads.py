from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch

from livecam.core.errors import UnsupportedNetworkError
from livecam.core.heads import as_logits, get_head

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
ONE = torch.tensor([[1.5], [-0.25]])


def test_softmax_reads_exclusive_classes():
    head = get_head("softmax")
    targets = torch.tensor([2, 1])
    shares = LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True)
    torch.testing.assert_close(head.probabilities(LOGITS), shares)
    torch.testing.assert_close(head.probability(LOGITS, targets), torch.stack([shares[0, 2], shares[1, 1]]))
    assert head.score(LOGITS, targets).tolist() == [0.5, 3.0]
    assert head.predict(LOGITS).tolist() == [0, 1]
    assert head.num_classes(LOGITS) == 3


def test_one_logit_scores_class_one_by_z_and_class_zero_by_minus_z():
    head = get_head("binary")
    zeros, ones = torch.tensor([0, 0]), torch.tensor([1, 1])
    assert head.score(ONE, ones).tolist() == [1.5, -0.25]
    assert head.score(ONE, zeros).tolist() == [-1.5, 0.25]
    assert head.predict(ONE).tolist() == [1, 0]
    assert head.num_classes(ONE) == 2
    torch.testing.assert_close(head.probability(ONE, ones), 1 / (1 + (-ONE[:, 0]).exp()))
    torch.testing.assert_close(head.probability(ONE, ones) + head.probability(ONE, zeros), torch.ones(2))
    # Methods 0.3: the softmax over the two logits (0, z) gives the same probabilities.
    torch.testing.assert_close(head.probabilities(ONE), torch.cat([torch.zeros(2, 1), ONE], 1).softmax(1))
    weight = torch.tensor([[1.0, -2.0]])
    assert head.class_weights(weight, torch.tensor([1, 0])).tolist() == [[1, -2], [-1, 2]]


def test_extreme_single_logits_keep_a_probability_of_class_zero():
    head = get_head("binary")
    far = torch.tensor([[40.0]])
    assert 0 < head.probabilities(far)[0, 0] < 1e-15


def test_multilabel_classes_do_not_share_probability():
    head = get_head("multilabel")
    torch.testing.assert_close(head.probabilities(LOGITS), 1 / (1 + (-LOGITS).exp()))
    assert head.score(LOGITS, torch.tensor([1, 2])).tolist() == [-1.0, 1.0]
    assert head.class_weights(torch.eye(3), torch.tensor([2])).tolist() == [[0, 0, 1]]


def test_losses_by_hand():
    labels = torch.tensor([2, 1])
    by_hand = -LOGITS.softmax(1).log()[torch.arange(2), labels].mean()
    torch.testing.assert_close(get_head("softmax").loss(LOGITS, labels), by_hand)
    p = ONE[:, 0].sigmoid()
    torch.testing.assert_close(get_head("binary").loss(ONE, torch.tensor([1, 0])), -(p[0].log() + (1 - p[1]).log()) / 2)
    hot = torch.tensor([[1, 0, 1], [0, 1, 0]])
    q = LOGITS.sigmoid()
    by_hand = -(hot * q.log() + (1 - hot) * (1 - q).log()).mean()
    torch.testing.assert_close(get_head("multilabel").loss(LOGITS, hot), by_hand)


def test_label_smoothing_moves_the_goal_towards_one_half():
    p = ONE[:, 0].sigmoid()
    by_hand = -(0.95 * p[0].log() + 0.05 * (1 - p[0]).log() + 0.05 * p[1].log() + 0.95 * (1 - p[1]).log()) / 2
    torch.testing.assert_close(get_head("binary").loss(ONE, torch.tensor([1, 0]), label_smoothing=0.1), by_hand)
    losses = -LOGITS.log_softmax(1)
    by_hand = (0.9 * losses[:, 1] + 0.1 * losses.mean(1)).mean()
    torch.testing.assert_close(
        get_head("softmax").loss(LOGITS, torch.tensor([1, 1]), label_smoothing=0.1), by_hand, atol=1e-6, rtol=0
    )


def test_auto_takes_one_output_for_binary():
    assert get_head("auto", 1).name == "binary"
    assert get_head("auto", 2).name == "softmax"


@pytest.mark.parametrize(("name", "hint"), [("sofmax", "Did you mean softmax"), ("regression", "use softmax")])
def test_unknown_head(name, hint):
    with pytest.raises(ValueError, match=hint):
        get_head(name)


def test_binary_head_on_several_logits():
    with pytest.raises(ValueError, match="reads one logit, this network returns 3"):
        get_head("binary").check_targets(torch.tensor([0]), LOGITS)


@pytest.mark.parametrize(
    ("head", "logits", "wrong"), [("softmax", LOGITS, 3), ("softmax", LOGITS, -1), ("binary", ONE, 2)]
)
def test_target_out_of_range(head, logits, wrong):
    with pytest.raises(ValueError, match=f"{wrong} is out of range.*{head} head.*0 to"):
        get_head(head).check_targets(torch.tensor([0, wrong]), logits)


Output = namedtuple("Output", "features logits")


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, "more"),
        [LOGITS],
        Output("features", LOGITS),
        SimpleNamespace(logits=LOGITS),
        {"logits": LOGITS, "aux": 1},
        {"out": LOGITS},
    ],
    ids=["tensor", "tuple", "list", "namedtuple", "object", "logits", "out"],
)
def test_logits_are_found_in_whatever_a_forward_returns(output):
    assert as_logits(output) is LOGITS


def test_a_flat_output_is_one_logit_per_image():
    assert as_logits(torch.zeros(5)).shape == (5, 1)


@pytest.mark.parametrize("output", [None, {"loss": LOGITS}, (), ("text",), 3.0])
def test_no_logits(output):
    with pytest.raises(UnsupportedNetworkError, match="returned no logits"):
        as_logits(output)


def test_segmentation_logits_are_refused():
    with pytest.raises(ValueError, match=r"\(N, K\).*\(2, 3, 4, 4\)"):
        as_logits(torch.zeros(2, 3, 4, 4))
