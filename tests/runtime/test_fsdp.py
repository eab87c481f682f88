"""How the parameters of a network are spread: by blocks that are called, whoever reads their weights."""

import pytest
import torch
from helpers.toys import StagedNet, build, pictures
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from livecam.explain import explain
from livecam.runtime.fsdp import shard, unsharded_parameters


@pytest.fixture
def mesh():
    """A single rank is enough to see what is called, and what is read without."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


class Reading(nn.Module):
    """Reads the weights of its layer without calling it, as the attention of Swin and BEiT does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, tokens):
        return tokens + nn.functional.linear(tokens, self.layer.weight, self.layer.bias)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.blocks = nn.ModuleList([Reading(), nn.Sequential(nn.Linear(8, 8), nn.ReLU())])
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        tokens = self.stem(images).flatten(2).mT
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.attention(tokens, tokens, tokens)[0].mean(1))


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module .* returned a view")
def test_blocks_are_called_whoever_reads_their_weights(mesh):
    net, images = build(Tokens), pictures()
    expected = explain(net, images, ["saliency"], 1)["saliency"].raw
    shard(net, mesh, large=64)
    shard(net, mesh, large=64)
    blocks = {name for name, module in net.named_modules() if isinstance(module, FSDPModule)}
    assert blocks == {"", "blocks.0", "blocks.1.0", "attention"}
    assert all(isinstance(parameter, DTensor) for parameter in net.parameters())
    net(images).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert torch.equal(explain(net, images, ["saliency"], 1)["saliency"].raw, expected)


def test_small_layers_go_together(mesh):
    net = build(StagedNet)
    shard(net, mesh)
    assert [module for module in net.modules() if isinstance(module, FSDPModule)] == [net]


def test_passes_inside_are_in_the_type_that_fsdp_casts_to(mesh):
    net = build(Tokens)
    fully_shard(net, mesh=mesh, mp_policy=MixedPrecisionPolicy(torch.bfloat16, output_dtype=torch.float32))
    expected = net(pictures()).detach()
    with unsharded_parameters(net):
        inside = net(pictures())
        assert net.head.weight.dtype == torch.bfloat16 and inside.dtype == torch.float32
    assert torch.equal(inside, expected)
    assert net.head.weight.dtype == torch.float32


def test_a_window_in_another_does_not_close_it(mesh):
    net = build(StagedNet)
    shard(net, mesh)
    with unsharded_parameters(net):
        with pytest.raises(ZeroDivisionError), unsharded_parameters(net):
            1 / 0  # noqa: B018
        assert not any(isinstance(parameter, DTensor) for parameter in net.parameters())
    assert all(isinstance(parameter, DTensor) for parameter in net.parameters())
