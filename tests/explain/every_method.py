"""All methods that the shared checklist runs over, found by themselves, in settings that suit tiny networks."""

import copy
from dataclasses import MISSING, fields
from functools import partial

import pytest

from livecam.explain import (
    AOP,
    EMP,
    IGOS,
    ExcitationBackprop,
    GradCAM,
    IntegratedGradients,
    ScoreCAM,
    SmoothGradCAMPlusPlus,
    explainer_classes,
)
from livecam.explain.registry import wrappers


def ready(cls):
    """Whether a class can be built without arguments."""
    return all(f.default is not MISSING or f.default_factory is not MISSING for f in fields(cls) if f.init)


def ours(classes):
    return {name: cls for name, cls in classes.items() if cls.__module__.startswith("livecam.")}


METHODS = {name: cls for name, cls in ours(explainer_classes()).items() if ready(cls)}
# A map without contrast is all that it is: see test_controls.py.
del METHODS["uniform"]
# A method that works upon another one is checked upon Grad-CAM.
METHODS |= {f"{prefix}gradcam": partial(cls, GradCAM()) for prefix, cls in ours(wrappers()).items()}
REGIONS = {"scales": (30, 60), "dilation": 1, "min_pixels": 5}
# Fewer passes than by default, and regions that fit tiny images.
METHODS |= {
    "rise": partial(METHODS["rise"], num_masks=40),
    "integrated_gradients": partial(METHODS["integrated_gradients"], n_steps=5),
    "smoothgrad": partial(METHODS["smoothgrad"], num_samples=4),
    "vargrad": partial(METHODS["vargrad"], num_samples=4),
    "xrai": partial(
        METHODS["xrai"], IntegratedGradients(4, "image_min", "max"), scales=(30, 60), dilation=1, min_pixels=5
    ),
    "xrai_gradcam": partial(METHODS["xrai_gradcam"], scales=(30, 60), dilation=1, min_pixels=5),
}
# Fewer and lighter steps, on masks that suit tiny images.
SMALL_GAME = {"size": 6, "l1": 0.02, "tv": 0.2, "baseline": "zero_normalized"}
FEW_STEPS = IGOS(iterations=3, n_steps=4, **SMALL_GAME)
METHODS |= {
    "igos": partial(METHODS["igos"], 3, n_steps=4, **SMALL_GAME),
    "emp": partial(METHODS["emp"], 5, **SMALL_GAME),
    "sigcam": partial(METHODS["sigcam"], optimizer=FEW_STEPS, theta=0.3, lam=0.5, warmup=1),
    "igos_gradcam": partial(AOP, GradCAM(), FEW_STEPS, 0.3, 0.5, warmup=1),
    "emp_gradcam": partial(AOP, GradCAM(), EMP(5, **SMALL_GAME), warmup=0),
}
# Settings that take other paths through the code than the defaults do.
METHODS |= {
    "smooth_gradcam_pp, noisy": partial(SmoothGradCAMPlusPlus, num_samples=3, std=0.2, internal_batch_size=4),
    "smooth_gradcam_pp, exp": partial(SmoothGradCAMPlusPlus, num_samples=2, weighting="exp", numerator="first"),
    "scorecam, logit_diff": partial(ScoreCAM, weighting="logit_diff", internal_batch_size=5),
    "scorecam, prob": partial(ScoreCAM, weighting="prob", mask_order="scale_first"),
    "saliency, smooth": partial(METHODS["saliency"], "l2", smooth=0.05),
    "integrated_gradients, colors": partial(METHODS["integrated_gradients"], baseline=("black", "blur")),
    "smoothgrad, square": partial(METHODS["smoothgrad"], average="square", noise="absolute", internal_batch_size=2),
    "excitation_backprop, image": partial(METHODS["excitation_backprop"], layer="image"),
    "excitation_backprop, clamped": partial(METHODS["excitation_backprop"], residual="signed", clamp_negative=True),
    "contrastive_excitation_backprop, between": partial(
        METHODS["contrastive_excitation_backprop"], layer="conv", contrast_layer="conv", normalize_contrast=False
    ),
    "occlusion, overlapping": partial(
        METHODS["occlusion"], (7, 5), (4, 3), baseline="blur", show="probability", internal_batch_size=7
    ),
    "occlusion, logit": partial(METHODS["occlusion"], 8, 8, cover_border=False, baseline="black", score="logit"),
    "rise, nearest": partial(
        METHODS["rise"], num_masks=30, grid_size=4, random_shift=False, upsampling="nearest", baseline="mean"
    ),
    "xrai, felzenszwalb": partial(
        METHODS["xrai_gradcam"], segmentation="felzenszwalb", **(REGIONS | {"min_pixels": 15})
    ),
    "igos, integrated": partial(
        IGOS, 2, n_steps=5, line_search="integrated", adapt_l1=True, internal_batch_size=3, **SMALL_GAME
    ),
    # The preset's own blur of 5 px would leave hardly any contrast in masks of 24 px.
    "emp, fv2017": partial(EMP, 4, **SMALL_GAME, preset="fv2017", mask_blur=2.0, internal_batch_size=2),
    "gradual_excitation_backprop": partial(wrappers()["gradual_"], ExcitationBackprop("conv")),
    "gradual_gradcam, reference": partial(wrappers()["gradual_"], GradCAM(), layers="reference"),
}
every_method = pytest.mark.parametrize("method", list(METHODS))


def traces(net):
    """Everything about a network that an explanation might leave changed."""
    hooks = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), len(m._backward_pre_hooks))
        for m in net.modules()
    ]
    flags = [(m.training, getattr(m, "inplace", None)) for m in net.modules()]
    state = {key: (value.clone(), value.data_ptr(), value._version) for key, value in net.state_dict().items()}
    grads = {key: (id(p.grad), p.requires_grad, p.is_leaf) for key, p in net.named_parameters()}
    return hooks, flags, state, grads, {key: copy.deepcopy(p.grad) for key, p in net.named_parameters()}
