"""I-GOS on games that can be played by hand, and its laws."""

import math

import pytest
import torch
from deletion_toys import PATCH, PatchNet, Plain, certain, play, saturated
from helpers.toys import StagedNet, build, pictures

from livecam.core.normalization import IMAGENET
from livecam.explain import IGOS, explain, record
from livecam.explain.methods.mask_optimization.objective import MaskObjective, sparsity, total_variation
from livecam.explain.methods.noise import Noise

# Weights that let small toys lose something of their class.
LIGHT = {"size": 7, "l1": 0.05, "tv": 0.5, "baseline": "zero_normalized"}
TOY = {"size": 8, "noise": 0.0, "baseline": "zero_normalized"}


def game_of(net, images, mask_type=torch.float32, **settings):
    recording = record(net, images, torch.zeros(len(images), dtype=torch.long), head=Plain())
    weights = torch.ones(len(images), dtype=mask_type)
    return MaskObjective(recording, torch.zeros_like(images), weights, 0.0, 2.0, **settings)


@pytest.mark.parametrize("line_search", ["masked", "integrated"])
@pytest.mark.parametrize("step", [8.0, 200.0, 1000.0])
def test_a_linear_class_loses_exactly_its_patch_in_two_iterations(step, line_search):
    found, details = play(IGOS(iterations=2, tv=0.0, step=step, line_search=line_search, **TOY), PatchNet())
    assert torch.equal(found, PATCH.expand(2, -1, -1))
    assert torch.equal(details["mask"], 1 - found)
    if line_search == "masked":
        # All of the class before, and no deletion; none of it afterwards, and 4 of 64 cells.
        assert details["history"]["objective"][:, 0].tolist() == [1.0, 1.0]
        torch.testing.assert_close(details["history"]["objective"][:, -1], torch.full((2,), 4 / 64))


def test_with_total_variation_the_patch_stands_out():
    found, _ = play(IGOS(tv=20.0, line_search="integrated", **TOY), PatchNet())
    inside, outside = found[0][PATCH == 1].mean(), found[0][PATCH == 0].mean()
    assert PATCH.flatten()[found[0].argmax()] == 1
    assert inside == pytest.approx(0.137, abs=0.0005) and outside == pytest.approx(0.012, abs=0.0005)


def test_each_share_is_a_factor_of_its_term():
    objective, masks = game_of(PatchNet(), torch.ones(1, 3, 8, 8)), torch.ones(1, 8, 8)
    for points in (1, 4, 20):
        shares = torch.arange(1, points + 1) / points
        _, slope = objective.gradient(masks, shares, torch.arange(points))
        torch.testing.assert_close(slope[0], (points + 1) / (2 * points) * PATCH / 4)


def test_a_certain_class_is_left_along_the_integrated_gradient_only():
    net = PatchNet(saturated)
    objective, masks = game_of(net, torch.ones(1, 3, 8, 8)), torch.ones(1, 8, 8)
    plain = objective.gradient(masks, torch.ones(1), torch.zeros(1, dtype=torch.long))[1].sum()
    integrated = objective.gradient(masks, torch.arange(1, 21) / 20, torch.arange(20))[1].sum()
    # d/dM of sigmoid(20 (M - 0.3)) at M = 1, over the patch.
    certain = 1 / (1 + math.exp(-14))
    assert float(plain) == pytest.approx(20 * certain * (1 - certain), rel=0.05)
    by_hand = sum(s / 20 * 20 * (p := 1 / (1 + math.exp(-20 * (s / 20 - 0.3)))) * (1 - p) for s in range(1, 21)) / 20
    assert float(integrated) == pytest.approx(by_hand, rel=1e-4)
    assert integrated > 1000 * plain
    found, details = play(IGOS(tv=0.0, **TOY), net)
    assert (details["history"]["score"][:, -1] < 0.01).all()
    assert not found[:, PATCH == 0].any()


def test_penalties_by_hand():
    masks = torch.tensor([[[1.0, 0.5], [0.0, 1.0]]])
    assert sparsity(masks).tolist() == [(0.5 + 1) / 4]
    assert total_variation(masks, 2).tolist() == [(1 + 0.25) / 2 + (0.25 + 1) / 2]
    assert total_variation(masks, 3).tolist() == [(1 + 0.125) / 2 + (0.125 + 1) / 2]


def net_and_images(count=3, size=(24, 24)):
    images = pictures(count, size, seed=5).double()
    return certain(build(StagedNet, seed=3).double(), images), images


def run(net, images, explainer, targets=None):
    return explain(net, images, [explainer], targets, normalization=IMAGENET)[explainer.name]


@pytest.mark.parametrize("settings", [{}, {"noise": 0.0, "line_search": "integrated"}], ids=str)
def test_the_objective_never_rises_but_in_forced_steps(settings):
    history = run(*net_and_images(), IGOS(n_steps=5, **LIGHT, **settings)).details["history"]
    rise = history["objective"].diff(dim=1)
    assert (rise[history["accepted"]] <= 0).all() and (rise <= 1e-6).all()
    assert history["objective"][:, -1].lt(history["objective"][:, 0] - 0.1).all()
    assert history["objective"].shape == (3, 16) and history["step"].shape == (3, 15)
    forced = history["step"][~history["accepted"]]
    assert (forced < 1e-5).all() and (history["step"][history["accepted"]] >= 1e-6).all()


def test_history_is_made_of_what_it_says():
    explainer = IGOS(n_steps=3, size=7, iterations=4, l1=0.7, tv=3.0)
    found = run(*net_and_images(), explainer)
    history, mask = found.details["history"], found.details["mask"]
    by_hand = history["score"] + 0.7 * history["l1"] + 3.0 * history["tv"]
    torch.testing.assert_close(history["objective"], by_hand)
    torch.testing.assert_close(history["l1"][:, -1], (1 - mask).mean((1, 2)))
    large = torch.nn.functional.interpolate(1 - mask[:, None], (24, 24), mode="bilinear", align_corners=True)[:, 0]
    torch.testing.assert_close(found.raw, large)


@pytest.mark.parametrize("line_search", ["masked", "integrated"])
def test_a_batch_is_its_images_and_chunks_change_nothing(line_search):
    net, images = net_and_images()
    whole = run(net, images, IGOS(n_steps=4, **LIGHT, line_search=line_search, internal_batch_size=1000))
    steps = whole.details["history"]["step"]
    assert (steps != steps[:1]).any(), "images that all take the same steps would not tell"
    small = run(net, images, IGOS(n_steps=4, **LIGHT, line_search=line_search, internal_batch_size=5))
    torch.testing.assert_close(small.raw, whole.raw, atol=1e-11, rtol=0)
    for i in range(3):
        alone = run(net, images[i : i + 1], IGOS(n_steps=4, **LIGHT, line_search=line_search), int(whole.target[i]))
        torch.testing.assert_close(alone.raw[0], whole.raw[i], atol=1e-11, rtol=0)
        assert torch.equal(alone.details["history"]["step"][0], steps[i])


def test_noise_is_drawn_anew_for_every_term():
    images = torch.zeros(1, 1, 5, 5)
    noise = Noise(images, 300, 0.2, "absolute", 0)
    drawn = noise.draw(torch.arange(300), torch.zeros(300, dtype=torch.long))
    assert drawn.std() == pytest.approx(0.2, rel=0.05) and len(drawn.flatten(1)[:, 0].unique()) == 300
    one, other = (run(*net_and_images(), IGOS(n_steps=2, **LIGHT, seed=seed)).raw for seed in (0, 1))
    assert not torch.equal(one, other)


def test_adapted_l1_lets_go_of_what_did_not_fall():
    # The score falls by nothing: the class does not depend on the image.
    net = PatchNet(lambda mean: 0 * mean + 0.5)
    game_weights = []

    class Weighed(IGOS):
        def _descend(self, history, *args):
            game_weights.append(history.problem.l1.tolist())
            return super()._descend(history, *args)

    play(Weighed(adapt_l1=True, n_steps=1, **TOY), net)
    assert game_weights[6] == [1, 1] and game_weights[7] == pytest.approx([0.1, 0.1])
    assert game_weights[12] == pytest.approx([0.02, 0.02])
    fixed, adapted = (play(IGOS(adapt_l1=a, tv=0.0, **TOY), PatchNet())[0] for a in (False, True))
    assert torch.equal(fixed, adapted), "where the score fell, nothing is adapted"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"iterations": -1}, "iterations is a whole number from 0"),
        ({"size": 1}, "size is a whole number from 2"),
        ({"n_steps": 0}, "n_steps is a whole number from 1"),
        ({"decay": 1.0}, "decay is a number above 0 to 0.99"),
        ({"step": 0.0}, "step is a number above 0, got 0.0"),
        ({"line_search": "maskd"}, "line_search='maskd' is not one of .* Did you mean masked"),
        ({"baseline": "blur52"}, "baseline='blur52' is not one of .* Did you mean blur51"),
        ({"baseline": (10, 5)}, "baseline is a color .* a blur of odd kernel and sigma"),
        ({"l1": -1.0}, "l1 is a number from 0"),
        ({"beta": 0.5}, "beta is a number from 1"),
        ({"step": float("inf")}, "step is a number above 0, got inf"),
        ({"least_step": 300.0}, "least_step is a number above 0 to 200"),
        ({"l1": None}, "l1 is a number from 0, got None"),
        ({"l1": True}, "l1 is a number from 0, got True"),
        ({"noise": float("nan")}, "noise is a number from 0, got nan"),
        ({"seed": 0.5}, "seed is a whole number from 0"),
        ({"seed": 2**70}, "seed is a whole number below"),
        ({"baseline": (3, True)}, "baseline is a color"),
        ({"baseline": (3, float("inf"))}, "baseline is a color"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        IGOS(**settings)


class Cut(PatchNet):
    def forward(self, images):
        with torch.no_grad():
            return super().forward(images)


class CutBackbone(Cut):
    """Its head is trainable, so that the output has a gradient, though not of the images."""

    def forward(self, images):
        return super().forward(images) * self.scale


@pytest.mark.parametrize("net", [Cut, CutBackbone])
def test_a_network_that_cuts_gradients_is_refused_with_the_remedy(net):
    with pytest.raises(ValueError, match="Freeze them with requires_grad_"):
        play(IGOS(**TOY), net())


class Watched(IGOS):
    """Keeps what every descent starts from."""

    def _descend(self, history, masks, score, gradient, shares, samples):
        self.seen.append((masks.clone(), gradient, samples.tolist()))
        return super()._descend(history, masks, score, gradient, shares, samples)


def watched(**settings):
    explainer = Watched(**settings)
    object.__setattr__(explainer, "seen", [])
    return explainer


def test_where_nothing_descends_the_least_step_is_taken():
    # Along the way from the blank the class rises, but at its end it falls: a short step back raises it.
    net = PatchNet(lambda mean: torch.minimum(mean, 2.7 - 2 * mean))
    explainer = watched(iterations=1, tv=0.0, step=0.5, **TOY)
    _, details = play(explainer, net)
    (masks, slope, _), history = explainer.seen[0], details["history"]
    assert slope.amax((1, 2)).gt(0.01).all() and not history["accepted"].any()
    # 0.5 times 0.2 to the sixth is 3.2e-5, not below the least step of 1e-5; the next one is.
    assert history["step"][0, 0] == pytest.approx(0.5 * 0.2**7)
    assert torch.equal(details["mask"], (masks - history["step"][:, :1, None] * slope).clamp(0, 1))
    assert (details["mask"] < 1).any()


def test_a_step_has_to_gain_in_proportion_to_its_length():
    # J = |M - 1/2| over one cell that starts at 1: a step that lands as far below 1/2 as it was above gains nothing.
    net = PatchNet(lambda mean: (mean - 0.5).abs())
    explainer = watched(
        iterations=6, tv=0.0, l1=0.0, n_steps=1, step=4.0, decay=0.5, size=8, noise=0.0, baseline="zero_normalized"
    )
    _, details = play(explainer, net)
    # Slope 1/4 on each of four cells: a step of 4 goes from 1 to 0, where J is what it was.
    assert details["history"]["step"][0, 0] == 2.0 and details["history"]["score"][0, 1] == 0.0


def test_every_iteration_and_every_point_has_noise_of_its_own():
    explainer = watched(iterations=3, n_steps=4, **LIGHT)
    run(*net_and_images(), explainer)
    assert [samples for *_, samples in explainer.seen] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
