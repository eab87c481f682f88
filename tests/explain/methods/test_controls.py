import pytest
import torch
from helpers.toys import StagedNet, build, pictures

from livecam.explain import CenteredGaussian, GradCAM, GradualExtrapolation, Uniform, explain


def test_the_gaussian_has_its_peak_in_the_middle_and_its_spread():
    found = explain(build(StagedNet), pictures(2, (41, 81)), [CenteredGaussian(spread=0.25)])["centered_gaussian"]
    (row, column) = divmod(int(found.map[0].argmax()), 81)
    assert (row, column) == (20, 40)
    profile = found.raw[0, 20].double()
    place = (torch.arange(81).double() + 0.5) / 81 - 0.5
    # Its second moment: a standard deviation of a quarter of the width, seen through a window of two each side.
    expected = (-0.5 * (place / 0.25) ** 2).exp()
    torch.testing.assert_close(profile, expected, atol=1e-6, rtol=0)
    assert torch.equal(found.map[0], found.map[1])


def test_the_gaussian_refuses_no_spread():
    with pytest.raises(ValueError, match="spread is a number above 0"):
        CenteredGaussian(spread=0.0)


def test_uniform_energy_has_no_contrast():
    found = explain(build(StagedNet), pictures(), [Uniform()])["uniform"]
    assert found.degenerate.all() and found.energy.eq(1).all() and found.map.eq(0).all()


def test_gradual_extrapolation_of_a_uniform_map_is_what_does_not_depend_on_the_class():
    net, images = build(StagedNet), pictures()
    control = GradualExtrapolation(Uniform())
    found = [explain(net, images, [control], target)["gradual_uniform"].raw for target in (0, 3)]
    assert torch.equal(*found)
    # By hand: the one stage before the pool, its positive part averaged over channels and scaled by its maximum.
    before = net.first(net.norm(net.stem(images))).mean(1).detach()
    torch.testing.assert_close(found[0], before / before.amax((1, 2), keepdim=True), atol=1e-6, rtol=0)
    other = [explain(net, images, ["gradual_gradcam"], target)["gradual_gradcam"].raw for target in (0, 3)]
    assert not torch.equal(*other), "with a base that knows the class it does"


def test_uniform_answers_for_a_named_layer():
    found = explain(build(StagedNet), pictures(2, (24, 24)), [Uniform("last"), GradCAM()])
    assert found["uniform"].raw.shape == found["gradcam"].raw.shape
