"""Half precision: what runs in it, what does not, and how far maps and curves move; networks stay as they are."""

from dataclasses import replace

import pytest
import torch
from helpers.toys import DeepTail, StagedNet, build, pictures

from livecam.core.maps import minmax
from livecam.explain import (
    AOP,
    EMP,
    IGOS,
    RISE,
    SIGCAM,
    GradCAM,
    Occlusion,
    ScoreCAM,
    SmoothGradCAMPlusPlus,
    explain,
    structure_of,
)
from livecam.metrics import InsertionDeletion

GAME = {"size": 6, "l1": 0.02, "tv": 0.2, "baseline": "zero_normalized"}
METHODS = {
    "scorecam": ScoreCAM(weighting="prob"),
    "rise": RISE(40),
    "occlusion": Occlusion(16, 8),
    "smooth_gradcam_pp": SmoothGradCAMPlusPlus(num_samples=3, layer="early"),
    "emp": EMP(3, **GAME),
    "igos": IGOS(2, n_steps=3, **GAME),
    "sigcam": SIGCAM(optimizer=IGOS(2, n_steps=3, **GAME), warmup=1),
}


def watched(net):
    """Types of what the classifier returned, and whether the network's input had its channels last."""
    types, last = [], []
    net.fc.register_forward_hook(lambda module, args, output: types.append(output.dtype))
    net.register_forward_pre_hook(
        lambda module, args: last.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    return types, last


@pytest.mark.parametrize("method", METHODS)
def test_what_runs_in_it(method):
    net, images = build(DeepTail if method == "smooth_gradcam_pp" else StagedNet), pictures(2, seed=2)
    structure_of(net, images)
    layouts = [parameter.stride() for parameter in net.parameters()]
    full = explain(net, images, [METHODS[method]], 1)[method]
    types, last = watched(net)
    half = explain(net, images, [replace(METHODS[method], precision="bf16")], 1)[method]
    # The pass that all methods of a call share runs as the network is; everything after it does not.
    assert types[0] == torch.float32 and {*types[1:]} == {torch.bfloat16}
    assert not last[0] and all(last[1:])
    assert half.raw.dtype == torch.float32 and half.raw.isfinite().all() and not torch.equal(half.raw, full.raw)
    assert layouts == [parameter.stride() for parameter in net.parameters()]
    assert not torch.is_autocast_enabled("cpu")
    # A logit of 1.5 rounds by 2^-8, its probability by a quarter of that: two such are 0.08 of occlusion's contrast of
    # 0.025, and the layers before round as well.
    torch.testing.assert_close(half.map, full.map, atol=0.15, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_double_precision_stays(method):
    net, images = build(DeepTail if method == "smooth_gradcam_pp" else StagedNet).double(), pictures(2).double()
    full, half = (
        explain(net, images, [replace(METHODS[method], precision=precision)], 1)[method].raw
        for precision in ("full", "bf16")
    )
    torch.testing.assert_close(half, full, atol=1e-10, rtol=1e-8)


def test_activation_optimized_with_perturbation_passes_it_on():
    assert AOP(GradCAM(), precision="bf16").optimizer.precision == "bf16"
    assert AOP(GradCAM(), IGOS(precision="bf16")).optimizer.precision == "bf16"
    assert SIGCAM().optimizer.precision == "full"
    with pytest.raises(ValueError, match="precision"):
        SIGCAM(precision="fp16")


def test_insertion_and_deletion():
    net, images, maps = build(StagedNet), pictures(2), pictures(2, seed=3)[:, 0]
    types, last = watched(net)
    full, half = (
        InsertionDeletion(step=20, precision=precision).per_image(net, images, torch.tensor([1, 2]), maps)
        for precision in ("full", "bf16")
    )
    assert {*types} == {torch.float32, torch.bfloat16} and any(last)
    assert half.dtype == torch.float64 and 0 < (half - full).abs().max() < 0.01


@pytest.mark.parametrize("make", [RISE, Occlusion, SmoothGradCAMPlusPlus, EMP, IGOS, InsertionDeletion])
def test_there_is_no_other(make):
    with pytest.raises(ValueError, match="precision='fp16' is not one of full, bf16"):
        make(precision="fp16")


def agreement(one, other):
    """Rank correlation and greatest difference of each pair of maps ``(N, H, W)`` in [0, 1]."""
    ranks = [maps.flatten(1).argsort(1).argsort(1).double() for maps in (one, other)]
    ranks = [(rank - rank.mean(1, keepdim=True)) for rank in ranks]
    product = (ranks[0] * ranks[1]).sum(1) / (ranks[0].norm(dim=1) * ranks[1].norm(dim=1))
    return float(product.min()), float((one - other).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("explainer", "correlation", "difference"),
    [
        # Measured: 0.993 and 0.060; 0.991 and 0.050.
        (RISE(60), 0.98, 0.10),
        (Occlusion(56, 28), 0.98, 0.10),
    ],
    ids=["rise", "occlusion"],
)
def test_a_trained_network_and_photos(mobilenet, photos, explainer, correlation, difference):
    # Two photos: CPUs without instructions for it take half a second for a forward in half precision.
    images, targets = (part[:2] for part in photos)
    full, half = (
        minmax(explain(mobilenet, images, [replace(explainer, precision=precision)], targets)[explainer.name].raw)
        for precision in ("full", "bf16")
    )
    least, largest = agreement(full, half)
    assert least > correlation and 0 < largest < difference
