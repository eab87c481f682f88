"""How often a method waits for its device: not once more for more masks, windows, samples or steps."""

from collections import Counter
from contextlib import ExitStack
from unittest.mock import patch

import pytest
import torch
from helpers.toys import DeepTail, StagedNet, build, pictures
from torch.utils._python_dispatch import TorchDispatchMode

from livecam.explain import (
    EMP,
    IGOS,
    RISE,
    IntegratedGradients,
    Occlusion,
    ScoreCAM,
    SmoothGrad,
    SmoothGradCAMPlusPlus,
    VarGrad,
    explain,
    structure_of,
)
from livecam.metrics import InsertionDeletion

GAME = {"size": 6, "l1": 0.02, "tv": 0.2, "baseline": "zero_normalized", "internal_batch_size": 2}
# What cannot be done before the device has told a value or a number of values.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique_dim", "_unique2")


class Waits(TorchDispatchMode):
    """Counts operations that would make the CPU wait for a GPU, were their tensors there."""

    def __init__(self):
        super().__init__()
        self.count = Counter()
        self._said = ExitStack()

    def __enter__(self):
        # These dispatch nothing where tensors are on the CPU already.
        for name in ("cpu", "numpy"):
            self._said.enter_context(patch.object(torch.Tensor, name, self._counted(name)))
        return super().__enter__()

    def __exit__(self, *error):
        self._said.close()
        return super().__exit__(*error)

    def _counted(self, name):
        own = getattr(torch.Tensor, name)

        def call(tensor, *args, **kwargs):
            self.count[name] += 1
            return own(tensor, *args, **kwargs)

        return call

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_bool = name.startswith("index") and any(
            index is not None and index.dtype == torch.bool for index in args[1] if isinstance(args[1], list | tuple)
        )
        if name in WAITING or by_bool:
            self.count[name] += 1
        return function(*args, **(kwargs or {}))


def waits(explainer, net=None):
    net, images = net or build(StagedNet), pictures(2)
    structure_of(net, images)
    with Waits() as waited:
        found = explain(net, images, [explainer], torch.tensor([1, 2]))[explainer.name]
    return waited.count, found


@pytest.mark.parametrize(
    "make",
    [
        lambda n: RISE(10 * n, internal_batch_size=4),
        lambda n: Occlusion(8, 8 // n, internal_batch_size=3),
        lambda n: SmoothGradCAMPlusPlus(num_samples=3 * n, layer="early", internal_batch_size=2),
        lambda n: SmoothGradCAMPlusPlus(num_samples=3 * n, layer="early", internal_batch_size=2, weighting="exp"),
        lambda n: IntegratedGradients(3 * n, internal_batch_size=2),
        lambda n: SmoothGrad(num_samples=3 * n, internal_batch_size=2),
        lambda n: VarGrad(num_samples=3 * n, internal_batch_size=2),
        lambda n: ScoreCAM(internal_batch_size=8 // n),
        lambda n: ScoreCAM(internal_batch_size=8 // n, weighting="logit_diff"),
        lambda n: ScoreCAM(internal_batch_size=8 // n, weighting="prob", precision="bf16"),
    ],
    ids=["rise", "occlusion", "smooth", "smooth, exp", "integrated", "smoothgrad", "vargrad", *["scorecam"] * 3],
)
def test_more_passes_are_no_more_waits(make):
    (few, _), (many, _) = (waits(make(n), build(DeepTail) if "Smooth Grad" in make(1).label else None) for n in (1, 4))
    assert few == many


def test_insertion_and_deletion():
    counts = []
    for step in (100, 10):
        with Waits() as waited:
            net, images, targets = build(StagedNet), pictures(2), torch.tensor([1, 2])
            InsertionDeletion(step=step, internal_batch_size=4).per_image(
                net, images, targets, pictures(2, seed=3)[:, 0]
            )
        counts.append(waited.count)
    assert counts[0] == counts[1]


def test_a_line_search_waits_once_for_every_try():
    """More terms of the integral are no more waits; each try asks which games need another."""
    counts = {}
    for points, iterations in ((2, 1), (8, 1), (2, 4)):
        count, found = waits(IGOS(iterations, n_steps=points, **GAME))
        steps = found.details["history"]["step"]
        tries = (1 + (steps.div(200).log() / torch.tensor(0.2).log()).round()).amax(0).sum()
        counts[points, iterations] = sum(count.values()) - float(tries)
    assert len({*counts.values()}) == 1, counts


def test_adam_waits_for_nothing_but_its_own_counter():
    """It counts its steps in a tensor of the CPU's, wherever the masks are."""
    (few, _), (many, _) = (waits(EMP(steps, **GAME)) for steps in (2, 7))
    assert many - few == Counter({"_local_scalar_dense": 5})
