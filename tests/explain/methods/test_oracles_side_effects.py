"""What torchcam and pytorch_grad_cam do to the network that they look at, and where they read it; and what we do."""

import pytest
import torch
import torch.nn.functional as F
from helpers.libraries import agree, far, grad_cam_map, torchcam_map
from helpers.toys import GapNet, NormTail, build, pictures

from livecam.core.maps import minmax
from livecam.explain import GradCAM, ScoreCAM, SmoothGradCAMPlusPlus, explain

pytestmark = pytest.mark.oracle

TARGETS = torch.tensor([3, 0, 2])


def grad_cams(net, images, layer="last"):
    from pytorch_grad_cam import GradCAM as Theirs

    return grad_cam_map(Theirs, net, images, TARGETS[: len(images)], layer)


def torchcams(net, images, layer="last"):
    from torchcam.methods import GradCAM as Theirs

    return torchcam_map(Theirs, net, images, TARGETS[: len(images)], layer)


def ours(net, images, layer=None, **kwargs):
    return explain(net, images, [GradCAM(layer, **kwargs)], TARGETS[: len(images)])["gradcam"]


def pre_and_post(net, images):
    """Grad-CAM at the values before and after the functional ReLU, and pre-ReLU gradients on post-ReLU values."""
    normed = net.norm(net.conv(images)).detach().requires_grad_()
    rectified = F.relu(normed)
    score = net.fc(rectified.mean((2, 3)))[range(len(images)), TARGETS].sum()
    before, after = torch.autograd.grad(score, [normed, rectified])
    pairs = {"pre": (before, normed), "post": (after, rectified), "mixed": (before, rectified)}
    return {name: minmax((g.mean((2, 3), keepdim=True) * a.detach()).sum(1).relu()) for name, (g, a) in pairs.items()}


def test_an_in_place_relu_behind_the_layer_changes_what_the_libraries_read():
    plain, inplace, images = build(NormTail, False), build(NormTail, True), pictures(3, (40, 32))
    with torch.no_grad():
        for net in (plain, inplace):
            net.fc.weight.mul_(100)
        torch.testing.assert_close(plain(images), inplace(images), msg="one and the same function")
    expected = pre_and_post(plain, images)
    size = images.shape[-2:]
    enlarged = {name: minmax(F.interpolate(m[:, None], size, mode="bilinear")[:, 0]) for name, m in expected.items()}
    assert min(far(expected["pre"], expected[other]) for other in ("post", "mixed")) > 0.05
    assert far(expected["post"], expected["mixed"]) > 0.02

    agree(minmax(torchcams(plain, images, "norm")), expected["pre"], 1e-5)
    agree(minmax(torchcams(inplace, images, "norm")), expected["post"], 1e-5)
    agree(enlarged["pre"], grad_cams(plain, images, "norm"), 1e-5)
    # Gradients of one tensor on the values of another: on the CPU what it kept is the network's own memory.
    agree(enlarged["mixed"], grad_cams(inplace, images, "norm"), 1e-5)

    for net in (plain, inplace):
        agree(minmax(ours(net, images, "norm", post_relu=False).raw), expected["pre"], 1e-5)
    for options in ({"post_relu": True}, {}):
        agree(minmax(ours(inplace, images, **options).raw), expected["post"], 1e-5)


def test_what_grad_cam_keeps_on_the_cpu_is_the_networks_own_memory():
    from pytorch_grad_cam import GradCAM as Theirs

    net, images, outputs = build(GapNet), pictures(3), []
    net.last.register_forward_hook(lambda module, args, output: outputs.append(output))
    with Theirs(net, [net.last]) as extractor:
        extractor.activations_and_grads(images)
        assert extractor.activations_and_grads.activations[0].data_ptr() == outputs[0].data_ptr()


def test_grad_cam_leaves_the_network_in_eval_mode():
    for ask, training in ((grad_cams, False), (torchcams, True), (ours, True)):
        net = build(GapNet).train()
        ask(net, pictures(3))
        assert net.training == training and net.norm.training == training


def test_grad_cam_replaces_accumulated_gradients():
    images = pictures(3)
    for ask, kept in ((grad_cams, False), (torchcams, True), (ours, True)):
        net = build(GapNet)
        net(images).square().sum().backward()
        before = [parameter.grad.clone() for parameter in net.parameters()]
        ask(net, images)
        after = [parameter.grad for parameter in net.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(before, after)) == kept


def test_torchcam_in_train_mode_moves_running_statistics_and_mixes_neighbors():
    images = pictures(3).double()
    for ask, disturbed in ((torchcams, True), (lambda net, x: ours(net, x).raw, False)):
        net = build(GapNet).double().train()
        net.drop.p = 0.0
        before = {name: value.clone() for name, value in net.state_dict().items()}
        batch = ask(net, images)
        changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == (
            {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"} if disturbed else set()
        )
        net.load_state_dict(before)
        difference = far(minmax(ask(net, images[:1])), minmax(batch[:1]))
        assert difference > 0.05 if disturbed else difference < 1e-9


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_both_fail_where_validation_runs(mode):
    net = build(GapNet)
    expected = ours(net, pictures(3)).map
    with mode():
        images = pictures(3)
        with pytest.raises(RuntimeError):
            torchcams(net, images)
        with pytest.raises(RuntimeError):
            grad_cams(net, images)
        assert torch.equal(ours(net, images).map, expected)


def test_torchcams_noise_moves_the_global_random_state():
    from torchcam.methods import SmoothGradCAMpp

    net, images = build(GapNet), pictures(3)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    explain(net, images, [SmoothGradCAMPlusPlus(num_samples=2)])
    assert torch.equal(torch.get_rng_state(), state)
    torchcam_map(SmoothGradCAMpp, net, images, TARGETS, "last")
    assert not torch.equal(torch.get_rng_state(), state)


def test_grad_cam_swallows_an_index_error_of_its_caller(capsys):
    from pytorch_grad_cam import GradCAM as Theirs

    net = build(GapNet)
    with Theirs(net, [net.last]):
        raise IndexError("a mistake of the training loop")
    assert "a mistake of the training loop" in capsys.readouterr().out
    broken = build(GapNet)
    broken.register_forward_hook(lambda *_: [].pop())
    with pytest.raises(IndexError):
        ours(broken, pictures(3))


def test_grad_cam_shows_nothing_for_images_without_a_target():
    from pytorch_grad_cam import GradCAM as Theirs
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net, images = build(GapNet), pictures(3)
    with Theirs(net, [net.last]) as extractor:
        maps = torch.from_numpy(extractor(images, [ClassifierOutputTarget(3)]))
    assert maps.flatten(1).amax(1).gt(0.99).tolist() == [True, False, False]
    with pytest.raises(ValueError, match="one class index per image"):
        explain(net, images, [GradCAM()], torch.tensor([3]))


def test_grad_cams_score_cam_masks_all_images_of_all_channels_at_once(monkeypatch):
    from pytorch_grad_cam import ScoreCAM as Theirs

    net, images = build(GapNet), pictures(3)
    with Largest() as largest:
        grad_cam_map(Theirs, net, images, TARGETS, "last")
    assert largest.elements == 8 * images.numel()
    with Largest() as largest:
        explain(net, images, [ScoreCAM(internal_batch_size=2)], TARGETS)
    assert largest.elements < 8 * images.numel()


class Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """The largest tensor that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **kwargs or {})
        if isinstance(found, torch.Tensor):
            self.elements = max(self.elements, found.numel())
        return found
