"""torch.compile: hooks do not fire inside compiled graphs, and names grow an ``_orig_mod``."""

import pytest
import torch
from helpers.toys import GapNet, build, pictures

from livecam.explain import CAM, GradCAM, explain, structure_of

EXPLAINERS = [CAM(), GradCAM(), GradCAM(layer="conv", name="inner")]


class Compiler:
    """An eager backend that counts graphs."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def whole(net, backend):
    return torch.compile(net, backend=backend)


def in_place(net, backend):
    net.compile(backend=backend)
    return net


def part(net, backend):
    net.conv = torch.compile(net.conv, backend=backend)
    return net


def part_in_place(net, backend):
    net.conv.compile(backend=backend)
    return net


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("how", [whole, in_place, part, part_in_place])
@pytest.mark.parametrize("ran_before", [True, False], ids=["warm", "cold"])
def test_compiled_models_are_explained_as_they_are(how, ran_before):
    images, compiler = pictures(), Compiler()
    expected = explain(build(GapNet), images, EXPLAINERS, 1)
    net = how(build(GapNet), compiler)
    if ran_before:
        with torch.no_grad():
            net(images)
    graphs = compiler.graphs
    for _ in range(3):
        found = explain(net, images, EXPLAINERS, 1)
    for name, explanation in expected.items():
        torch.testing.assert_close(found[name].raw, explanation.raw)
    assert compiler.graphs == graphs, "explaining compiled something"
    with torch.no_grad():
        net(images)
    assert compiler.graphs == max(graphs, 1), "the user's graph was lost"


def test_names_do_not_know_about_compilation():
    net = torch.compile(part(build(GapNet), "eager"), backend="eager")
    structure = structure_of(net, pictures())
    assert not any("_orig_mod" in name for name in structure.layers)
    assert (structure.target_layer, structure.linear) == ("last", "fc")
    assert structure.resolve("conv") == structure.resolve("_orig_mod.conv") == "conv"


def test_a_hooked_compiled_layer_inside_a_compiled_model():
    net = torch.compile(part(build(GapNet, inplace=True), "eager"), backend="eager")
    expected = explain(build(GapNet), pictures(), [GradCAM(layer="conv")], 2)["gradcam"]
    torch.testing.assert_close(explain(net, pictures(), [GradCAM(layer="conv")], 2)["gradcam"].raw, expected.raw)
