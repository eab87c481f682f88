"""AOP and SIGCAM: where the mask starts, what becomes of that, and how they are named."""

import pytest
import torch
import torch.nn.functional as F
from deletion_toys import certain
from helpers.toys import StagedNet, build, pictures

from livecam.core.baselines import baseline_images
from livecam.core.normalization import IMAGENET
from livecam.explain import AOP, EMP, IGOS, SIGCAM, GradCAM, GradualExtrapolation, Saliency, WGradCAM, by_name, explain
from livecam.explain.explainer import Explainer
from livecam.explain.methods.mask_optimization.objective import MaskObjective
from livecam.runtime.progress import reporting_to

LIGHT = {"size": 7, "l1": 0.05, "tv": 0.5, "baseline": "zero_normalized"}
FEW = IGOS(iterations=6, n_steps=3, **LIGHT)


def net_and_images(count=3):
    images = pictures(count, seed=5).double()
    return certain(build(StagedNet, seed=3).double(), images), images


def run(explainer, count=3, targets=None):
    net, images = net_and_images(count)
    return explain(net, images, [explainer], targets, normalization=IMAGENET)[explainer.name]


class Given(Explainer):
    """Maps that were made elsewhere."""

    label = "Given"

    def __init__(self, maps):
        object.__setattr__(self, "maps", maps)
        object.__setattr__(self, "name", "given")

    def explain(self, recording):
        return self.maps


@pytest.mark.parametrize("optimizer", [FEW, EMP(iterations=7, size=7, baseline="zero_normalized")], ids=["igos", "emp"])
def test_nothing_of_the_base_and_no_warm_up_is_the_optimizer_bit_for_bit(optimizer):
    plain = run(optimizer)
    assert torch.equal(run(AOP(GradCAM(), optimizer, lam=0.0, warmup=0)).raw, plain.raw)
    assert not torch.equal(run(AOP(GradCAM(), optimizer, lam=0.5, warmup=0)).raw, plain.raw)
    assert not torch.equal(run(AOP(GradCAM(), optimizer, lam=0.0, warmup=2)).raw, plain.raw)


@pytest.mark.parametrize("optimizer", [IGOS(0, size=12), EMP(0, size=12)], ids=["igos", "emp"])
def test_no_iteration_is_the_base_map(optimizer):
    base = run(WGradCAM())
    found = run(AOP("wgradcam", optimizer, theta=0.0, lam=0.3))
    low, high = (value[:, None, None] for value in base.raw.flatten(1).aminmax(dim=1))
    small = F.interpolate((base.raw - low)[:, None] / (high - low)[:, None], (12, 12), mode="bilinear")
    torch.testing.assert_close(found.details["start"], 1 - 0.3 * small[:, 0])
    expected = F.interpolate(0.3 * small, (24, 24), mode="bilinear", align_corners=True)[:, 0]
    torch.testing.assert_close(found.raw, expected)
    assert found.details["history"]["objective"].shape == (3, 1) and found.details["history"]["step"].shape == (3, 0)


def test_what_is_below_theta_is_left_out():
    maps = torch.zeros(1, 2, 4, dtype=torch.float64)
    maps[0] = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 3.9, 3.0, 1.0]])
    # Scaled: 0, .25, .5, .75; 1, .725, .5, 0. What equals theta stays.
    kept = torch.tensor([[[0, 0, 0, 0.75], [1, 0, 0, 0]]], dtype=torch.float64)
    found = run(AOP(Given(maps), IGOS(0, size=4), theta=0.75, lam=0.15), 1)
    expected = 1 - 0.15 * F.interpolate(kept[None], (4, 4), mode="bilinear")[0]
    torch.testing.assert_close(found.details["start"], expected)
    assert found.details["start"].min() >= 0.85


def test_a_single_peak_of_seven_by_seven():
    peak = torch.zeros(1, 7, 7, dtype=torch.float64)
    peak[0, 3, 3] = 1
    start = run(AOP(Given(peak), IGOS(0)), 1).details["start"]
    assert start.shape == (1, 28, 28) and start.max() == 1
    # Four cells of 28 lie around the peak, an eighth of a coarse cell beside its middle along each axis.
    assert float(start.min()) == pytest.approx(1 - 0.15 * 0.875**2)


def test_a_base_finer_than_the_mask_is_averaged_down():
    maps = torch.rand(1, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = run(AOP(Given(maps), IGOS(0, size=6), theta=0.0, lam=1.0), 1)
    small = F.interpolate(maps[None], (6, 6), mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(1 - found.details["start"], (small - small.min()) / (small.max() - small.min()))
    assert found.details["start"].min() == 0, "the scale is that of what the mask can show"


@pytest.mark.parametrize(
    "optimizer",
    [IGOS(4, n_steps=1, size=7, noise=0.0), EMP(4, size=7, noise=0.0)],
    ids=["igos", "emp"],
)
def test_the_blank_of_the_warm_up_is_there_for_just_its_iterations(optimizer, monkeypatch):
    baselines = []
    gradient = MaskObjective.gradient

    def watched(objective, *args):
        baselines.append(objective.baseline)
        return gradient(objective, *args)

    monkeypatch.setattr(MaskObjective, "gradient", watched)
    net, images = net_and_images(2)
    explainer = AOP(GradCAM(), optimizer, warmup=2, warmup_baseline=(5, 2.0))
    found = explain(net, images, [explainer], normalization=IMAGENET)[explainer.name]
    warm, cold = baseline_images(images, (5, 2.0), None), baseline_images(images, optimizer.baseline, None)
    assert [torch.equal(baseline, warm) for baseline in baselines] == [True, True, False, False]
    assert all(torch.equal(baseline, cold) for baseline in baselines[2:])
    # What is reported in the end is p under the blank that counts.
    mask = found.details["mask"]
    keep = F.interpolate(mask[:, None], (24, 24), mode="bilinear", align_corners=True)
    with torch.no_grad():
        logits = net(images * keep + cold * (1 - keep))
    expected = logits.softmax(1).gather(1, found.target[:, None])[:, 0]
    torch.testing.assert_close(found.details["history"]["score"][:, -1], expected)


def test_a_warm_up_that_never_ends_is_refused():
    with pytest.raises(ValueError, match=r"All 4 iterations of Grad-CAM \+ I-GOS would be warm-up: .* warmup=1"):
        AOP("gradcam", IGOS(4))
    assert AOP("gradcam", IGOS(0)).warmup == 5


def test_a_base_without_contrast_falls_back_and_says_so():
    net, images = net_and_images()
    maps = torch.rand(3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps[1] = 0
    plain = explain(net, images, [FEW], normalization=IMAGENET)["igos"]
    found = explain(net, images, [AOP(Given(maps), FEW)], normalization=IMAGENET)["igos_given"]
    assert found.details["fallback"].tolist() == [False, True, False]
    assert found.details["note"] == ["", "Given empty: I-GOS alone", ""]
    assert torch.equal(found.raw[1], plain.raw[1]) and not torch.equal(found.raw[0], plain.raw[0])
    assert "note" not in run(AOP(GradCAM(), FEW)).details


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_base_that_is_not_finite_falls_back(broken):
    maps = torch.rand(3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps[2, 0, 0] = broken
    found = run(AOP(Given(maps), FEW))
    assert found.details["fallback"].tolist() == [False, False, True] and found.raw.isfinite().all()
    assert torch.equal(found.details["start"][2], torch.ones(7, 7, dtype=torch.float64))


def test_the_remarks_of_the_base_stay():
    class Remarking(Given):
        def explain(self, recording):
            return self.maps, {"note": "as it was"}

    maps = torch.rand(3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps[1] = 0
    found = run(AOP(Remarking(maps), FEW))
    assert found.details["note"] == ["as it was", "Given empty: I-GOS alone", "as it was"]


@pytest.mark.parametrize("kind", [torch.bool, torch.float16, torch.float32])
def test_masks_are_of_the_network_s_type_whatever_the_base_s(kind):
    maps = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0)).round(decimals=1).to(kind)
    assert run(AOP(Given(maps), FEW)).details["mask"].dtype == torch.float64


def test_progress_is_told_by_iteration_under_the_method_s_own_name():
    told = []
    with reporting_to(lambda label, done, total: told.append((label, done, total))):
        run(AOP(GradCAM(), FEW))
        run(EMP(iterations=3, size=5))
    assert told[:6] == [("Grad-CAM + I-GOS", done, 6) for done in range(1, 7)]
    assert told[6:] == [("EMP", done, 3) for done in range(1, 4)]


def test_sigcam_is_wgradcam_and_igos_with_the_papers_numbers():
    found, coco = SIGCAM(), SIGCAM(preset="coco")
    assert found.base == WGradCAM() and found.optimizer == IGOS() and found.optimizer.iterations == 15
    assert (found.theta, found.lam, found.warmup, found.warmup_baseline) == (0.7, 0.15, 5, (11, 5.0))
    assert (coco.theta, coco.lam) == (0.6, 0.25) and SIGCAM(preset="coco", lam=0.1).lam == 0.1
    ours = run(SIGCAM(optimizer=FEW))
    assert torch.equal(ours.raw, run(AOP("wgradcam", FEW, 0.7, 0.15)).raw)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("igos_gradcam", AOP(GradCAM(), IGOS())),
        ("emp_wgradcam(iterations=7, theta=0.5)", AOP(WGradCAM(), EMP(iterations=7), theta=0.5)),
        ("igos_gradcam(layer='conv', size=14)", AOP(GradCAM("conv"), IGOS(), size=14)),
        ("igos_gradual_gradcam", AOP(GradualExtrapolation(GradCAM()), IGOS())),
        ("gradual_sigcam(iterations=6)", GradualExtrapolation(SIGCAM(optimizer=IGOS(6)))),
        ("igos_sigcam(layer='conv')", AOP(SIGCAM(WGradCAM("conv")))),
        ("sigcam(optimizer='emp', lr=0.2)", SIGCAM(optimizer=EMP(lr=0.2))),
        ("sigcam(base='gradcam', layer='conv')", SIGCAM(GradCAM("conv"))),
        ("gradual_igos_gradcam(n_steps=3)", GradualExtrapolation(AOP(GradCAM(), IGOS(n_steps=3)))),
        ("sigcam(layer='conv', iterations=3, lam=0.3, warmup=1)", SIGCAM(WGradCAM("conv"), IGOS(3), lam=0.3, warmup=1)),
        ("sigcam(base='gradcam')", SIGCAM(GradCAM())),
        ("igos(step=8.0, name='small')", IGOS(step=8.0, name="small")),
    ],
)
def test_names_and_options(word, expected):
    assert by_name(word) == expected


def test_names_and_labels():
    assert AOP(Saliency(), "emp").name == "emp_saliency"
    assert AOP(Saliency(), "emp").label == "Saliency + EMP"
    assert SIGCAM("gradcam").label == "Grad-CAM + I-GOS" and SIGCAM("gradcam").name == "igos_gradcam"
    assert SIGCAM().name == "sigcam" and SIGCAM().label == "SIGCAM"
    assert AOP(GradCAM(name="mine"), IGOS(name="few")).name == "few_mine"
    assert (
        AOP("gradcam", IGOS(size=9), size=14).optimizer.size == 14 and AOP("gradcam", IGOS(size=9)).optimizer.size == 9
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: AOP("gradcam", "rise"), "'rise' optimizes no mask: optimizer is igos or emp"),
        (lambda: AOP("gradcam", theta=1.5), "theta is a number from 0 to 1, got 1.5"),
        (lambda: AOP("gradcam", lam=-0.1), "lam is a number from 0 to 1"),
        (lambda: AOP("gradcam", warmup=-1), "warmup is a whole number from 0"),
        (lambda: AOP("gradcm"), "Unknown method 'gradcm'. Did you mean"),
        (lambda: SIGCAM(preset="voc"), "preset='voc' is not one of imagenet, coco"),
        (lambda: by_name("igos_gradcam(iteration=3)"), "no option 'iteration'. Did you mean iterations"),
        (lambda: by_name("igos_gradcam(optimizer='emp')"), "no option 'optimizer'"),
        (lambda: by_name("igos_gradual_foo"), "Unknown method 'foo'|Unknown method 'gradual_foo'"),
        (lambda: by_name("sigcam(base='gradcm')"), "Unknown method 'gradcm'. Did you mean gradcam"),
        (lambda: by_name("sigcam(thet=0.3)"), "no option 'thet'. Did you mean theta"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
