"""MeanAveragePrecision: over the classes that occur, rare ones too, and NaN where there are none."""

import pytest
import torch

from livecam.training.classifier import MeanAveragePrecision


def measured(scores, labels):
    metric = MeanAveragePrecision(scores.shape[1])
    for some, own in zip(scores.split(2), labels.split(2)):
        metric.update(some.sigmoid(), own.long())
    return float(metric.compute())


def exact(score, label):
    """Precision at each hit, in the order of scores."""
    hits = label[score.argsort(descending=True)].double()
    return float((hits.cumsum(0) / torch.arange(1, 1 + len(hits)) * hits).sum() / hits.sum())


def test_classes_that_do_not_occur_are_no_failures():
    """By hand, of images in the order of their scores: class 0 is right, wrong, right; class 1 wrong, right; no 2."""
    scores = torch.tensor([[3.0, 2.0, 0.0], [1.0, 1.0, 0.0], [-1.0, -2.0, 0.0]])
    labels = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    assert measured(scores, labels) == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)


def test_rare_classes_are_ranked_by_probabilities_near_zero():
    """One in a hundred, whose logits lie around -7: equal steps of probability would see a single value."""
    noise = torch.Generator().manual_seed(0)
    labels = torch.rand(3000, 3, generator=noise) < torch.tensor([0.5, 0.01, 0.01])
    scores = torch.randn(3000, 3, generator=noise) + torch.tensor([0.0, -7, -7]) + 2 * labels
    expected = sum(exact(score, label) for score, label in zip(scores.T, labels.T)) / 3
    assert measured(scores, labels) == pytest.approx(expected, abs=0.01)


def test_nothing_occurs():
    assert torch.isnan(torch.tensor(measured(torch.zeros(2, 3), torch.zeros(2, 3))))
