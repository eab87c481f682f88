"""Score-CAM in the conventions of torchcam, pytorch_grad_cam and the authors, where their weights matter."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers.libraries import agree, far, grad_cam_map, scaled, torchcam_map
from helpers.toys import DeepTail, StagedNet, build, pictures

from livecam.core.maps import minmax
from livecam.explain import ScoreCAM, explain

pytestmark = pytest.mark.oracle

TORCHCAM = {"mask_order": "scale_first"}
GRAD_CAM = {"align_corners": True}


def ours(net, images, targets, layer, **kwargs):
    return explain(net, images, [ScoreCAM(layer, **kwargs)], targets)["scorecam"]


def torchcams(net, images, targets, layer):
    from torchcam.methods import ScoreCAM as Theirs

    with torch.no_grad():
        return minmax(torchcam_map(Theirs, net, images, targets, layer))


def grad_cams(net, images, targets, layer):
    from pytorch_grad_cam import ScoreCAM as Theirs

    return grad_cam_map(Theirs, net, images, targets, layer)


def decided_by_few(found):
    """Where all channels weigh alike, any two conventions agree, and so would a wrong one."""
    return bool((found.details["n_eff"] < found.details["channels"] / 4).all())


@pytest.fixture(params=["final", "inner"])
def toy(request):
    """A net in double precision with a head just so loud that few channels decide."""
    make, layer = (StagedNet, "last") if request.param == "final" else (DeepTail, "early")
    net, images, targets = build(make).double(), pictures(3, (40, 32)).double(), torch.tensor([3, 0, 2])
    while not all(decided_by_few(ours(net, images, targets, layer, **each)) for each in ({}, TORCHCAM, GRAD_CAM)):
        scaled(net, "fc", 2)
    return net, images, targets, layer


def test_torchcam(toy):
    found = ours(*toy, **TORCHCAM)
    assert decided_by_few(found)
    agree(minmax(found.raw), torchcams(*toy), 1e-6)


def test_grad_cam(toy):
    found = ours(*toy, **GRAD_CAM)
    assert decided_by_few(found)
    agree(found.map, grad_cams(*toy), 1e-6)


def authors(net, image, target, layer):
    """A channel weighs the class's probability behind its mask; what is summed are enlarged channels, as they are."""
    kept, total = [], 0
    handle = net.get_submodule(layer).register_forward_hook(lambda module, args, output: kept.append(output))
    with torch.no_grad():
        net(image)
        handle.remove()
        for channel in kept[0][0]:
            large = F.interpolate(channel[None, None], image.shape[-2:], mode="bilinear", align_corners=False)
            if large.max() > large.min():
                mask = (large - large.min()) / (large.max() - large.min())
                total = total + net(image * mask).softmax(1)[0, target] * large[0, 0]
    return total.relu()


def test_the_authors_convention(toy):
    net, images, targets, layer = toy
    found = ours(net, images, targets, layer, weighting="prob")
    for i, target in enumerate(targets.tolist()):
        agree(found.map[i : i + 1], minmax(authors(net, images[i : i + 1], target, layer)[None]), 1e-6)


def test_signed_activations_are_cut_after_enlarging_by_the_authors_and_before_by_us():
    net, image = scaled(build(StagedNet), "fc", 100).double(), pictures(1, (40, 32)).double()
    found = ours(net, image, 3, "conv", weighting="prob")
    theirs = authors(net, image, 3, "conv")
    assert theirs.min() == 0 and found.raw.min() == 0
    enlarged = F.interpolate(found.raw[:, None], image.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
    # Cutting first can only add: the negative cells no longer pull their neighbors down.
    assert (enlarged - theirs).min() > -1e-12 and far(minmax(enlarged[None]), minmax(theirs[None])) > 0.05


def test_the_three_conventions_differ(toy):
    net, images, targets, layer = toy
    maps = {name: ours(*toy, **options).map for name, options in (("torchcam", TORCHCAM), ("grad_cam", GRAD_CAM))}
    maps["authors"] = ours(*toy, weighting="prob").map
    maps["ours"] = ours(*toy).map
    size = images.shape[-2:]
    theirs = {
        "torchcam": minmax(F.interpolate(torchcams(*toy)[:, None], size, mode="bilinear")[:, 0]),
        "grad_cam": grad_cams(*toy),
        "authors": minmax(torch.stack([authors(net, images[i : i + 1], int(targets[i]), layer) for i in range(3)])),
    }
    # Each library is met by its own options only: an option that did nothing would fail here.
    for library, theirs_map in theirs.items():
        for convention, our_map in maps.items():
            difference = far(our_map, theirs_map)
            assert difference < 1e-6 if library == convention else difference > 0.01, (library, convention, difference)


def test_the_baseline_changes_nothing_under_softmax(toy):
    net, images, targets, layer = toy
    before = torchcams(net, images, targets, layer)
    # torchcam subtracts the score of the unmasked image; a softmax over channels is blind to what all have in common.
    with torch.no_grad():
        net.fc.bias = torch.nn.Parameter(torch.full((4,), 7.0, dtype=torch.float64))
    agree(torchcams(net, images, targets, layer), before, 1e-6)
    agree(minmax(ours(net, images, targets, layer, **TORCHCAM).raw), before, 1e-6)
    assert far(ours(*toy, weighting="logit_diff").map, ours(*toy).map) > 0.02


def as_both_do(net, image, target, tolerance):
    """Our maps of a photo in either library's convention are theirs, and not each other's."""
    both = [ScoreCAM("features", name="torchcam", **TORCHCAM), ScoreCAM("features", name="grad_cam", **GRAD_CAM)]
    found = explain(net, image, both, target)
    for explanation in found.values():
        assert explanation.predicted == target and explanation.probability > 0.9 and decided_by_few(explanation)
    agree(minmax(found["torchcam"].raw), torchcams(net, image, target, "features"), tolerance)
    agree(found["grad_cam"].map, grad_cams(net, image, target, "features"), tolerance)
    assert far(found["torchcam"].map, found["grad_cam"].map) > 0.1


# A photo at 96 px that both networks still recognize: a full Score-CAM is a forward per live channel.
RECOGNIZED = 96, (11,)


@pytest.mark.slow
def test_a_trained_network(mobilenet, photos_at):
    # In float32 a logit near 70 is known to 1e-5 at best, and that is what softmax makes of a weight's relative error.
    as_both_do(mobilenet, *photos_at(*RECOGNIZED), 1e-5)


@pytest.mark.slow
def test_a_trained_network_in_double_precision(squeezenet, photos_at):
    image, target = photos_at(*RECOGNIZED)
    as_both_do(copy.deepcopy(squeezenet).double(), image.double(), target, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shown"), [("mobilenet", RECOGNIZED), ("squeezenet", (128, (0, 3, 11)))])
def test_half_precision_on_trained_networks(name, shown, photos_at, request):
    # True labels. MobileNetV2 has more than twice the channels and gives photos 0 and 3 a probability near zero, where
    # half precision alone is off by more than 0.02.
    net, (images, targets) = request.getfixturevalue(name), photos_at(*shown)
    full, half = (ours(net, images, targets, "features", precision=precision) for precision in ("full", "bf16"))
    assert decided_by_few(full)
    assert 0 < far(full.map, half.map) < 0.02
