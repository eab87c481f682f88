"""Gradients of pixels: closed forms, a toy by hand and conservation laws."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from helpers.toys import FrozenBackbone, GapNet, StagedNet, build, pictures
from torch import nn

from livecam.core.baselines import gaussian_blur
from livecam.core.normalization import IMAGENET
from livecam.explain import (
    Deconvnet,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
    VarGrad,
    explain,
)


class Affine(nn.Module):
    """Scores W x + b."""

    def __init__(self, classes=3, size=6):
        super().__init__()
        self.fc = nn.Linear(3 * size * size, classes)

    def forward(self, images):
        return self.fc(images.flatten(1))


class Quadratic(nn.Module):
    """One score, x'Qx / 2 with a fixed symmetric Q."""

    def __init__(self, size=2):
        super().__init__()
        root = torch.randn(3 * size * size, 3 * size * size, generator=torch.Generator().manual_seed(0))
        self.register_buffer("q", (root + root.T) / 4)

    def forward(self, images):
        x = images.flatten(1)
        half = (x * (x @ self.q)).sum(1, keepdim=True) / 2
        return torch.cat([half, -half], 1)


class Toy(nn.Module):
    """Methods 4.3's net on the three channels of one pixel, the third unused; ``rectify`` as the caller likes."""

    def __init__(self, rectify=torch.relu):
        super().__init__()
        self.first = nn.Linear(3, 4, bias=False)
        self.fc = nn.Linear(4, 2, bias=False)
        self.rectify = rectify
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[1.0, 1, 0], [2, -0.5, 0], [-1, 1, 0], [-1, -1, 0]]))
            self.fc.weight[0] = torch.tensor([1.0, -2, 3, 5])

    def forward(self, images):
        return self.fc(self.rectify(self.first(images[:, :, 0, 0])))


X = torch.tensor([1.0, 2, 0]).view(1, 3, 1, 1)


def only(net, images, explainer, targets=None):
    return explain(net, images, [explainer], targets, normalization=IMAGENET)[explainer.name]


def in_place(values):
    torch.relu_(values)
    return values


RECTIFIERS = {
    "torch.relu": torch.relu,
    "F.relu": F.relu,
    "F.relu, in place": lambda values: F.relu(values, True),
    "torch.relu_, result unused": in_place,
    "method": lambda values: values.relu(),
    "method, in place": lambda values: values.relu_(),
    "module": nn.ReLU(),
    "module, in place": nn.ReLU(inplace=True),
    "relu6": F.relu6,
    "ReLU6": nn.ReLU6(inplace=True),
    "hardtanh": lambda values: F.hardtanh(values, 0.0, 9.0),
}


@pytest.mark.parametrize("rectify", RECTIFIERS.values(), ids=RECTIFIERS)
def test_the_toys_gradient_guided_and_deconvnet(rectify):
    net = Toy(rectify).eval()
    for explainer, expected in ((Saliency(), (-6, 5, 0)), (GuidedBackprop(), (-2, 4, 0)), (Deconvnet(), (-7, -1, 0))):
        found = only(net, X, explainer, 0)
        assert found.details["gradient"].flatten().tolist() == pytest.approx(expected)
        assert found.raw.item() == pytest.approx(max(map(abs, expected)))
        assert found.details.get("rectifiers", 1) == 1


def test_relu6_passes_nothing_where_it_saturates():
    class Saturated(Toy):
        def forward(self, images):
            return self.fc(F.relu6(4 * self.first(images[:, :, 0, 0])))

    # z = (12, 4, 4, -12): the first unit is cut at 6.
    found = only(Saturated().eval(), X, GuidedBackprop(), 0)
    torch.testing.assert_close(found.details["gradient"].flatten(), 4 * torch.tensor([-3.0, 3, 0]))


def test_a_shared_module_counts_each_time_it_runs():
    class Twice(Toy):
        def forward(self, images):
            return self.fc(self.rectify(self.rectify(self.first(images[:, :, 0, 0]))))

    assert only(Twice(nn.ReLU()).eval(), X, GuidedBackprop(), 0).details["rectifiers"] == 2


@pytest.mark.parametrize("explainer", [GuidedBackprop(), Deconvnet()], ids=["guided", "deconvnet"])
def test_other_activations_keep_their_gradient_and_are_told(explainer):
    net = Toy(F.silu).eval()
    with pytest.warns(UserWarning, match="silu instead of ReLU"):
        found = only(net, X, explainer, 0)
    assert found.details["note"] == "plain gradient"
    torch.testing.assert_close(found.details["gradient"], only(net, X, Saliency(), 0).details["gradient"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        only(build(StagedNet), pictures(), explainer)


def test_saliency_of_an_affine_model_is_its_weights():
    net, images = build(Affine), pictures(2, (6, 6))
    weights = net.fc.weight.detach()[1].view(1, 3, 6, 6)
    reductions = {"max": weights.abs().amax(1), "sum": weights.abs().sum(1), "l2": weights.norm(dim=1)}
    for reduce, expected in reductions.items():
        torch.testing.assert_close(only(net, images, Saliency(reduce), 1).raw, expected.expand(2, 6, 6))


def test_saliency_smoothed_keeps_its_sum_inside_and_gets_flatter():
    net, images = build(StagedNet), pictures(1, (40, 40))
    sharp, soft = (only(net, images, Saliency(smooth=smooth), 1).raw for smooth in (0.0, 0.05))
    assert soft.std() < 0.8 * sharp.std()
    assert soft.mean() == pytest.approx(sharp.mean().item(), rel=0.1)


def test_input_x_gradient_and_integrated_gradients_of_an_affine_model():
    net, images = build(Affine), pictures(2, (6, 6))
    expected = (images * net.fc.weight.detach()[2].view(1, 3, 6, 6)).sum(1)
    torch.testing.assert_close(only(net, images, InputXGradient(), 2).raw, expected)
    for steps in (1, 7):
        torch.testing.assert_close(only(net, images, IntegratedGradients(steps), 2).raw, expected, atol=1e-6, rtol=1e-5)


def test_integrated_gradients_of_a_homogeneous_net_is_input_x_gradient_for_any_steps():
    net = build(StagedNet).double()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    net.norm = nn.Identity()
    images = pictures().double()
    expected = only(net, images, InputXGradient(), 1).raw
    for steps in (1, 3):
        torch.testing.assert_close(only(net, images, IntegratedGradients(steps), 1).raw, expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(expected.sum((1, 2)), net(images)[:, 1].detach(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("baseline", ["zero_normalized", "black", (1.0, 0.5, 0.0), ("image_min", "image_max")])
def test_integrated_gradients_are_complete(baseline):
    net, images = build(GapNet).double(), pictures(3).double()
    found = only(net, images, IntegratedGradients(200, baseline), torch.tensor([0, 1, 2]))
    starts = {
        "zero_normalized": [torch.zeros_like(images)],
        "black": [IMAGENET.to_input(torch.zeros_like(images))],
        (1.0, 0.5, 0.0): [IMAGENET.to_input(torch.tensor([1.0, 0.5, 0]).double()[:, None, None].expand_as(images))],
        ("image_min", "image_max"): [
            torch.stack([image.min().expand_as(image) for image in images]),
            torch.stack([image.max().expand_as(image) for image in images]),
        ],
    }[baseline]
    target = (torch.arange(3), torch.arange(3))
    gained = net(images)[target] - sum(net(start)[target] for start in starts) / len(starts)
    delta = found.raw.sum((1, 2)) - gained.detach()
    # Against all that was attributed: what came and what went may nearly cancel.
    assert (delta.abs() <= 2e-3 * found.details["attribution"].abs().sum((1, 2, 3))).all()
    torch.testing.assert_close(found.details["convergence_delta"], delta, atol=1e-9, rtol=0)


def test_the_convergence_delta_tells_a_coarse_quadrature():
    net, images = build(GapNet), pictures(3)
    coarse, fine = (only(net, images, IntegratedGradients(n), 1).details["convergence_delta"] for n in (1, 100))
    assert fine.abs().max() < 0.05 * coarse.abs().max()


def test_noise_leaves_the_gradient_of_an_affine_model_alone():
    net, images = build(Affine), pictures(2, (6, 6))
    expected = only(net, images, Saliency(), 1)
    torch.testing.assert_close(only(net, images, SmoothGrad(num_samples=4), 1).raw, expected.raw)
    torch.testing.assert_close(
        only(net, images, SmoothGrad(num_samples=4, average="square"), 1).details["gradient"],
        expected.details["gradient"].square(),
    )
    varied = only(net, images, VarGrad(num_samples=4), 1)
    assert varied.raw.eq(0).all() and varied.degenerate.all()


def test_smoothgrad_and_vargrad_of_a_quadratic():
    """Gradient Qx + Q noise: its mean tends to Qx, its variance to sigma^2 diag(QQ)."""
    net, images = Quadratic().double().eval(), pictures(1, (2, 2)).double()
    settings = {"num_samples": 4000, "std": 0.5, "noise": "absolute", "internal_batch_size": 500}
    mean = only(net, images, SmoothGrad(**settings), 0).details["gradient"].flatten()
    spread = only(net, images, VarGrad(**settings), 0).details["gradient"].flatten()
    variance = 0.25 * (net.q @ net.q).diagonal()
    # Four standard errors of a mean, and of a variance (sqrt(2/n) of it).
    assert ((mean - net.q @ images.flatten()).abs() < 4 * (variance / 4000).sqrt()).all()
    assert ((spread / variance - 1).abs() < 4 * (2 / 4000) ** 0.5).all()


def test_noise_is_a_share_of_the_images_own_range():
    net, images = Quadratic().double().eval(), pictures(1, (2, 2)).double()
    span = float(images.max() - images.min())
    one = only(net, images, VarGrad(num_samples=5, std=0.2), 0).raw
    other = only(net, images, VarGrad(num_samples=5, std=0.2 * span, noise="absolute"), 0).raw
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("internal_batch_size", [1, 3, 100])
@pytest.mark.parametrize("cls", [IntegratedGradients, SmoothGrad, VarGrad])
def test_chunks_change_nothing(cls, internal_batch_size):
    net, images = build(StagedNet).double(), pictures(2).double()
    count = {"n_steps": 7} if cls is IntegratedGradients else {"num_samples": 7}
    one, other = (only(net, images, cls(**count, internal_batch_size=size), 1).raw for size in (2, internal_batch_size))
    torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)


def test_a_network_that_stops_gradients_says_so():
    with pytest.raises(ValueError, match=r"no gradient with respect to the images.*requires_grad_\(False\)"):
        explain(build(FrozenBackbone), pictures(), [Saliency()])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Saliency(reduce="maxx"), "Did you mean max"),
        (lambda: Saliency(smooth=-1), "smooth is a number from 0"),
        (lambda: IntegratedGradients(n_steps=0), "n_steps is a whole number from 1"),
        (lambda: IntegratedGradients(baseline="blak"), "Did you mean black"),
        (lambda: IntegratedGradients(baseline=[]), "names none"),
        (lambda: IntegratedGradients(baseline=0), "got 0"),
        (lambda: IntegratedGradients(baseline=["black", ["a", "b", "c"]]), "three values"),
        (lambda: IntegratedGradients(baseline=(3, 0, 0)), r"three values in \[0, 1\]"),
        (lambda: SmoothGrad(average="mean"), "signed, square, abs"),
        (lambda: VarGrad(std=-0.1), "std is a number from 0"),
    ],
)
def test_wrong_options_get_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_colors_need_a_normalization():
    with pytest.raises(ValueError, match="normalization="):
        explain(build(StagedNet), pictures(), [IntegratedGradients(2, "black")])


def test_baselines_as_configurations_write_them():
    made = IntegratedGradients(baseline=[[0, 0, 0], "black", [1.0, 1.0, 1.0]])
    assert made == IntegratedGradients(baseline=((0, 0, 0), "black", (1.0, 1.0, 1.0)))
    assert IntegratedGradients(baseline=[0.5, 0.5, 0.5]).baseline == (0.5, 0.5, 0.5)
    assert IntegratedGradients(baseline=["blur"]) == IntegratedGradients(baseline="blur")


def test_the_blur_is_a_gaussian():
    from torchvision.transforms.v2.functional import gaussian_blur as theirs

    images = pictures(2, (60, 40)).double()
    torch.testing.assert_close(gaussian_blur(images, 2.0), theirs(images, [17, 17], [2.0, 2.0]), atol=1e-6, rtol=0)
