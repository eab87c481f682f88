import warnings
from urllib.error import URLError

import pytest
import torch
from torch import nn

from livecam.models import build_model, frozen_modules


@pytest.mark.parametrize(
    ("name", "kw"),
    [
        ("unet", {"width": 4, "depth": 2}),
        ("unet/resnet18", {"decoder_channels": [8, 8, 8, 8, 8]}),
        ("torchvision/mobilenet_v3_small", {}),
        ("timm/test_resnet", {}),
    ],
)
@pytest.mark.parametrize("outputs", [1, 5])
def test_every_family_builds(name, kw, outputs):
    net = build_model(name, outputs, **kw).eval()
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, outputs)


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_inception_networks_train_on_small_images_without_warnings(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = build_model(f"torchvision/{name}", 3)
        logits = net(torch.randn(2, 3, 96, 96))
    assert logits.shape == (2, 3)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net.transform_input


@pytest.mark.parametrize(
    ("name", "kw", "sentence"),
    [
        (
            "resnet18",
            {},
            "Unknown model 'resnet18'.*Did you mean torchvision/resnet18 or timm/resnet18 or unet/resnet18",
        ),
        ("torchvison/resnet18", {}, "Unknown model.*Did you mean torchvision/resnet18"),
        ("unett", {}, "Unknown model 'unett'.*Did you mean unet"),
        ("unet/", {}, "Unknown model 'unet/'.*unet/<smp encoder>"),
        ("unet/mobilenet_v22", {}, "Unknown encoder.*mobilenet_v2"),
        ("torchvision/resnet19", {}, "no classifier 'resnet19'.*resnet1"),
        ("torchvision/fcn_resnet50", {}, "no classifier 'fcn_resnet50'"),
        ("timm/resnet_18", {}, "no model 'resnet_18'.*resnet18"),
        ("timm/resnet18.a1_in2k", {}, "no weights tagged 'a1_in2k'.*a1_in1k"),
        ("unet", {"skip": "drop"}, "no option 'skip'. Did you mean skips"),
        ("unet/resnet18", {"encoder": "vgg11"}, "no option 'encoder'"),
        ("torchvision/resnet18", {"color": 1}, "torchvision/resnet18 cannot be built with color=1.*color"),
        ("timm/resnet18", {"color": 1}, "timm/resnet18 cannot be built with color=1.*color"),
        ("unet", {"weights": "pretrained"}, "unet has no published weights"),
        ("torchvision/resnet18", {"weights": "IMAGENET"}, "no published weights 'IMAGENET'.*IMAGENET1K_V1, DEFAULT"),
        ("timm/resnet18", {"weights": "DEFAULT"}, "weights=pretrained.*resnet18.a1_in1k"),
        ("unet/resnet18", {"weights": "DEFAULT"}, "no published weights 'DEFAULT'.*imagenet"),
    ],
)
def test_bad_names_are_refused(name, kw, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        build_model(name, 2, **kw)
    assert "\n" not in str(error.value)


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="num_classes=0"):
        build_model("torchvision/resnet18", 0)


def test_published_torchvision_weights_are_loaded_by_name(monkeypatch):
    published = build_model("torchvision/squeezenet1_1", 1000).state_dict()
    asked = []

    def download(url, **kw):
        asked.append(url.rsplit("/", 1)[1])
        return dict(published)

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    for weights, outputs in (("pretrained", 1000), ("IMAGENET1K_V1", 1000), ("DEFAULT", 4)):
        state = build_model("torchvision/squeezenet1_1", outputs, weights=weights).state_dict()
        kept = {key for key, value in state.items() if torch.equal(value, published[key])}
        assert published.keys() - kept == (set() if outputs == 1000 else {"classifier.1.weight", "classifier.1.bias"})
    assert asked == ["squeezenet1_1-b8a52dc0.pth"] * 3


@pytest.mark.parametrize(
    ("name", "downloader"),
    [
        ("torchvision/squeezenet1_1", "torchvision.models._api.load_state_dict_from_url"),
        ("timm/test_resnet", "timm.models._builder.load_state_dict_from_hf"),
        ("unet/resnet18", "segmentation_models_pytorch.encoders.hf_hub_download"),
    ],
)
def test_unreachable_hubs_are_one_sentence(monkeypatch, name, downloader):
    def offline(*args, **kw):
        raise URLError("unknown host")

    monkeypatch.setattr(downloader, offline)
    with pytest.raises(ValueError, match=r"could not be fetched \(.*unknown host.*\): .*pass the local file") as error:
        build_model(name, 2, weights="pretrained")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "kw", "head"),
    [
        ("unet", {"width": 4, "depth": 2}, {"head.weight", "head.bias"}),
        ("torchvision/mobilenet_v3_small", {}, {"classifier.3.weight", "classifier.3.bias"}),
        ("torchvision/regnet_y_400mf", {}, {"fc.weight", "fc.bias"}),
        ("timm/test_resnet", {}, {"fc.weight", "fc.bias"}),
    ],
)
def test_freezing_leaves_the_head(name, kw, head):
    state = torch.random.get_rng_state()
    net = build_model(name, 4, freeze_backbone=True, **kw)
    after = torch.random.get_rng_state()
    assert {key for key, parameter in net.named_parameters() if parameter.requires_grad} == head
    torch.random.set_rng_state(state)
    build_model(name, 4, **kw)
    assert torch.equal(torch.random.get_rng_state(), after), "finding the head spent random numbers"


def test_frozen_modules_are_outermost():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.ReLU(), nn.Linear(4, 2))
    assert frozen_modules(net) == []
    net[0].requires_grad_(False)
    assert frozen_modules(net) == [net[0]]
    net.requires_grad_(False)
    assert frozen_modules(net) == [net]
    net[0][1].requires_grad_(True)
    assert frozen_modules(net) == [net[0][0], net[2]]
