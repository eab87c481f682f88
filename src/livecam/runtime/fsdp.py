"""Networks whose parameters are spread over devices by FSDP2: how they are spread, and how one explains them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_map_only

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

# Modules that some `unsharded_parameters` around has gathered already.
_gathered: set[nn.Module] = set()


def shard(network: nn.Module, mesh: "DeviceMesh", large: int = 2**18) -> None:
    """Spread the parameters of a network over devices: blocks of large layers gather by themselves, the rest together.

    Every rank starts from rank zero's weights. A network that is spread already stays as it is.

    Args:
        network: Any network; passes go through its own forward.
        mesh: Devices, in one dimension.
        large: Number of parameters that make a convolution or linear layer large.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if isinstance(network, FSDPModule):
        return
    _from_rank_zero([*network.parameters(), *network.buffers()], mesh.device_type)
    for block in [*_blocks(network, large)]:
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def _blocks(network: nn.Module, large: int) -> Iterator[nn.Module]:
    """From the innermost: each module that has large layers, or the layers themselves where it is a mere container.

    A call of the block is what gathers. Attention, for one, reads the weights of its layers without calling them.
    """
    for module in reversed([*network.modules()]):
        layers = [child for child in module.children() if isinstance(child, nn.Linear | _ConvNd)]
        layers = [layer for layer in layers if layer.weight.numel() >= large]
        if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            yield from layers
        elif layers and module is not network:
            yield module


def broadcast_buffers(network: nn.Module) -> None:
    """Give every rank rank zero's running statistics, as DDP does; FSDP2 leaves each rank its own."""
    if _units(network):
        buffers = [*network.buffers()]
        _from_rank_zero(buffers, buffers[0].device.type if buffers else "cpu")


def _from_rank_zero(tensors: list[Tensor], kind: str) -> None:
    for tensor in tensors:
        same = tensor.detach().to(kind)
        distributed.broadcast(same, src=0)
        tensor.data.copy_(same)


@contextmanager
def unsharded_parameters(model: nn.Module) -> Iterator[None]:
    """Have all parameters of a sharded network on every rank; any other network is left alone.

    A sharded network gathers its parameters from all ranks whenever it runs. A rank that runs it once more than the
    others, for a method that failed or an image with more categories, would wait forever. Inside, parameters are plain
    tensors and a pass concerns nobody else; only to enter takes all ranks. It costs the memory of the whole network.

    Args:
        model: May hold modules that ``torch.distributed.fsdp.fully_shard`` was applied to; changes that are made to
            their parameters inside are lost.
    """
    with ExitStack() as after:
        units = [unit for unit in _units(model) if unit not in _gathered]
        # What is gathered in inference mode would never take part in autograd again.
        with torch.inference_mode(False), torch.no_grad():
            for unit in units:
                after.callback(unit.reshard)
                unit.unshard()
        for unit in units:
            _put_hooks_away(unit, after)
        _gathered.update(units)
        after.callback(_gathered.difference_update, units)
        yield


def is_sharded(model: nn.Module) -> bool:
    """Whether any part of the network is spread over devices by FSDP2."""
    return bool(_units(model))


def _units(model: nn.Module) -> list[Any]:
    if not (distributed.is_available() and distributed.is_initialized()):
        return []
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _put_hooks_away(unit: Any, after: ExitStack) -> None:
    """Of FSDP's hooks leave the casts; they would shard after the first pass, and stop halfway where one fails."""
    policy = unit._get_fsdp_state()._mp_policy

    def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
        return _cast((args, kwargs), policy.param_dtype if policy.cast_forward_inputs else None)

    def behind(module: nn.Module, args: Any, output: Any) -> Any:
        return _cast(output, policy.output_dtype)

    for registered, instead in ((unit._forward_pre_hooks, before), (unit._forward_hooks, behind)):
        for number, hook in registered.items():
            if (getattr(hook, "__module__", None) or "").startswith("torch.distributed.fsdp"):
                registered[number] = instead
                after.callback(registered.__setitem__, number, hook)


def _cast(values: Any, dtype: torch.dtype | None) -> Any:
    if dtype is None:
        return values
    return tree_map_only(Tensor, lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor, values)
