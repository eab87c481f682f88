"""The shared checklist: what every explanation method must keep, whatever it computes.

Parametrised over the classes that `livecam.explain.explainer_classes()` finds, so that a method added later is checked
without a word here. Toys take the part of networks; formulas are tested elsewhere.
"""

import copy
import random
import warnings
from dataclasses import fields

import numpy as np
import pytest
import torch
from every_method import METHODS, every_method, traces
from helpers.toys import NormTail, StagedNet, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.core.maps import resize
from livecam.core.normalization import IMAGENET
from livecam.explain import (
    explain,
    structure_of,
)


def run(net, images, explainer, targets=None, **kwargs):
    explainer = METHODS[explainer]() if isinstance(explainer, str) else explainer
    return explain(net, images, [explainer], targets, normalization=IMAGENET, **kwargs)[explainer.name]


def rounding(maps, unit=1e-6):
    """What sums of float32 numbers may differ by: large maps round coarsely."""
    return unit * max(1.0, float(maps.abs().max()))


def same(one, other, atol=1e-6):
    for key in ("map", "energy", "raw", "score", "probability"):
        a, b = getattr(one, key), getattr(other, key)
        torch.testing.assert_close(a, b, atol=rounding(b, atol), rtol=0, msg=lambda text, key=key: f"{key}: {text}")


def test_the_family_of_this_version_is_covered():
    family = {"cam", "gradcam", "gradcam_pp", "xgradcam", "layercam", "wgradcam", "smooth_gradcam_pp", "scorecam"}
    family |= {"saliency", "input_x_gradient", "integrated_gradients", "smoothgrad", "vargrad", "guided_backprop"}
    family |= {"deconvnet", "excitation_backprop", "contrastive_excitation_backprop", "occlusion", "rise", "xrai"}
    assert family | {"gradual_gradcam"} <= set(METHODS)


@every_method
@pytest.mark.parametrize("size", [(24, 24), (18, 30), (23, 17)], ids=str)
def test_1_and_9_shapes_types_and_ranges_at_any_size(method, size):
    found = run(build(StagedNet), pictures(3, size), method)
    for key in ("map", "energy"):
        value = getattr(found, key)
        assert value.shape == (3, *size) and value.dtype == torch.float32 and value.device.type == "cpu"
        assert value.isfinite().all() and value.min() >= 0 and not value.requires_grad
    assert found.raw.ndim == 3 and found.raw.dtype == torch.float32 and found.raw.isfinite().all()
    assert found.map[~found.degenerate].flatten(1).amin(1).eq(0).all()
    assert found.map[~found.degenerate].flatten(1).amax(1).eq(1).all()
    assert not found.degenerate.all(), "the toy must give every method something to show"
    assert found.target.dtype == torch.long and found.target.shape == (3,)
    assert torch.equal(found.target, found.predicted)
    assert found.score.shape == found.probability.shape == (3,)


@every_method
@settings(max_examples=5, deadline=None)
@given(targets=st.lists(st.integers(0, 3), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_2_a_batch_is_its_samples(method, targets, seed):
    # In double precision, where a neighbor's influence cannot hide behind rounding.
    net, images = build(StagedNet, seed=seed).double(), pictures(len(targets), seed=seed).double()
    batch = run(net, images, method, torch.tensor(targets))
    for i, target in enumerate(targets):
        alone = run(net, images[i : i + 1], method, target)
        torch.testing.assert_close(batch.raw[i], alone.raw[0], atol=rounding(alone.raw, 1e-12), rtol=1e-10)
        if not batch.degenerate[i]:
            torch.testing.assert_close(batch.map[i], alone.map[0], atol=1e-6, rtol=0)
        assert batch.degenerate[i] == alone.degenerate[0]


@every_method
def test_3_the_model_is_left_as_it_was(method):
    net, images = build(StagedNet, inplace=True).train(), pictures(4)
    net.drop.eval()
    net.conv.eval()
    net.stem.weight.requires_grad_(False)
    net.norm.register_forward_hook(lambda *_: None)
    for _ in range(2):
        net(images).square().sum().backward()  # accumulated gradients
    before, pixels = traces(net), images.clone()
    run(net, images, method)
    after = traces(net)
    assert before[:2] == after[:2] and before[3] == after[3]
    for key, (value, pointer, version) in before[2].items():
        assert torch.equal(value, after[2][key][0]) and (pointer, version) == after[2][key][1:], key
    for key, grad in before[4].items():
        assert grad is None if key == "stem.weight" else torch.equal(grad, after[4][key]), key
    assert torch.equal(images, pixels) and not images.requires_grad


@every_method
def test_3_explaining_a_training_model_is_explaining_its_eval_mode(method):
    net, images = build(StagedNet), pictures()
    expected = run(net, images, method)
    same(run(net.train(), images, method), expected, atol=0)


@every_method
def test_4_works_whatever_surrounds_the_call(method):
    net, images = build(StagedNet), pictures()
    expected = run(net, images, method)
    with torch.no_grad():
        same(run(net, images, method), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        inside = images.clone()
        assert inside.is_inference()
        same(run(net, inside, method, torch.tensor(expected.target.tolist())), expected)
        assert torch.is_inference_mode_enabled()
    with torch.autocast("cpu", torch.bfloat16):
        same(run(net, images, method), expected)
        assert torch.is_autocast_enabled("cpu")
    same(run(net, images.clone().requires_grad_(True), method), expected)
    net.requires_grad_(False)
    same(run(net, images, method), expected)
    with torch.inference_mode():
        same(run(net, images.clone(), method), expected)


def settings_of(method):
    """The default and, where the method takes one, a layer that an in-place ReLU follows."""
    yield METHODS[method]()
    if "layer" in {f.name for f in fields(METHODS[method]())}:
        inner = METHODS[method](layer="conv")
        try:
            inner.captures(structure_of(build(StagedNet), pictures()))
        except ValueError:
            return  # CAM reads one layer only
        yield inner


@every_method
def test_5_an_in_place_relu_after_the_layer_changes_nothing(method):
    images = pictures()
    for explainer in settings_of(method):
        same(run(build(StagedNet, inplace=True), images, explainer), run(build(StagedNet), images, explainer), atol=0)


@every_method
def test_5_a_functional_in_place_relu_after_the_default_layer(method):
    images = pictures()
    assert structure_of(build(NormTail, True), images).post_relu
    found = run(build(NormTail, True), images, method)
    assert found.raw.isfinite().all() and not found.degenerate.all()


@every_method
def test_6_nothing_to_see_gives_zeros_and_a_flag(method):
    net = build(StagedNet)
    with torch.no_grad():
        net.fc.weight.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run(net, pictures(), method, 1)
    assert found.map.isfinite().all() and found.raw.isfinite().all() and found.energy.isfinite().all()
    assert torch.equal(found.map.flatten(1).eq(0).all(1), found.degenerate)
    reads_gradients = any(capture.gradient for capture in METHODS[method]().captures(structure_of(net, pictures())))
    assert found.degenerate.all() or not (reads_gradients or method == "cam")


@every_method
def test_7_one_logit_has_two_classes(method):
    net, images = build(StagedNet, classes=1), pictures()
    logits = net(images)[:, 0].detach()
    zero, one = run(net, images, method, 0), run(net, images, method, 1)
    torch.testing.assert_close(one.score, logits)
    torch.testing.assert_close(zero.score, -logits)
    torch.testing.assert_close(one.probability + zero.probability, torch.ones(2))
    assert one.predicted.tolist() == zero.predicted.tolist() == (logits > 0).long().tolist()
    predicted = run(net, images, method)
    assert torch.equal(predicted.target, one.predicted)
    for i, target in enumerate(predicted.target.tolist()):
        torch.testing.assert_close(predicted.raw[i], (zero, one)[target].raw[i])


# Methods 0.3: what the maps of class 0 and class 1 of one logit are to each other.
FLIPPED = {"cam", "input_x_gradient", "integrated_gradients", "integrated_gradients, colors"}
FLIPPED |= {"occlusion", "occlusion, logit"}
EQUAL = {"saliency", "saliency, smooth", "smoothgrad", "smoothgrad, square", "vargrad"}
# Rectified methods whose channel weights flip: their maps are the two halves of one signed map, for GAP heads this one.
HALVES = {
    "gradcam": lambda weight, features: weight,
    "xgradcam": lambda weight, features: weight,
    "wgradcam": lambda weight, features: weight * features.mean((2, 3)),
}


@pytest.mark.parametrize("method", sorted((FLIPPED | EQUAL | set(HALVES)) & set(METHODS)))
def test_7_maps_of_the_two_classes(method):
    # In double precision: 1 - p has the rounding of 1, however small the map is.
    net, images = build(StagedNet, classes=1).double(), pictures().double()
    zero, one = run(net, images, method, 0).raw, run(net, images, method, 1).raw
    if method in FLIPPED:
        torch.testing.assert_close(zero, -one, atol=1e-14, rtol=0)
    elif method in EQUAL:
        torch.testing.assert_close(zero, one, atol=1e-14, rtol=0)
    else:
        features = net.features(images).detach()
        weights = HALVES[method](net.fc.weight.detach(), features).expand(2, -1)
        signed = (weights[:, :, None, None] * features).sum(1) / one[0].numel()
        torch.testing.assert_close(one - zero, signed, atol=1e-14, rtol=0)
        assert (zero * one).eq(0).all() and one.any() and zero.any()


@every_method
def test_8_two_runs_are_equal_and_leave_global_randomness_alone(method):
    net, images = build(StagedNet), pictures()
    states = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    first = run(net, images, method)
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())
    torch.manual_seed(99)
    same(run(net, images, method), first, atol=0)


def roundings(method, found):
    """What a map in single precision may differ by: a pass rounds some 16 times, k steps in sequence k times as often.

    Once for each layer forth and back, at the scale of what is computed: that of masks in [0, 1], or of scores under
    windows, where the map holds their small differences.
    """
    explainer = METHODS[method]()
    steps = getattr(getattr(explainer, "optimizer", explainer), "iterations", 1)
    whole = [found.raw, *(found.details[key] for key in ("mask", "clean") if key in found.details)]
    return 16 * steps * 2**-23 * max(float(values.abs().max()) for values in whole)


@every_method
def test_10_double_precision_agrees(method):
    # Pictures that leave no ReLU and no max pool undecided: a hundred roundings of all weights flip none that shows.
    net, images = build(StagedNet), pictures(seed=2)
    single = run(net, images, method)
    double = run(copy.deepcopy(net).double(), images.double(), method)
    assert double.map.dtype == torch.float32 and double.raw.dtype == torch.float64
    atol = roundings(method, double)
    torch.testing.assert_close(single.raw.double(), double.raw, atol=atol, rtol=0)
    for one, other, raw in zip(single.map, double.map, resize(double.raw, (24, 24))):
        # (raw - low) / (high - low) has the rounding of two values, and is divided by the contrast.
        torch.testing.assert_close(one, other, atol=2 * atol / float(raw.max() - raw.min()), rtol=0)


@every_method
def test_11_an_unknown_layer_is_named_with_its_neighbors(method):
    if "layer" not in {f.name for f in fields(METHODS[method]())}:
        pytest.skip("this method reads no layer of its own")
    with pytest.raises(KeyError, match=r"no layer 'lst'.*Did you mean.*last"):
        run(build(StagedNet), pictures(), METHODS[method](layer="lst"))


@every_method
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_12_a_gpu_agrees(method):
    net, images = build(StagedNet), pictures()
    expected = run(net, images, method)
    found = run(copy.deepcopy(net).cuda(), images.cuda(), method)
    assert found.map.device.type == found.raw.device.type == "cuda"
    torch.testing.assert_close(found.map.cpu(), expected.map, atol=1e-4, rtol=0)


@every_method
def test_several_settings_of_a_method_in_one_call_are_what_they_are_alone(method):
    net, images = build(StagedNet), pictures()
    twice = [METHODS[method](), METHODS[method](name="again")]
    together = explain(net, images, twice, normalization=IMAGENET)
    assert list(together) == [twice[0].name, "again"]
    alone = run(net, images, method)
    same(together[twice[0].name], alone, atol=0)
    same(together["again"], alone, atol=0)
