"""Toys whose deletion game can be played by hand: the class probability is a function of a patch's mean."""

import torch
from torch import nn

from livecam.core.heads import Head
from livecam.explain import record
from livecam.runtime.model_state import isolated_eval

PATCH = torch.zeros(8, 8)
PATCH[2:4, 1:3] = 1


class Plain(Head):
    """Outputs are probabilities already."""

    name = "plain"

    def num_classes(self, logits):
        return logits.shape[1]

    def probabilities(self, logits):
        return logits

    def loss(self, logits, labels, label_smoothing=0.0):
        raise AssertionError("nothing is trained here")


class PatchNet(nn.Module):
    """Mean of a 2 x 2 patch of 8 x 8 images, possibly squashed; anything else is not looked at."""

    def __init__(self, squash=lambda mean: mean):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.squash = squash

    def forward(self, images):
        mean = (images.mean(1) * PATCH.to(images)).sum((1, 2)) / 4
        return self.squash(mean * self.scale)[:, None]


def saturated(mean):
    return torch.sigmoid(20 * (mean - 0.3))


def certain(net, images):
    """A toy whose classes depend on the image, and can be lost with parts of it."""
    with torch.no_grad():
        blank = net(torch.zeros_like(images[:1]))[0]
        net.fc.bias -= blank
        scale = 4 / net(images).abs().amax()
        net.fc.weight *= scale
        net.fc.bias *= scale
    return net


def play(explainer, net, images=None):
    """Map and details of white 8 x 8 images, unless others are given; what is deleted becomes 0."""
    images = torch.ones(2, 3, 8, 8) if images is None else images
    targets = torch.zeros(len(images), dtype=torch.long)
    with isolated_eval(net, images.device):
        return explainer.explain(record(net, images, targets, head=Plain()))
