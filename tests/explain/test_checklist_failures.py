"""The third promise of the shared checklist where something goes wrong half-way."""

import contextlib

import pytest
import torch
from every_method import METHODS, every_method, traces
from helpers.toys import StagedNet, build, pictures

from livecam.core.normalization import IMAGENET
from livecam.explain import explain, structure_of


def run(net, images, method):
    explainer = METHODS[method]()
    return explain(net, images, [explainer], normalization=IMAGENET)[explainer.name].raw


class Failing(StagedNet):
    """Goes wrong at its ``fails_at``-th forward from now on, after half of its layers."""

    fails_at = 0

    def features(self, images):
        self.fails_at -= 1
        half = self.first(self.norm(self.stem(images)))
        if self.fails_at == 0:
            raise ArithmeticError("half-way")
        return self.last(self.conv(self.pool(half)))


@every_method
@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_3_the_model_is_left_as_it_was_when_something_fails(method, fails_at):
    net, images = build(Failing, inplace=True).train(), pictures(2)
    structure_of(net, images)
    before, state = traces(net), torch.random.get_rng_state()
    net.fails_at = fails_at
    with contextlib.suppress(ArithmeticError):
        run(net, images, method)
    after = traces(net)
    assert before[:2] == after[:2] and before[3] == after[3] and torch.equal(state, torch.random.get_rng_state())
    for key, (value, pointer, version) in before[2].items():
        assert torch.equal(value, after[2][key][0]) and (pointer, version) == after[2][key][1:], key
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    net.fails_at = 0
    assert torch.equal(run(net, images, method), run(build(StagedNet, inplace=True), images, method))
