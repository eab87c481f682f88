"""What each method costs, as its docstring states it: passes are counted, per image, beyond the shared recorded one."""

import re
import sys

import pytest
import torch
from every_method import METHODS
from helpers.toys import StagedNet, build, pictures
from torch import nn

from livecam.core.normalization import IMAGENET
from livecam.explain import explain, explainer_classes, structure_of
from livecam.explain.registry import wrappers


class Tally(torch.autograd.Function):
    """Does nothing but count backwards that start at the logits."""

    @staticmethod
    def forward(ctx, logits, counted):
        ctx.counted = counted
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx, gradient):
        ctx.counted.backwards += len(gradient)
        return gradient, None


class Counted(nn.Module):
    """StagedNet that counts images forwards and backwards."""

    def __init__(self):
        super().__init__()
        self.net = StagedNet()
        self.forwards = self.backwards = 0

    def forward(self, images):
        self.forwards += len(images)
        return Tally.apply(self.net(images), self)


def searched(blanks, shared=0):
    """What I-GOS took: each step's length tells how many its line search tried, at most 12; blanks are asked once."""

    def cost(found):
        steps = found.details["history"]["step"]
        assert steps.max() <= 200 and steps.min() >= 200 * 0.2**11 * 0.999 and (steps < 200).any()
        return candidates(found) + blanks + 3 * 4, shared + 3 * 4

    return cost


def candidates(found):
    steps = found.details["history"]["step"]
    return float((1 + (steps.div(200).log() / torch.tensor(0.2).log()).round()).sum(1).mean())


# Forwards and backwards per image, in the settings of METHODS, on StagedNet at 24 px.
COSTS = {
    "centered_gaussian": (0, 0),
    "cam": (0, 0),
    "gradcam": (0, 1),
    "gradcam_pp": (0, 1),
    "xgradcam": (0, 1),
    "wgradcam": (0, 1),
    "layercam": (0, 1),
    "gradual_gradcam": (0, 1),
    "smooth_gradcam_pp": (0, 1),
    "smooth_gradcam_pp, noisy": (3, 3),
    "scorecam": (8, 0),
    "scorecam, logit_diff": (8.5, 0),  # the blank image is one forward for the whole batch of two
    "saliency": (0, 1),
    "input_x_gradient": (0, 1),
    "guided_backprop": (1, 1),
    "deconvnet": (1, 1),
    "integrated_gradients": (5 + 1, 5),
    "integrated_gradients, colors": (2 * 5 + 2, 2 * 5),
    "smoothgrad": (4, 4),
    "vargrad": (4, 4),
    "excitation_backprop": (1, 1),
    "contrastive_excitation_backprop": (1, 1),
    "contrastive_excitation_backprop, between": (1, 2),
    "occlusion": (3 * 3, 0),
    "occlusion, logit": (3 * 3, 0),
    "occlusion, overlapping": (6 * 8, 0),
    "rise": (40, 0),
    "emp": (5 + 1, 5),
    "emp, fv2017": (4 + 1, 4),
    "emp_gradcam": (5 + 1, 1 + 5),
    "igos": searched(1),
    "igos_gradcam": searched(2, 1),
    "sigcam": searched(2, 1),
    "igos, integrated": lambda found: (2 * 5 + 5 * candidates(found), 2 * 5),
    "xrai": (4 * 1 + 1, 4 * 1),
    "xrai_gradcam": (0, 1),
}


def test_every_method_has_a_cost():
    plain = {name for name in METHODS if "," not in name}
    assert set(COSTS) >= plain - {"gradual_excitation_backprop"}
    assert set(COSTS) >= {
        name for name, cls in explainer_classes().items() if cls.__module__.startswith("livecam.")
    } - {"uniform"}


@pytest.mark.parametrize("method", COSTS)
def test_it_costs_what_it_says(method):
    net, images = build(Counted), pictures(2)
    structure_of(net, images)
    net.forwards = net.backwards = 0
    explainer = METHODS[method]()
    found = explain(net, images, [explainer], normalization=IMAGENET)[explainer.name]
    cost = COSTS[method]
    forwards, backwards = cost(found) if callable(cost) else cost
    assert (net.forwards / 2, net.backwards / 2) == (1 + forwards, backwards)


WRAPPERS = dict.fromkeys(getattr(made, "func", made) for made in wrappers().values())


@pytest.mark.parametrize("cls", [*explainer_classes().values(), *WRAPPERS], ids=lambda cls: cls.__name__)
def test_docstrings_state_the_cost(cls):
    if not cls.__module__.startswith("livecam."):
        pytest.skip("not ours")
    # On the class itself, on the base that shares its passes, or for the whole family at the top of its file.
    told = [parent.__doc__ or "" for parent in cls.__mro__ if parent.__module__.startswith("livecam.")]
    told.append(sys.modules[cls.__module__].__doc__)
    assert any(re.search(r"[Cc]osts? |one forward and one backward serve", text) for text in told)


def test_all_that_share_the_pass_cost_it_once():
    net, images = build(Counted), pictures(2)
    structure_of(net, images)
    net.forwards = net.backwards = 0
    explain(net, images, ["gradcam", "saliency", "input_x_gradient", "gradcam_pp", "gradual_gradcam", "cam"])
    assert (net.forwards, net.backwards) == (2, 2)
