"""Gradual Extrapolation: the hand-made example, its laws, and the passes and memory it does not cost."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from helpers.toys import GapNet, StagedNet, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from livecam.explain import (
    CAM,
    Explainer,
    GradCAM,
    GradualExtrapolation,
    ScoreCAM,
    explain,
    extrapolate_map,
    record,
    structure_of,
)
from livecam.explain.methods.gradual_extrapolation import extrapolate, reference_extrapolate


class Stages(nn.Module):
    """Three resolutions: pools of the names ``pool1`` and ``pool2``; the base layer is ``last``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1, self.pool1 = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        self.conv2, self.relu2, self.pool2 = nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        self.conv3, self.last = nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
        self.fc = nn.Linear(8, 3)
        nn.init.normal_(self.fc.weight)

    def features(self, images):
        fine = self.relu1(self.conv1(images))
        middle = self.relu2(self.conv2(self.pool1(fine)))
        return fine, middle, self.last(self.conv3(self.pool2(middle)))

    def forward(self, images):
        return self.fc(self.features(images)[2].mean((2, 3)))


@dataclass(frozen=True)
class Constant(Explainer):
    """A base map that says nothing: what remains is the contributions."""

    label: ClassVar[str] = "Constant"
    layer: str = "last"

    def captures(self, structure):
        return GradCAM(layer=self.layer).captures(structure)

    def explain(self, recording):
        return torch.ones_like(next(iter(recording.activations.values()))[:, 0])


def test_the_example_by_hand():
    coarse, middle = torch.ones(1, 1, 1), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    first = torch.tensor([[[0.25, 0.5], [0.75, 1.0]]])
    torch.testing.assert_close(extrapolate(coarse, [middle]), first)
    torch.testing.assert_close(
        extrapolate(coarse, [middle, torch.full((1, 4, 4), 7.0)])[0],
        torch.tensor(
            [
                [0.25, 0.3125, 0.4375, 0.5],
                [0.375, 0.4375, 0.5625, 0.625],
                [0.625, 0.6875, 0.8125, 0.875],
                [0.75, 0.8125, 0.9375, 1.0],
            ]
        ),
    )


def maps_and_contributions(seed, sizes=((3, 4), (6, 8), (13, 15))):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(2, *size, generator=generator, dtype=torch.float64) for size in sizes]


laws = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10**6)


@laws
@given(seed=seeds, scale=st.floats(1e-3, 1e3), share=st.floats(0, 5))
def test_laws(seed, scale, share):
    base, *contributions = maps_and_contributions(seed)
    other = maps_and_contributions(seed + 1)[0]
    found = extrapolate(base, contributions)
    # Linear in the base map.
    together = extrapolate(scale * base + share * other, contributions)
    torch.testing.assert_close(together, scale * found + share * extrapolate(other, contributions))
    # The scale of any layer means nothing.
    scaled = [contributions[0] * scale, contributions[1] * (share + 0.1)]
    torch.testing.assert_close(extrapolate(base, scaled), found)
    # Nothing grows, nothing turns negative.
    assert found.min() >= 0 and (found.flatten(1).amax(1) <= base.flatten(1).amax(1) + 1e-12).all()
    # A map alone is the map in its batch.
    alone = extrapolate(base[:1], [contribution[:1] for contribution in contributions])
    assert torch.equal(alone[0], found[0])


@laws
@given(seed=seeds)
def test_constant_contributions_only_enlarge(seed):
    base = maps_and_contributions(seed)[0]
    steps = base
    for size in ((6, 8), (13, 15)):
        steps = F.interpolate(steps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    flat = [torch.full((2, 6, 8), 3.0).double(), torch.full((2, 13, 15), 0.2).double()]
    torch.testing.assert_close(extrapolate(base, flat), steps)


@laws
@given(seed=seeds, row=st.integers(0, 2), column=st.integers(0, 3))
def test_support(seed, row, column):
    base, *contributions = maps_and_contributions(seed)
    peak = torch.zeros_like(base)
    peak[:, row, column] = 1
    contributions[1][:, ::3] = 0
    found, bound = extrapolate(peak, contributions), peak
    for contribution in contributions:
        bound = F.interpolate(bound[:, None], contribution.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    # Inside the support of successive enlargement, and nowhere where nothing was active.
    assert found[bound == 0].eq(0).all() and found[:, ::3].eq(0).all() and (found <= bound + 1e-12).all()


def test_a_silent_layer_empties_the_map_of_its_image_only():
    base, *contributions = maps_and_contributions(0)
    expected = extrapolate(base, contributions)
    contributions[1][0] = 0
    found = extrapolate(base, contributions)
    assert found[0].eq(0).all() and torch.equal(found[1], expected[1])


@pytest.mark.parametrize("q", ["mean", "l2"])
def test_stages_of_a_network(q):
    net, images = build(Stages, seed=3), pictures(2, (16, 24))
    fine, middle, last = (value.detach() for value in net.features(images))
    base = explain(net, images, [GradCAM()], 1)["gradcam"].raw
    assert last.shape[2:] == (4, 6) and not base.eq(0).flatten(1).all(1).any()
    reduce = (lambda e: e.mean(1)) if q == "mean" else (lambda e: e.square().mean(1).sqrt())
    expected = base
    for activation in (middle, fine):
        weight = reduce(activation)
        weight = weight / weight.flatten(1).amax(1)[:, None, None]
        expected = F.interpolate(expected[:, None], weight.shape[1:], mode="bilinear")[:, 0] * weight
    found = explain(net, images, [GradualExtrapolation(GradCAM(), q=q)], 1)["gradual_gradcam"]
    torch.testing.assert_close(found.raw, expected)
    assert found.raw.shape == (2, 16, 24)
    assert found.details["layers"] == ["pool2 input", "pool1 input"] and not found.details["identity"]
    assert "note" not in found.details


def test_explicit_layers_in_any_order_are_read_from_deep_to_shallow():
    net, images = build(Stages, seed=3), pictures(2, (16, 24))
    automatic = explain(net, images, [GradualExtrapolation(GradCAM())], 1)["gradual_gradcam"]
    for layers in (["relu1", "relu2"], ["relu2", "relu1"]):
        found = explain(net, images, [GradualExtrapolation(GradCAM(), layers=layers)], 1)["gradual_gradcam"]
        torch.testing.assert_close(found.raw, automatic.raw)
    one = explain(net, images, [GradualExtrapolation(GradCAM(), layers=("relu2",))], 1)["gradual_gradcam"]
    assert one.raw.shape == (2, 8, 12)


def test_signed_activations_count_by_their_positive_part():
    net, images = build(Stages, seed=3), pictures(2, (16, 24))
    signed = explain(net, images, [GradualExtrapolation(GradCAM(), layers=("conv1", "conv2"))], 1)["gradual_gradcam"]
    rectified = explain(net, images, [GradualExtrapolation(GradCAM())], 1)["gradual_gradcam"]
    torch.testing.assert_close(signed.raw, rectified.raw)


def test_it_costs_no_forward_and_keeps_one_channel_per_stage():
    net, images = build(Stages, seed=3), pictures(2, (16, 24))
    gradual = GradualExtrapolation(GradCAM())
    explain(net, images, [gradual])  # the dry run is remembered
    runs = []
    net.register_forward_hook(lambda *_: runs.append(1))
    explain(net, images, [GradCAM(), gradual, GradualExtrapolation(CAM())])
    assert len(runs) == 1
    structure = structure_of(net, images)
    kept = record(net, images, captures=gradual.captures(structure), structure=structure)
    assert sorted(value.shape[1] for value in kept.activations.values()) == [1, 1, 8]
    assert [capture.gradient for capture in kept.activations] == [
        capture in kept.gradients for capture in kept.activations
    ]
    assert len(kept.gradients) == 1


def test_a_signed_base_is_cut_first():
    net, images = build(Stages, seed=3), pictures(2, (16, 24))
    found = explain(net, images, [CAM(), GradualExtrapolation(CAM())], 1)
    assert found["cam"].raw.min() < 0 <= found["gradual_cam"].raw.min()
    again = extrapolate_map(net, images, found["cam"].raw, "last")
    torch.testing.assert_close(again, found["gradual_cam"].raw)


def test_a_map_made_elsewhere():
    net, images = build(Stages, seed=3), pictures(2, (16, 24))
    maps = torch.rand(2, 4, 6)
    found = extrapolate_map(net, images, maps, "last")
    assert found.shape == (2, 16, 24)
    # From an inner layer only finer stages before it are left.
    assert extrapolate_map(net, images, torch.rand(2, 8, 12), "relu2").shape == (2, 16, 24)
    with pytest.raises(ValueError, match=r"one per image: 2 images, shape \(3, 4, 6\)"):
        extrapolate_map(net, images, torch.rand(3, 4, 6), "last")
    with pytest.raises(KeyError, match=r"no layer 'lasst'.*Did you mean last"):
        extrapolate_map(net, images, maps, "lasst")


def test_the_class_independent_part_is_what_a_constant_map_leaves():
    net, images = build(Stages, seed=3), pictures(2, (16, 24))
    found = explain(net, images, [GradualExtrapolation(Constant(name="constant"))], 1)["gradual_constant"]
    other = explain(net, images, [GradualExtrapolation(Constant(name="constant"))], 2)["gradual_constant"]
    assert torch.equal(found.raw, other.raw) and not found.degenerate.any()


def test_an_expensive_base_runs_once_for_itself_and_all_that_build_upon_it():
    net, images = build(StagedNet), pictures(2)
    runs = []
    net.register_forward_hook(lambda module, args, output: runs.append(len(output)))
    base = ScoreCAM(internal_batch_size=3)
    alone = explain(net, images, [base])
    passes = sum(runs) - 1  # the dry run is remembered from here on
    runs.clear()
    gradual = [GradualExtrapolation(base), GradualExtrapolation(base, layers="reference", name="reference")]
    together = explain(net, images, [*gradual, base])
    assert sum(runs) == passes == 2 + 16
    assert torch.equal(together["scorecam"].raw, alone["scorecam"].raw)
    assert "layers" not in together["scorecam"].details


def test_wrapping_a_method_that_runs_many_passes():
    net, images = build(StagedNet), pictures(2)
    found = explain(net, images, [GradualExtrapolation(ScoreCAM(internal_batch_size=3))])["gradual_scorecam"]
    assert found.raw.shape == (2, 24, 24) and found.details["convention"].startswith("softmax_logit")


def test_reference_is_per_image_and_at_the_first_module_s_input():
    net, images = build(Stages, seed=3), pictures(3, (16, 24))
    explainer = GradualExtrapolation(GradCAM(), layers="reference")
    batch = explain(net, images, [explainer], 1)["gradual_gradcam"]
    alone = explain(net, images[1:2], [explainer], 1)["gradual_gradcam"]
    assert batch.details["layers"] == ["pool2 output", "pool1 output", "pool1 input"]
    torch.testing.assert_close(batch.raw[1], alone.raw[0], atol=1e-6, rtol=1e-5)
    assert batch.raw.shape == (3, 16, 24) and batch.raw.flatten(1).amax(1).eq(1).all()
    assert reference_extrapolate(torch.zeros(1, 2, 2), [torch.ones(1, 4, 4)]).eq(0).all()


def test_names_labels_and_options():
    gradual = GradualExtrapolation(GradCAM(name="gradcam_inner"))
    assert gradual.name == "gradual_gradcam_inner" and gradual.label == "Gradual Grad-CAM" and not gradual.signed
    assert GradualExtrapolation(CAM(), name="sharp").name == "sharp"
    for wrong, sentence in [
        ({"layers": "all"}, "layers='all' is not one of auto, reference"),
        ({"layers": ()}, "names no layer"),
        ({"q": "max"}, "q='max' is not one of mean, l2"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            GradualExtrapolation(GradCAM(), **wrong)
    with pytest.raises(KeyError, match="no layer 'relu9'"):
        explain(build(Stages, seed=3), pictures(1, (16, 24)), [GradualExtrapolation(GradCAM(), layers=("relu9",))])


def test_a_network_without_stages_is_told_as_identity():
    with pytest.warns(UserWarning, match="no earlier layer can sharpen its map"):
        found = explain(build(GapNet), pictures(1), [GradualExtrapolation(GradCAM())])["gradual_gradcam"]
    assert found.details["identity"] and found.details["layers"] == []


def test_the_published_code_finds_nothing_either_where_nothing_is_strided():
    net = build(GapNet)
    net.stem.stride = (1, 1)
    with pytest.warns(UserWarning, match="Gradual Grad-CAM is Grad-CAM itself"):
        found = explain(net, pictures(1), [GradCAM(), GradualExtrapolation(GradCAM(), layers="reference")])
    assert found["gradual_gradcam"].details["identity"]
    assert torch.equal(found["gradual_gradcam"].raw, found["gradcam"].raw)


def test_the_base_may_be_a_word():
    assert GradualExtrapolation("gradcam") == GradualExtrapolation(GradCAM())
    with pytest.raises(ValueError, match="Did you mean gradcam"):
        GradualExtrapolation("gradcm")
    with pytest.raises(ValueError, match=r"such as GradCAM\(\), or a name such as 'gradcam', not None"):
        GradualExtrapolation(None)
