"""What the shared checklist promises, kept by Captum's attributions too.

They are no part of the checklist itself, because Captum need not be installed.
"""

import copy
import random
import sys
import warnings
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.toys import StagedNet, build, pictures
from torch import nn

from livecam.core.normalization import IMAGENET
from livecam.explain import explain
from livecam.explain.methods.captum import CaptumExplainer

pytestmark = pytest.mark.oracle

TARGETS = torch.tensor([3, 1])
FAST = {"n_samples": 40, "perturbations_per_eval": 8}
# Built in tests only: where captum is missing, building them is an error.
KINDS = {
    "deep_lift": partial(CaptumExplainer, "deep_lift"),
    "layer_grad_cam": partial(CaptumExplainer, "layer_grad_cam"),
    "kernel_shap": partial(CaptumExplainer, "kernel_shap", FAST, segments=4),
}
every_kind = pytest.mark.parametrize("kind", list(KINDS))


class Breaks(nn.Module):
    """Once told where, raises on its fourth forward from then on, or in backward."""

    def __init__(self):
        super().__init__()
        self.where, self.calls = None, []

    def forward(self, values):
        self.calls.append(self.where)
        # The dry run, the recorded pass, and whatever Captum or we run first are let through.
        if self.calls.count("forward") > 3:
            raise RuntimeError("half-way")
        if self.where == "backward" and values.requires_grad:
            values = values.clone()
            values.register_hook(self.stop)
        return values

    def stop(self, gradient):
        raise RuntimeError("half-way")


@pytest.fixture(autouse=True)
def superpixels(monkeypatch):
    """Bands of nine columns take the part of superpixels."""

    def segment(pixels, method, arguments):
        return (torch.arange(pixels.shape[2]) // 9).expand(1, *pixels.shape[1:])

    monkeypatch.setitem(sys.modules, "livecam.explain.methods.segmentation", SimpleNamespace(segment=segment))


def run(net, images, explainer, targets=None, **kwargs):
    return explain(net, images, [explainer], targets, normalization=IMAGENET, **kwargs)[explainer.name]


def trace(net):
    """Everything that Captum might leave behind, on the modules and in the generators."""
    dicts = [{key: dict(v) if isinstance(v, dict) else v for key, v in vars(m).items()} for m in net.modules()]
    identities = [{key: id(v) for key, v in vars(m).items()} for m in net.modules()]
    weights = [(id(p), p.data_ptr(), p.requires_grad, id(p.grad)) for p in net.parameters()]
    values = [value.clone() for value in net.state_dict().values()]
    states = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()
    return (dicts, identities, weights, states), values


SEGMENTED = {"Lime": {"options": FAST, "segments": 4}}
BREAKS = [
    (name, breaks)
    for name in ("DeepLift", "GuidedGradCam", "GradientShap", "LRP", "Lime")
    for breaks in (None, "forward", "backward")
    if (name, breaks) not in {("LRP", "backward"), ("Lime", "backward")}
]


@pytest.mark.parametrize(("name", "breaks"), BREAKS, ids=str)
def test_nothing_is_left_behind(name, breaks):
    explainer = CaptumExplainer(name, **SEGMENTED.get(name, {}))
    net, images = build(StagedNet, inplace=True), pictures()
    if breaks:
        net.drop = nn.Sequential(Breaks())
    net(images).sum().backward()
    net.stem.weight.requires_grad_(False)
    net.first.register_forward_hook(lambda *_: None)
    net.last.register_forward_pre_hook(lambda module, args, kwargs: None, with_kwargs=True)
    if breaks:
        net.drop[0].where = breaks
    before, values = trace(net)
    pixels = images.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if breaks:
            # LRP has set up half of the network when it finds a module that it does not know.
            with pytest.raises((RuntimeError, TypeError), match=r"half-way|no rule defined"):
                run(net, images, explainer, TARGETS)
        else:
            assert run(net, images, explainer, TARGETS).raw.any()
    after, kept = trace(net)
    assert before == after and all(map(torch.equal, values, kept))
    assert torch.equal(images, pixels) and not images.requires_grad


@every_kind
def test_works_whatever_surrounds_the_call(kind):
    net, images, explainer = build(StagedNet), pictures(), KINDS[kind]()
    expected = run(net, images, explainer, TARGETS).raw
    with torch.no_grad():
        assert torch.equal(run(net, images, explainer, TARGETS).raw, expected) and not torch.is_grad_enabled()
    with torch.inference_mode():
        found = run(net, images.clone(), explainer, TARGETS).raw
    torch.testing.assert_close(found, expected)
    net.requires_grad_(False)
    torch.testing.assert_close(run(net.train(), images, explainer, TARGETS).raw, expected)
    assert net.training and not net.stem.weight.requires_grad


@every_kind
def test_a_batch_is_its_samples_and_two_runs_are_equal(kind):
    net, images, explainer = build(StagedNet).double(), pictures(3).double(), KINDS[kind]()
    targets = torch.tensor([2, 0, 3])
    batch = run(net, images, explainer, targets)
    assert batch.raw.any()
    for i, target in enumerate(targets.tolist()):
        alone = run(net, images[i : i + 1], explainer, target)
        torch.testing.assert_close(batch.raw[i], alone.raw[0], atol=1e-12, rtol=1e-10)
    torch.manual_seed(99)
    assert torch.equal(run(net, images, explainer, targets).raw, batch.raw)


@every_kind
@pytest.mark.parametrize("size", [(24, 24), (18, 30)], ids=str)
def test_double_precision_agrees_and_sizes_fit(kind, size):
    net, images = build(StagedNet), pictures(2, size)
    single = run(net, images, KINDS[kind](), TARGETS)
    double = run(copy.deepcopy(net).double(), images.double(), KINDS[kind](), TARGETS)
    assert single.map.shape == (2, *size) and single.raw.dtype == torch.float32 and double.raw.dtype == torch.float64
    torch.testing.assert_close(single.map, double.map, atol=1e-5, rtol=0)
    torch.testing.assert_close(single.raw.double(), double.raw, atol=1e-5, rtol=1e-4)
