"""EMP on the patch that can be reasoned about by hand, against Adam itself, and its presets."""

import pytest
import torch
import torch.nn.functional as F
from deletion_toys import PATCH, PatchNet, certain, play, saturated
from helpers.toys import StagedNet, build, pictures

from livecam.core.normalization import IMAGENET
from livecam.explain import EMP, explain

TOY = {"size": 8, "noise": 0.0, "baseline": "zero_normalized"}


def test_a_linear_class_loses_its_patch():
    found, details = play(EMP(l1=1.0, tv=0.0, **TOY), PatchNet())
    assert torch.equal(found, PATCH.expand(2, -1, -1))
    assert details["history"]["objective"][:, 0].tolist() == [1.0, 1.0]
    torch.testing.assert_close(details["history"]["objective"][:, -1], torch.full((2,), 4 / 64))


def test_a_certain_class_is_not_left_along_its_plain_gradient():
    """Why there is I-GOS: the gradient of p = 1 - 1e-6 is weaker than that of the least deletion."""
    _, details = play(EMP(tv=0.0, **TOY), PatchNet(saturated))
    assert (details["history"]["score"] > 0.99).all()


def written_out(net, images, targets, iterations, l1, tv, beta, size):
    """The loop of the widespread PyTorch code, without noise."""
    baseline = torch.zeros_like(images)
    mask = torch.ones(len(images), 1, size, size, dtype=images.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([mask], lr=0.1)
    for _ in range(iterations):
        large = F.interpolate(mask, images.shape[2:], mode="bilinear", align_corners=True)
        p = net(images * large + baseline * (1 - large)).softmax(1)[torch.arange(len(images)), targets]
        variation = [mask.diff(dim=dim).abs().pow(beta).mean((1, 2, 3)) for dim in (2, 3)]
        loss = (l1 * (1 - mask).abs().mean((1, 2, 3)) + tv * sum(variation) + p).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mask.data.clamp_(0, 1)
    return mask.detach()[:, 0]


def test_it_is_the_loop_written_out():
    images = pictures(2, seed=5).double()
    net = certain(build(StagedNet, seed=3).double(), images)
    explainer = EMP(iterations=8, size=6, l1=0.05, tv=0.3, noise=0.0, baseline="zero_normalized")
    found = explain(net, images, [explainer], normalization=IMAGENET)["emp"]
    expected = written_out(net, images, found.target, 8, 0.05, 0.3, 3, 6)
    torch.testing.assert_close(found.details["mask"], expected, atol=1e-12, rtol=0)
    assert expected.std() > 0.005 and expected.max() < 0.5


@pytest.mark.parametrize("preset", ["port", "fv2017"])
def test_the_end_is_better_than_the_start(preset):
    images = pictures(3, seed=5)
    net = certain(build(StagedNet, seed=3), images)
    explainer = EMP(preset=preset, iterations=60, size=8, noise=0.0)
    found = explain(net, images, [explainer], normalization=IMAGENET)["emp"]
    history = found.details["history"]
    assert history["objective"].shape == (3, 61) and history["step"].eq(0.1).all()
    assert (history["objective"][:, -1] <= history["objective"][:, 0]).all()
    assert (history["score"][:, -1] < found.probability).all()
    again = explain(net, images, [explainer], normalization=IMAGENET)["emp"]
    assert torch.equal(again.raw, found.raw)


def test_a_batch_is_its_images_and_chunks_change_nothing():
    images = pictures(3, seed=5).double()
    net = certain(build(StagedNet, seed=3).double(), images)
    explainers = [
        EMP(iterations=6, size=6, jitter=2, internal_batch_size=internal_batch_size, name=f"by_{internal_batch_size}")
        for internal_batch_size in (2, 32)
    ]
    found = explain(net, images, explainers, normalization=IMAGENET)
    torch.testing.assert_close(found["by_2"].raw, found["by_32"].raw, atol=1e-12, rtol=0)
    for i in range(3):
        alone = explain(net, images[i : i + 1], explainers[1:], int(found["by_32"].target[i]), normalization=IMAGENET)
        torch.testing.assert_close(alone["by_32"].raw[0], found["by_32"].raw[i], atol=1e-12, rtol=0)


def test_every_iteration_has_noise_of_its_own():
    images = pictures(1, seed=5)
    seen = []

    class Watching(StagedNet):
        def forward(self, images):
            seen.append(images.detach().clone())
            return super().forward(images)

    net = build(Watching, seed=3)
    explain(net, images, [EMP(iterations=4, size=6, lr=1e-9)], normalization=IMAGENET)
    # The last pass is without noise.
    noises = [shown - images for shown in seen[-5:]]
    assert noises[-1].abs().max() < 1e-6
    assert all(noise.std() == pytest.approx(0.2, rel=0.1) for noise in noises[:-1])
    assert not any(torch.allclose(noises[i], noises[j], atol=1e-3) for i in range(4) for j in range(i))


def test_presets_fill_what_is_not_given():
    port, own = EMP(), EMP(preset="fv2017")
    assert (port.l1, port.tv, port.noise, port.jitter, port.mask_blur, port.baseline) == (
        0.01,
        0.2,
        0.2,
        0,
        0,
        "blur51",
    )
    # Sums over a 28 x 28 mask become means: 1e-4 of 784 cells, 1e-2 of 756 differences.
    assert own.l1 == pytest.approx(1e-4 * 784) and own.tv == pytest.approx(1e-2 * 27 * 28)
    assert (own.beta, own.noise, own.jitter, own.mask_blur, own.baseline) == (3, 0, 4, 5, "blur")
    assert EMP(preset="fv2017", jitter=0, noise=0.1).jitter == 0


def test_jitter_shows_one_of_its_places_each_time():
    seen = []

    class Watching(PatchNet):
        def forward(self, images):
            seen.append(images[0, 0].detach().clone())
            return super().forward(images)

    image = torch.arange(64.0).view(1, 1, 8, 8).expand(1, 3, 8, 8)
    play(EMP(iterations=40, jitter=3, lr=1e-9, **TOY), Watching(), image)
    large = F.interpolate(image, (11, 11), mode="bilinear")[0, 0]
    cuts = [large[row : row + 8, column : column + 8] for row in range(3) for column in range(3)]
    # The recorded pass sees the image itself; the last of 41 comes from the middle.
    seen = seen[-41:]
    places = [min(range(9), key=lambda place: float((cuts[place] - shown).abs().max())) for shown in seen]
    assert all((cuts[place] - shown).abs().max() < 1e-3 for place, shown in zip(places, seen))
    assert set(places) == set(range(9)) and places[-1] == 4 and len(places) == 41


def test_a_blurred_mask_is_what_the_map_shows():
    found, details = play(EMP(l1=1.0, tv=0.0, mask_blur=0.7, iterations=20, **TOY), PatchNet())
    kernel = torch.tensor([torch.exp(torch.tensor(-0.5 * (i / 0.7) ** 2)) for i in range(-3, 4)])
    kernel = (kernel / kernel.sum())[:, None] * (kernel / kernel.sum())
    padded = F.pad(1 - details["mask"][:, None], (3, 3, 3, 3), mode="reflect")
    torch.testing.assert_close(found, F.conv2d(padded, kernel[None, None])[:, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"preset": "fv2018"}, "preset='fv2018' is not one of port, fv2017. Did you mean fv2017"),
        ({"lr": 0.0}, "lr is a number above 0"),
        ({"jitter": -1}, "jitter is a whole number from 0"),
        ({"mask_blur": -1.0}, "mask_blur is a number from 0"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        EMP(**settings)
