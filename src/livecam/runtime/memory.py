"""How many images a network can see at a time: as many as free memory holds, and as are of use."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from livecam.runtime.inference import Precision
from livecam.runtime.model_state import isolated_eval, to_model_dtype
from livecam.runtime.module_state import temporary_hooks

MOST = 256
"""More inputs at a time do not make accelerators faster."""
MOST_ON_CPU = 32
# Above this, the C library fetches every tensor from the system anew: each page is a fault and is zeroed once more,
# which takes up to half of a forward's time (benchmarks/chunks.py).
_RECYCLED_ON_CPU = 32 * 2**20
# Of one tensor beside a few of its kind: freed together, larger ones go back to the system.
_KEPT_ON_CPU = 8 * 2**20
# Input, mask, what is masked and what is blended with it, and one to spare.
_COPIES = 5
# Where nothing tells how much memory there is.
_UNKNOWN = 2 * 2**30
_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


class Need(NamedTuple):
    """Bytes of what a network's modules return for one image; tensors that functions return are not seen."""

    largest: int
    total: int

    def of_pass(self, backward: bool) -> int:
        """Estimate of what a pass takes: a layer's input, output and one more; a graph keeps all outputs besides."""
        return 3 * self.largest + backward * self.total


_needs: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], Need]] = WeakKeyDictionary()


@contextmanager
def measuring(model: nn.Module, image: Tensor) -> Iterator[None]:
    """Learn from a forward inside what ``model`` needs for an image ``(1, 3, H, W)``."""
    tensors: list[Tensor] = []

    def keep(module: nn.Module, args: tuple, output: object) -> None:
        if isinstance(output, Tensor):
            tensors.append(output)

    with temporary_hooks(module.register_forward_hook(keep) for module in model.modules()):
        yield
    # By storage: containers return what their last part returned, and in-place layers what they were given.
    sizes = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    _needs.setdefault(model, {})[tuple(image.shape[1:])] = Need(max(sizes.values(), default=0), sum(sizes.values()))


def need_of(model: nn.Module, images: Tensor) -> Need:
    """What ``model`` needs for one of the images ``(N, 3, H, W)``; costs a forward of one where none was measured."""
    needs = _needs.get(model, {})
    if images.shape[1:] not in needs:
        image = to_model_dtype(model, images[:1])
        with isolated_eval(model, images.device), measuring(model, image):
            model(image)
    return _needs[model][tuple(images.shape[1:])]


def auto_batch_size(model: nn.Module, images: Tensor, backward: bool = False, precision: Precision = "full") -> int:
    """How many inputs like ``images`` to show to ``model`` at a time.

    At most half of what is free now is taken for them, and no more than are of use: 256, on a CPU 32, or what keeps
    tensors below 32 MiB.

    Args:
        model: Any network.
        images: Model input ``(N, 3, H, W)`` on the device that is to hold them.
        backward: Whether a backward follows each forward.
        precision: What the network runs in, see :func:`livecam.runtime.inference.autocast_for`; bf16 halves tensors.
    """
    need, image = need_of(model, images), images[0].numel() * images.element_size()
    largest = need.largest // 2 if precision == "bf16" else need.largest
    most = MOST
    if images.device.type == "cpu":
        most = min(MOST_ON_CPU, _RECYCLED_ON_CPU // max(largest, image))
    return max(1, min(most, free_bytes(images.device) // 2 // (need.of_pass(backward) + _COPIES * image)))


def few_rows(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same rows of each tensor, on a CPU so few at a time that what is made of them in float64 takes reused memory.

    Args:
        tensors: At least one, each ``(N, ...)``; the first says how large a row is.
    """
    rows = len(tensors[0])
    if tensors[0].device.type == "cpu" and rows:
        rows = max(1, _KEPT_ON_CPU // (8 * max(1, tensors[0][0].numel())))
    return zip(*(tensor.split(max(1, rows)) for tensor in tensors))


def free_bytes(device: torch.device) -> int:
    """Memory that tensors on ``device`` can still take, what the allocator holds unused included."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return min(_of_machine(), *_of_groups()) if device.type in ("cpu", "mps") else _UNKNOWN


def _of_machine() -> int:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
    with suppress(AttributeError, ValueError, OSError):
        # macOS does not tell how much is available: half of all.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return _UNKNOWN


def _of_groups(proc: str = "/proc/self/cgroup") -> list[int]:
    """What the limits of this process's control groups leave, each at its own level, of versions 2 and 1."""
    limits = [2**63]
    with suppress(OSError):
        for line in Path(proc).read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                root, limit, usage, idle = _GROUPS[controllers == "memory"]
                folder = Path(root, path.lstrip("/"))
                for group in (folder, *folder.parents):
                    limits += _left_in(group, limit, usage, idle)
    return limits


def _left_in(group: Path, limit: str, usage: str, idle: str) -> list[int]:
    with suppress(OSError, ValueError, KeyError):
        # Read from files once and not wanted since: it makes room at once.
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # "max" is no number, and no limit.
        most, used = (int((group / name).read_text()) for name in (limit, usage))
        return [max(0, most - used + int(stat[idle]))]
    return []
