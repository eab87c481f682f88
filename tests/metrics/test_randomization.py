import pytest
import torch
import torch.nn.functional as F
from helpers.toys import GapNet, StagedNet, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from livecam.explain import GradCAM, GradualExtrapolation, Saliency, Uniform, explain
from livecam.metrics.randomization import Randomization, average_ranks, shifted_spearman, similarity, spearman, ssim

LAYERS = ["stem", "norm", "conv", "fc"]


def noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(seed, count=2, size=(24, 24)):
    """Blurred noise: neighbors are alike, as in maps."""
    return F.avg_pool2d(noise(seed, count, 1, size[0] + 8, size[1] + 8), 9, stride=1)[:, 0]


def explaining(explainer, images, targets=None, seen=None):
    """What scoring hands to the metric: from a network to raw maps; ``seen`` gets the weights of each network."""

    def run(net):
        if seen is not None:
            seen.append({name: value.clone() for name, value in net.state_dict().items()})
        return explain(net, images, [explainer], targets)[explainer.name].raw

    return run


def scores(net, run, seed=0):
    return dict(zip(Randomization.value_names, Randomization(seed).per_image(net, run, run(net))))


def changed(net, state):
    return [layer for layer in LAYERS if not torch.equal(net.get_submodule(layer).weight, state[f"{layer}.weight"])]


def trained(make=GapNet, seed=0):
    """Like after a training: no parameter and no statistic stands where a fresh layer has it."""
    net = build(make, seed=seed)
    for index, value in enumerate(net.state_dict().values()):
        if value.is_floating_point():
            value.add_(noise(index, *value.shape).abs(), alpha=0.3)
    return net


def test_ranks_by_hand():
    values = torch.tensor([[3.0, 1, 3, 0], [5, 5, 5, 5], [-2, 7, 1, 0]])
    assert average_ranks(values).tolist() == [[3.5, 2, 3.5, 1], [2.5] * 4, [1, 4, 3, 2]]


def test_correlation_by_hand():
    one = torch.tensor([[[1.0, 2], [3, 4]]])
    assert spearman(one, one.exp()).item() == 1 and spearman(one, -one).item() == -1
    # Without ties: 1 - 6 sum d^2 / (n (n^2 - 1)).
    assert spearman(one, torch.tensor([[[2.0, 1], [3, 4]]])).item() == pytest.approx(1 - 6 * 2 / 60)
    assert spearman(one, torch.ones(1, 2, 2)).isnan().all()


def test_independent_maps_hardly_correlate():
    rho = spearman(noise(0, 50, 30, 30), noise(1, 50, 30, 30))
    assert (rho.abs() < 4 / 30).all() and rho.abs().max() > 0.01


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), h=st.integers(1, 12), w=st.integers(2, 12))
def test_what_is_the_same_scores_exactly_one_at_any_size(seed, h, w):
    maps = noise(seed, 2, h, w)
    assert similarity(maps, maps.clone()).tolist() == [[1, 1]] * 3
    other = noise(seed + 1, 2, h, w)
    assert (similarity(maps, other).abs() <= 1 + 1e-12).all()
    torch.testing.assert_close(similarity(maps, other), similarity(other, maps))
    torch.testing.assert_close(similarity(maps, other)[0], similarity(3 * maps.double() + 1, other)[0])


def test_one_window_of_ssim_by_hand():
    one, other = torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(0)).double()
    mean, mean_other = one.mean(), other.mean()
    both = ((one - mean) * (other - mean_other)).mean()
    luminance = (2 * mean * mean_other + 1e-4) / (mean**2 + mean_other**2 + 1e-4)
    expected = luminance * (2 * both + 9e-4) / (one.var(correction=0) + other.var(correction=0) + 9e-4)
    assert ssim(one, other).item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_null_is_that_of_all_shifts():
    one, other = smooth(0, 2, (5, 8)), smooth(1, 2, (5, 8))
    shifts = [(down, right) for down in range(5) for right in range(8)]
    rho = torch.stack([spearman(one, other.roll(shift, (1, 2))) for shift in shifts]).abs().sort(0).values
    for share in (0.5, 0.95, 1.0):
        torch.testing.assert_close(shifted_spearman(one, other, share), rho[round(share * 40) - 1])


def test_the_null_grows_with_smoothness_and_is_that_of_pixels_for_noise():
    rough = shifted_spearman(noise(0, 8, 24, 24), noise(1, 8, 24, 24))
    fine = shifted_spearman(smooth(0, 8), smooth(1, 8))
    torch.testing.assert_close(rough.mean().item(), 1.96 / 24, atol=0.01, rtol=0)
    assert fine.mean() > 3 * rough.mean()
    # Independent smooth maps lie below it about 95 times in 100, and above the null of single pixels mostly.
    one, other = smooth(2, 400), smooth(3, 400)
    rho = spearman(one, other).abs()
    assert 0.88 < (rho < shifted_spearman(one, other)).double().mean() < 0.99
    assert (rho > 1.96 / 24).double().mean() > 0.4


def test_an_explanation_that_ignores_the_network_keeps_everything():
    maps = smooth(0)
    found = scores(build(GapNet), lambda net: maps)
    assert found.keys() == set(Randomization.value_names)
    null = found.pop("null")
    assert all(value.tolist() == [1, 1] for value in found.values())
    assert ((null > 0) & (null < 1)).all()


def test_a_map_of_the_first_layer_falls_with_it_only():
    images = pictures(2)
    found = scores(trained(), lambda net: (net(images), net.stem(images).detach().mean(1))[1])
    assert all(found[part].tolist() == [1, 1] for part in ("top", "top_abs", "top_ssim", "at_25", "at_50", "at_75"))
    assert all((found[part] < 0.9).all() for part in ("randomization", "abs", "ssim"))
    torch.testing.assert_close(found["independent"], (3 + found["randomization"]) / 4)
    torch.testing.assert_close(found["independent_ssim"], (3 + found["ssim"]) / 4)


def test_which_layers_are_random_and_what_of_them():
    net, seen = trained(), []
    run = explaining(GradCAM(), pictures(), 1, seen)
    Randomization().per_image(net, run, run(net))
    nothing, everything, *rest = seen
    assert changed(net, nothing) == [] and changed(net, everything) == LAYERS
    cascade, alone = [["fc"], ["conv", "fc"], ["norm", "conv", "fc"]], [["conv"], ["norm"], ["stem"]]
    assert sorted(changed(net, state) for state in rest) == sorted(cascade + alone)
    for state in [everything, *rest]:
        assert torch.equal(state["norm.running_mean"], net.norm.running_mean)
        assert torch.equal(state["norm.running_var"], net.norm.running_var)
        assert state["norm.num_batches_tracked"] == net.norm.num_batches_tracked
        for layer in changed(net, state):
            for name in (f"{layer}.weight", f"{layer}.bias"):
                assert torch.equal(state[name], everything[name]), "a seed means the same weights at every stage"
    assert everything["norm.weight"].tolist() == [1] * 6 and everything["norm.bias"].tolist() == [0] * 6
    bound = (1 / 27) ** 0.5
    assert everything["stem.weight"].abs().max() <= bound < net.stem.weight.abs().max()


class HeadFirst(GapNet):
    """Registers its head before everything else, and something that it never calls."""

    def __init__(self):
        super().__init__()
        layers = dict(self.named_children())
        self._modules.clear()
        for name in ("fc", "stem", "norm", "first", "conv", "last", "drop"):
            self.add_module(name, layers[name])
        self.unused = nn.Linear(3, 3)


def test_the_top_is_found_by_execution_not_by_registration():
    net, images = trained(HeadFirst), pictures()
    seen = []
    run = explaining(GradCAM(), images, 1, seen)
    Randomization().per_image(net, run, run(net))
    stages = [changed(net, state) for state in seen[2:]]
    assert ["fc"] in stages and ["stem"] in stages and ["conv", "fc"] in stages
    assert not torch.equal(seen[1]["unused.weight"], net.unused.weight)


def test_gradual_extrapolation_of_a_uniform_map_never_asks_the_head():
    net, images = trained(StagedNet), pictures(3)
    found = scores(net, explaining(GradualExtrapolation(Uniform()), images, 1))
    assert found["top"].tolist() == found["top_ssim"].tolist() == [1, 1, 1]
    assert (found["randomization"] < 0.95).all()
    plain = scores(net, explaining(GradCAM(), images, 1))
    gradual = scores(net, explaining(GradualExtrapolation(GradCAM()), images, 1))
    assert (plain["top"] < 0.99).any() and gradual["top"].nanmean() > plain["top"].nanmean()


@pytest.mark.parametrize("training", [True, False])
def test_the_model_and_the_random_state_stay_as_they_are(training):
    net, images = trained().train(training), pictures()
    net.stem.requires_grad_(False)
    net(images).sum().backward()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    gradients = {name: value.grad.clone() for name, value in net.named_parameters() if value.grad is not None}
    state = torch.get_rng_state()
    first = scores(net, explaining(Saliency(), images, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(torch.equal(net.get_parameter(name).grad, value) for name, value in gradients.items())
    assert net.training == net.norm.training == training and not net.stem.weight.requires_grad
    assert not any(module._forward_pre_hooks for module in net.modules())
    torch.manual_seed(99)
    again = scores(net, explaining(Saliency(), images, 1))
    other = scores(net, explaining(Saliency(), images, 1), seed=1)
    assert all(torch.equal(first[part], again[part]) for part in first)
    assert not torch.equal(first["randomization"], other["randomization"])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_where_validation_runs(mode):
    net, images = trained(), pictures()
    expected = scores(net, explaining(GradCAM(), images, 1))
    with mode():
        found = scores(net, explaining(GradCAM(), images, 1))
    assert all(torch.equal(found[part], expected[part]) for part in expected)


def test_images_do_not_matter_to_their_neighbors():
    net, images = trained(), pictures(3)
    together = scores(net, explaining(Saliency(), images, 1))
    alone = scores(net, explaining(Saliency(), images[1:2], 1))
    for part in together:
        torch.testing.assert_close(together[part][1:2], alone[part], atol=1e-6, rtol=0)


def test_maps_without_contrast_are_undefined_and_counted():
    maps = smooth(0, 4)
    blank = torch.stack([maps[0], torch.zeros(24, 24), maps[2], torch.full((24, 24), torch.nan)])
    maps[2] = 3
    net, metric = build(GapNet), Randomization()
    metric.update(net, lambda twin: blank, maps)
    found = metric.compute()
    assert [int(found[key]) for key in ("n", "undefined", "degenerate")] == [1, 3, 1]
    assert float(found["randomization"]) == 1 and next(iter(found)) == "randomization"


def test_signs_that_turn_are_no_change_of_the_absolute_values():
    maps = noise(0, 2, 8, 8)
    found = dict(zip(Randomization.value_names, Randomization().per_image(build(GapNet), lambda net: -maps, maps)))
    assert found["randomization"].tolist() == [-1, -1] and found["abs"].tolist() == [1, 1]


def test_costs():
    # Four layers: all, three cascading (the top one is the upper quarter), three quarters alone.
    for net, expected in ((build(GapNet), 7), (nn.Conv2d(3, 4, 3), 1), (nn.Sequential(*[nn.Conv2d(3, 3, 3)] * 9), 1)):
        calls = []
        Randomization().per_image(net, lambda twin, calls=calls: calls.append(twin) or smooth(1), smooth(0))
        assert len(calls) == expected


def test_layers_that_share_weights_still_share_them():
    net = build(lambda: nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))))
    net[2].weight = net[0].weight
    shared, images = [], pictures()

    def run(twin):
        shared.append(twin[0].weight is twin[2].weight)
        return twin(images).detach().mean(1)

    assert Randomization().per_image(net, run, run(net)).isfinite().all()
    assert len(shared) == 8 and all(shared)


def test_a_lightning_module_in_its_trainer():
    from lightning import Callback, LightningModule, Trainer

    class Holding(Callback):
        def __deepcopy__(self, memo):
            raise AssertionError("the trainer was copied")

    class Lit(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = trained()

        def forward(self, images):
            return self.net(images)

    lit, images = Lit().eval(), pictures()
    expected = scores(lit, explaining(GradCAM("net.last"), images, 1))
    lit.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[Holding()])
    trainer = lit.trainer
    found = scores(lit, explaining(GradCAM("net.last"), images, 1))
    assert all(torch.equal(found[part], expected[part]) for part in expected)
    assert lit.trainer is trainer


def test_bad_input():
    with pytest.raises(ValueError, match="Sequential has no layer to randomize: none of its modules has parameters"):
        Randomization().per_image(nn.Sequential(nn.ReLU()), lambda net: smooth(0), smooth(0))
    with pytest.raises(ValueError, match=r"explain gave maps \(3, 24, 24\) .* but maps are \(2, 24, 24\)"):
        Randomization().per_image(build(GapNet), lambda net: smooth(0, 3), smooth(0))
    with pytest.raises(ValueError, match="seed is a whole number from 0"):
        Randomization(seed=0.5)


def test_parameters_that_nothing_resets_are_named():
    net = trained()
    net.token, net.scale = nn.ParameterList([torch.ones(3)]), nn.PReLU()
    nn.utils.parametrizations.weight_norm(net.stem)
    with pytest.warns(UserWarning, match=r"Parameters of ParameterList, ParametrizationList stay as they are"):
        Randomization().per_image(net, lambda twin: smooth(0), smooth(0))


def test_contract():
    assert (Randomization.name, Randomization.uses, Randomization.value_names[0]) == (
        "randomization",
        "raw",
        "randomization",
    )
    assert Randomization.inputs == {"model", "explain", "maps"}
    assert Randomization.higher_is_better is False
