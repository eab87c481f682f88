import math

import pytest
import torch
from helpers.toys import GapNet, Given, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.core.normalization import IMAGENET, Normalization
from livecam.metrics.reclassification import Reclassification, masked_images, ranks, reclassification, top_classes

SAME = Normalization((0.0,) * 3, (1.0,) * 3)
CLASSES = 4
BASELINE_NAMES = ["black", "white", "mean", "blur", "zero_normalized", "image_min", "image_max", (0.2, 0.4, 0.9)]


def random_maps(count=2, size=(24, 24), seed=2):
    return torch.rand(count, *size, generator=torch.Generator().manual_seed(seed))


def color_net(scale=1.0):
    """Logits are the mean red, green and blue, times ``scale``."""
    return Given(scale * torch.eye(3)).eval()


def measured(net, images, targets, maps, normalization=SAME, head="auto", **options):
    metric = Reclassification(**options)
    values = metric.per_image(net, images, targets, maps, head, normalization)
    assert values.dtype == torch.float64 and values.shape == (len(metric.value_names), len(images))
    return dict(zip(metric.value_names, values))


@pytest.mark.parametrize("mode", ["multiply", "threshold"])
@pytest.mark.parametrize("baseline", BASELINE_NAMES)
def test_a_map_of_ones_leaves_every_image_as_it_is(mode, baseline):
    images = pictures()
    assert torch.equal(masked_images(images, torch.ones(2, 24, 24), IMAGENET, mode, 1.0, baseline), images)


def test_a_map_of_ones_gives_the_original_prediction():
    net, images, targets = build(GapNet, CLASSES).double(), pictures(3).double(), torch.tensor([0, 3, 1])
    found = measured(net, images, targets, torch.ones(3, 24, 24), IMAGENET)
    with torch.no_grad():
        expected = net(images).softmax(1)
    torch.testing.assert_close(found["original"], expected[range(3), targets], atol=1e-12, rtol=0)
    assert torch.equal(found["reclassification"], found["original"])
    assert found["ratio"].tolist() == [1, 1, 1]
    assert found["rank"].tolist() == [1 + int((row > row[t]).sum()) for row, t in zip(expected, targets)]


@pytest.mark.parametrize("mode", ["multiply", "threshold"])
@pytest.mark.parametrize("baseline", ["black", "white", "mean", "zero_normalized"])
def test_a_map_of_zeros_gives_the_prediction_of_the_fill(mode, baseline):
    net, images, targets = build(GapNet, CLASSES), pictures(2), torch.tensor([2, 1])
    plain = {
        "black": IMAGENET.to_input(torch.zeros(2, 3, 24, 24)),
        "white": IMAGENET.to_input(torch.ones(2, 3, 24, 24)),
        "mean": images.mean((2, 3), keepdim=True).expand(2, 3, 24, 24),
        "zero_normalized": torch.zeros(2, 3, 24, 24),
    }[baseline]
    with torch.no_grad():
        expected = net(plain).softmax(1)
    metric = Reclassification(mode, 0.3, baseline)
    metric.update(net, images, targets, torch.zeros(2, 24, 24), normalization=IMAGENET)
    result = metric.compute()
    torch.testing.assert_close(result["reclassification"], expected[range(2), targets].double().mean())
    # Defined, and counted.
    assert [int(result[count]) for count in ("n", "undefined", "degenerate")] == [2, 0, 2]


def test_the_papers_product_is_taken_in_pixels_and_black():
    pixels = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    maps = random_maps(2, (5, 6)).double()
    found = masked_images(IMAGENET.to_input(pixels), maps, IMAGENET)
    torch.testing.assert_close(IMAGENET.to_pixels(found), pixels * maps[:, None], atol=1e-12, rtol=0)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    mode=st.sampled_from(["multiply", "threshold"]),
    color=st.tuples(*[st.floats(0, 1)] * 3),
    std=st.tuples(*[st.floats(0.05, 2)] * 3),
)
def test_mixing_in_input_space_is_mixing_in_pixels(seed, mode, color, std):
    norm = Normalization((0.1, 0.5, 0.8), std)
    pixels = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed)).double()
    maps = random_maps(2, (4, 5), seed).double()
    weight = (maps if mode == "multiply" else torch.where(maps >= 0.4, 1.0, 0.0))[:, None]
    paint = torch.tensor(color, dtype=torch.float64)[:, None, None]
    expected = norm.to_input(pixels * weight + paint * (1 - weight))
    found = masked_images(norm.to_input(pixels), maps, norm, mode, 0.4, color)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


def test_a_pixel_at_the_threshold_is_kept():
    maps = torch.tensor([[[0.5, math.nextafter(0.5, 0), 0.50001, 0.0, 1.0]]], dtype=torch.float64)
    images = torch.full((1, 3, 1, 5), 0.7, dtype=torch.float64)
    found = masked_images(images, maps, SAME, "threshold", 0.5)
    assert found[0, 0, 0].tolist() == [0.7, 0.0, 0.7, 0.0, 0.7]
    assert masked_images(images, maps, SAME, "threshold", 1.0)[0, 0, 0].tolist() == [0, 0, 0, 0, 0.7]


def test_a_net_by_hand():
    # Left half red, right half blue; the map keeps all of the left and a quarter of the right.
    images = torch.zeros(1, 3, 2, 4)
    images[:, 0, :, :2], images[:, 2, :, 2:] = 0.8, 1.0
    maps = torch.tensor([1.0, 1.0, 0.25, 0.25]).expand(1, 2, 4)
    net = color_net(10)

    def softmax(*logits):
        return [math.exp(logit) / sum(map(math.exp, logits)) for logit in logits]

    clean, masked = softmax(4, 0, 5), softmax(4, 0, 1.25)
    red, blue = (measured(net, images, torch.tensor([k]), maps) for k in (0, 2))
    assert float(red["reclassification"]) == pytest.approx(masked[0], rel=1e-5)
    assert float(red["original"]) == pytest.approx(clean[0], rel=1e-5)
    assert float(red["ratio"]) == pytest.approx(masked[0] / clean[0], rel=1e-5) and float(red["ratio"]) > 1
    assert [float(red[part]) for part in ("kept", "top5", "rank")] == [1, 1, 1]
    assert [float(blue[part]) for part in ("kept", "top5", "rank")] == [0, 1, 2]
    # The threshold takes the right half away: logits 4, 0, 0.
    cut = measured(net, images, torch.tensor([2]), maps, mode="threshold", threshold=0.3)
    assert float(cut["reclassification"]) == pytest.approx(softmax(4, 0, 0)[2], rel=1e-5)
    # On white, what is missing is white: red loses to nothing, logits 10 (0.8 * 0.5 + 0.5 * 0.75), 10 * 0.375, ...
    white = measured(net, images, torch.tensor([0]), maps, baseline="white")
    expected = softmax(10 * (0.4 + 0.375), 10 * 0.375, 10 * (0.125 + 0.375))
    assert float(white["reclassification"]) == pytest.approx(expected[0], rel=1e-5)


def test_ranks_with_ties_are_those_of_the_printed_table():
    answers = torch.tensor([[0.1, 0.3, 0.3, 0.2, 0.1]])
    assert [int(ranks(answers, torch.tensor([k]))) for k in range(5)] == [4, 1, 2, 3, 5]
    labels, sure = top_classes(answers, 5)
    assert labels.tolist() == [[1, 2, 3, 0, 4]] and sure.tolist() == answers[:, labels[0]].tolist()


def test_a_network_without_opinion_keeps_one_class_only():
    flat = torch.full((10, 10), 0.1)
    values = reclassification(flat, flat, torch.arange(10))
    kept, top5, rank = values[2:5]
    assert kept.tolist() == [1] + 9 * [0] and top5.sum() == 5 and rank.tolist() == list(range(1, 11))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(1, 12), k=st.integers(1, 6), levels=st.integers(1, 9))
def test_a_class_is_among_the_first_k_exactly_if_its_rank_is_at_most_k(seed, classes, k, levels):
    # Few levels make many ties.
    numbers = torch.randint(levels, (3, classes), generator=torch.Generator().manual_seed(seed)).double()
    labels, sure = top_classes(numbers, k)
    assert labels.shape == (3, min(k, classes)) and (sure.diff(dim=1) <= 0).all()
    for target in range(classes):
        rank = ranks(numbers, torch.full((3,), target))
        assert ((labels == target).any(1) == (rank <= k)).all()


def test_kept_is_what_the_head_predicts():
    net, images = build(GapNet, CLASSES), pictures(6)
    with torch.no_grad():
        predicted = net(images).argmax(1)
    assert measured(net, images, predicted, torch.ones(6, 24, 24), IMAGENET)["kept"].tolist() == [1] * 6
    wrong = (predicted + 1) % CLASSES
    assert measured(net, images, wrong, torch.ones(6, 24, 24), IMAGENET)["kept"].tolist() == [0] * 6


def test_a_network_of_one_logit():
    net, images = Given(torch.tensor([[3.0, 0.0, 0.0]])).eval(), torch.full((2, 3, 2, 2), 1.0)
    maps, targets = torch.full((2, 2, 2), 0.5), torch.tensor([1, 0])
    found = measured(net, images, targets, maps)
    probability = 1 / (1 + math.exp(-1.5))
    assert found["reclassification"].tolist() == pytest.approx([probability, 1 - probability])
    assert found["kept"].tolist() == [1, 0] and found["rank"].tolist() == [1, 2]
    # On black this net says 0: neither class, and then class 0 is what the head predicts.
    assert measured(net, images, targets, 0 * maps)["kept"].tolist() == [0, 1]


def test_a_network_of_many_labels():
    net, images = color_net(4), torch.tensor([0.5, 1.0, 0.25])[None, :, None, None].expand(1, 3, 2, 2)
    found = measured(net, images, torch.tensor([0]), torch.full((1, 2, 2), 0.5), head="multilabel")
    assert float(found["reclassification"]) == pytest.approx(1 / (1 + math.exp(-1)))
    assert float(found["original"]) == pytest.approx(1 / (1 + math.exp(-2)))
    assert float(found["rank"]) == 2


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_an_original_probability_of_zero_leaves_the_ratio_undefined_only():
    masked, clean = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.0, 1.0]])
    assert reclassification(masked, clean, torch.tensor([0]))[:, 0].isnan().tolist() == [False] * 5 + [True]
    metric = Reclassification()
    metric.add(reclassification(masked, clean, torch.tensor([0])), random_maps(1))
    metric.add(reclassification(masked, clean, torch.tensor([1])), random_maps(1))
    result = metric.compute()
    assert float(result["ratio"]) == pytest.approx(0.8) and float(result["reclassification"]) == pytest.approx(0.5)
    assert (int(result["n"]), int(result["undefined"])) == (2, 0)


@pytest.mark.parametrize("options", [{}, {"mode": "threshold"}, {"baseline": "blur"}, {"baseline": "image_max"}])
def test_a_batch_is_its_images_one_by_one(options):
    net, images, targets = build(GapNet, CLASSES), pictures(4), torch.tensor([0, 1, 2, 3])
    metric = Reclassification(**options)
    whole = metric.per_image(net, images, targets, random_maps(4), normalization=IMAGENET)
    single = [
        metric.per_image(net, *(part[[i]] for part in (images, targets, random_maps(4))), normalization=IMAGENET)
        for i in range(4)
    ]
    torch.testing.assert_close(whole, torch.cat(single, 1), atol=1e-6, rtol=1e-5)


def test_network_and_generator_are_left_as_they_were():
    net, images = build(GapNet, CLASSES).train(), pictures(2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    measured(net, images, torch.tensor([0, 1]), random_maps(), IMAGENET)
    assert torch.equal(torch.get_rng_state(), state) and all(module.training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mode": "multply"}, "Did you mean multiply"),
        ({"threshold": 0.0}, r"in \(0, 1\], got 0.0"),
        ({"threshold": 1.2}, r"in \(0, 1\], got 1.2"),
        ({"baseline": "blak"}, "Did you mean black"),
    ],
)
def test_options_that_there_are_not(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Reclassification(**options)
    with pytest.raises(ValueError, match=sentence):
        masked_images(pictures(), random_maps(), IMAGENET, **options)


def test_what_does_not_fit():
    with pytest.raises(ValueError, match=r"one map \(H, W\) per image"):
        masked_images(pictures(), random_maps(2, (12, 12)), IMAGENET)
    with pytest.raises(ValueError, match="Maps leave"):
        masked_images(pictures(), 2 * random_maps(), IMAGENET)
    with pytest.raises(ValueError, match="pass normalization"):
        masked_images(pictures(), random_maps())
    assert masked_images(pictures(), random_maps(), baseline="mean").shape == (2, 3, 24, 24)


def test_ways_are_told_apart_by_their_labels():
    assert Reclassification().label == "multiply, black"
    assert Reclassification("threshold", 0.3, "mean").label == "threshold 0.3, mean"
