"""From the device to the host with one wait, however many tensors there are."""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Bring tensors to the host in one copy, where each by itself would make the host wait for the device.

    Args:
        tensors: Of any shapes and types; those that are on the host stay as they are.

    Returns:
        The same values, in the same order.
    """
    there = [index for index, tensor in enumerate(tensors) if not tensor.is_cpu]
    if not there:
        return list(tensors)
    # As bytes, the widest types first: then each begins at a multiple of its own width.
    there.sort(key=lambda index: -tensors[index].element_size())
    device = tensors[there[0]].device
    parts = [tensors[index].detach().to(device).contiguous().flatten().view(torch.uint8) for index in there]
    host = torch.cat(parts).cpu().split([len(part) for part in parts])
    found = list(tensors)
    for index, part in zip(there, host):
        found[index] = part.view(tensors[index].dtype).view(tensors[index].shape)
    return found
