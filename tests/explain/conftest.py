"""Real networks and photos, for the tests that must not be fooled by random weights."""

import json

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.models import vgg

from livecam.core.normalization import IMAGENET


@pytest.fixture(scope="module")
def mobilenet(data_folder):
    return _trained(data_folder, "mobilenet_v2")


@pytest.fixture(scope="module")
def squeezenet(data_folder):
    return _trained(data_folder, "squeezenet1_1")


@pytest.fixture(scope="module")
def photos(photos_at):
    return photos_at(224, (0, 1, 2))


@pytest.fixture(scope="module")
def photos_at(data_folder):
    """Reads labeled photos by their place in the alphabet, as model input of a chosen size."""

    def read(size, places):
        known = json.loads((data_folder / "ilsvrc_val" / "annotations.json").read_text())
        names = [sorted(known)[place] for place in places]
        files = [data_folder / "ilsvrc_val" / "images" / name for name in names]
        pixels = [np.asarray(Image.open(file).convert("RGB").resize((size, size))) for file in files]
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
        return IMAGENET.to_input(images), torch.tensor([known[name]["label"] for name in names])

    return read


@pytest.fixture(scope="module")
def slim_vgg():
    """Builds torchvision's VGGs with 64 hidden units instead of 4096: most of their 130 M weights sit behind the maps.

    For what holds whatever the weights; networks come without their authors' classifier only.
    """

    def make(name, classes=10):
        features = vgg.make_layers(vgg.cfgs[{"vgg11": "A", "vgg16": "D", "vgg19": "E"}[name]])
        with torch.device("meta"):
            net = vgg.VGG(features, classes)
        for place, inside, outside in ((0, 512 * 49, 64), (3, 64, 64), (6, 64, classes)):
            net.classifier[place] = nn.Linear(inside, outside)
        return net

    return make


def _trained(data_folder, name):
    net = torchvision.models.get_model(name, weights=None).eval()
    net.load_state_dict(torch.load(data_folder / "weights" / f"{name}_imagenet.pth", weights_only=True))
    return net
