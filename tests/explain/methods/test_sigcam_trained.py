"""SIGCAM on a network that has learnt something: it deletes better than the map it starts from."""

import pytest
import torch
from torch import nn

from livecam.core.normalization import Normalization
from livecam.data.planted import PlantedShapes
from livecam.explain import IGOS, SIGCAM, WGradCAM, explain
from livecam.metrics import InsertionDeletion

pytestmark = pytest.mark.slow

HALF = Normalization((0.5,) * 3, (0.25,) * 3)


def block(inside, outside):
    return [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]


@pytest.fixture(scope="module")
def trained():
    """A small network after some planted shapes, and 50 images that it was not trained on."""
    torch.manual_seed(0)
    train, held = (
        [PlantedShapes(count, 4, 32, split)[i] for i in range(count)] for count, split in ((768, "train"), (200, "val"))
    )
    images, labels = torch.stack([s["image"] for s in train]), torch.tensor([s["label"] for s in train])
    images = HALF.to_input(images)
    net = nn.Sequential(
        *block(3, 16),
        nn.MaxPool2d(2),
        *block(16, 32),
        nn.MaxPool2d(2),
        *block(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 4),
    )
    steps, batch = 180, 64
    adam = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 1e-2, steps)
    for step in range(steps):
        rows = torch.arange(step * batch, (step + 1) * batch) % len(images)
        loss = nn.functional.cross_entropy(net(images[rows]), labels[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    net.eval()
    shown, classes = HALF.to_input(torch.stack([s["image"] for s in held])), torch.tensor([s["label"] for s in held])
    with torch.no_grad():
        right = (net(shown).argmax(1) == classes).nonzero()[:50, 0]
    assert len(right) == 50
    return net, shown[right]


def test_sigcam_deletes_better_than_its_base(trained):
    net, images = trained
    game = IGOS(n_steps=8, size=8, tv=2.0, baseline="mean")
    found = explain(net, images, [WGradCAM(), SIGCAM(optimizer=game)], normalization=HALF)
    deletion = {}
    metric = InsertionDeletion(baseline="mean", step=32)
    for name, explanation in found.items():
        values = metric.per_image(net, images, explanation.target, explanation.map, normalization=HALF)
        deletion[name] = values[metric.value_names.index("deletion")]
    better = (deletion["sigcam"] <= deletion["wgradcam"]).float().mean()
    assert better >= 0.6
    assert deletion["sigcam"].mean() < deletion["wgradcam"].mean()
