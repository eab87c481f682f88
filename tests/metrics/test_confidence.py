import pytest
import torch
from helpers.toys import GapNet, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from livecam.core.normalization import IMAGENET, Normalization
from livecam.metrics.confidence import ConfidenceChange, confidence_change


class Brightness(nn.Module):
    """Its probability is the mean of the first channel; one logit."""

    def forward(self, images):
        return torch.logit(images[:, 0].mean((1, 2)))


def data(count=2, size=(9, 7)):
    net, images = build(GapNet).double(), pictures(count, size).double()
    maps = torch.rand(count, *size, generator=torch.Generator().manual_seed(0)).double()
    return net, images, torch.arange(count) % 4, maps


def computed(metric, *args, **kwargs):
    metric.update(*args, **kwargs)
    return {key: float(value) for key, value in metric.compute().items()}


def test_by_hand():
    clean, kept = torch.tensor([0.8, 0.5, 0.5, 0.4, 0.0, 0.0]), torch.tensor([0.2, 0.5, 0.75, 0.0, 0.0, 0.3])
    drop, increase, absolute = confidence_change(clean, kept)
    assert drop.tolist() == pytest.approx([75, 0, 0, 100, 0, 0])
    assert increase.tolist() == [0, 0, 100, 0, 0, 100]
    assert absolute.tolist() == pytest.approx([0.6, 0, 0, 0.4, 0, 0])
    assert drop.dtype == torch.float64


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_ranges_and_what_excludes_what(clean, kept):
    drop, increase, absolute = confidence_change(torch.tensor([clean]), torch.tensor([kept])).flatten().tolist()
    assert 0 <= drop <= 100 and increase in (0, 100) and 0 <= absolute <= 1
    assert not (drop and increase) and (drop > 0) == (absolute > 0)


@pytest.mark.parametrize("space", ["input", "pixels"])
def test_a_map_of_ones_changes_nothing(space):
    net, images, targets, maps = data()
    values = ConfidenceChange(space).per_image(net, images, targets, torch.ones_like(maps), normalization=IMAGENET)
    assert values.tolist() == [[0, 0], [0, 0], [0, 0]]


def test_all_is_lost():
    images, targets = torch.full((1, 3, 4, 4), 0.6, dtype=torch.float64), torch.tensor([1])
    found = computed(ConfidenceChange(), Brightness(), images, targets, torch.zeros(1, 4, 4))
    expected = {"confidence": 100, "increase": 0, "absolute": 0.6, "n": 1, "undefined": 0, "degenerate": 1}
    assert found == pytest.approx(expected)


def test_half_of_a_linear_network():
    # Half of the brightness is gone; for class 0 that is a gain.
    images, maps = torch.full((2, 3, 4, 4), 0.6, dtype=torch.float64), torch.zeros(2, 4, 4)
    maps[:, :2] = 1
    values = ConfidenceChange().per_image(Brightness(), images, torch.tensor([1, 0]), maps)
    assert values[:, 0].tolist() == pytest.approx([50, 0, 0.3]) and values[:, 1].tolist() == [0, 100, 0]
    found = computed(ConfidenceChange(), Brightness(), images, torch.tensor([1, 0]), maps)
    assert (found["confidence"], found["increase"]) == (pytest.approx(25), 50)


def test_a_class_that_has_no_probability_cannot_drop():
    images, maps = torch.zeros(1, 3, 4, 4, dtype=torch.float64), torch.ones(1, 4, 4) / 2
    found = computed(ConfidenceChange(), Brightness(), images, torch.tensor([1]), maps)
    assert [found[key] for key in ("confidence", "increase", "absolute", "n", "undefined")] == [0, 0, 0, 1, 0]


@pytest.mark.parametrize("head", ["softmax", "multilabel"])
def test_against_single_images(head):
    net, images, targets, maps = data(4)
    values = ConfidenceChange().per_image(net, images, targets, maps, head=head)
    for i, target in enumerate(targets):
        logits = [net(x[None]).detach()[0] for x in (images[i], maps[i] * images[i])]
        clean, kept = (float((x.softmax(0) if head == "softmax" else x.sigmoid())[target]) for x in logits)
        expected = [100 * max(0, clean - kept) / clean, 100 * (clean < kept), max(0, clean - kept)]
        assert values[:, i].tolist() == pytest.approx(expected, abs=1e-10)
    assert values[1].unique().numel() == 2, "some rise, some fall"


def test_pixels_are_multiplied_where_people_see_them():
    net, images, targets, maps = data(6)
    tie = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    values = ConfidenceChange("pixels").per_image(net, images, targets, maps, normalization=tie)
    mean, std = (torch.tensor(x, dtype=torch.float64)[:, None, None] for x in (tie.mean, tie.std))
    masked = ((images * std + mean) * maps[:, None] - mean) / std
    clean, kept = (net(x).detach().softmax(1)[torch.arange(6), targets] for x in (images, masked))
    torch.testing.assert_close(values[2], (clean - kept).clamp(min=0), atol=1e-8, rtol=0)
    other = ConfidenceChange().per_image(net, images, targets, maps, normalization=tie)
    assert (values[2] - other[2]).abs().max() > 1e-3


def test_a_batch_is_its_images():
    net, images, targets, maps = data(4)
    metric = ConfidenceChange()
    whole = metric.per_image(net, images, targets, maps)
    single = [metric.per_image(net, images[i : i + 1], targets[i : i + 1], maps[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(whole, torch.cat(single, 1), atol=1e-10, rtol=0)


def test_the_network_and_the_random_state_are_left_alone():
    net, images, targets, maps = data()
    expected = ConfidenceChange().per_image(net, images, targets, maps)
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    for context in (torch.enable_grad(), torch.inference_mode()):
        with context:
            assert torch.equal(ConfidenceChange().per_image(net, images, targets, maps), expected)
    assert torch.equal(torch.get_rng_state(), state) and net.training and net.drop.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_is_refused():
    net, images, targets, maps = data()
    with pytest.raises(ValueError, match=r"space='pixel' is not one of input, pixels\. Did you mean pixels"):
        ConfidenceChange("pixel")
    with pytest.raises(ValueError, match=r"pass normalization=.* or use space='input'"):
        ConfidenceChange("pixels").per_image(net, images, targets, maps)
    with pytest.raises(ValueError, match=r"Maps .* do not fit images"):
        ConfidenceChange().per_image(net, images, targets, maps[:, 1:])
    with pytest.raises(ValueError, match=r"Maps leave \[0, 1\]"):
        ConfidenceChange().per_image(net, images, targets, 2 * maps)


def test_what_it_reads():
    assert ConfidenceChange.inputs == set(["model", "images", "targets", "maps", "head", "normalization"])
    assert (ConfidenceChange.name, ConfidenceChange.uses) == ("confidence", "map")
    assert ConfidenceChange.value_names[0] == "confidence" and not ConfidenceChange.higher_is_better
