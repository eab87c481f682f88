"""What a dry run tells about a network: where to look by default, its resolution stages, its GAP+linear head."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from weakref import WeakKeyDictionary, ref

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livecam.core.errors import UnsupportedNetworkError
from livecam.core.heads import as_logits
from livecam.explain.recording.layer_names import clean, resolve_layer
from livecam.runtime.memory import measuring
from livecam.runtime.model_state import check_images, isolated_eval, to_model_dtype
from livecam.runtime.module_state import temporary_hooks

_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten)
_PASS_THROUGH = (nn.Identity, nn.Dropout, nn.Dropout2d)
_CACHED_SIZES = 8


@dataclass(frozen=True)
class Stage:
    """A point where resolution drops: the last tensor of a size, read as the *input* of the first module to reduce it.

    Where a bare convolution precedes the reducing module (DenseNet's transitions), its output is no activation: the
    *output* of the last ReLU of that size is taken instead.

    Args:
        layer: Full name of the module to read.
        size: Height and width of the tensor.
        started: Position of the reducing module's start in the order of execution.
        at: Whether ``layer``'s ``input`` or ``output`` is meant.
    """

    layer: str
    size: tuple[int, int]
    started: int
    at: str = "input"


@dataclass(frozen=True)
class Structure:
    """Facts about one model at one input size.

    Args:
        layers: Full names of all modules, without ``_orig_mod``.
        target_layer: Where class activation maps look by default: the last 4-D tensor before global pooling; None for
            networks that have none.
        post_relu: Whether the target layer's output is overwritten by a following in-place ReLU (DenseNet), so that
            the post-ReLU tensor is the one to read.
        finished: Position of each executed module's (last) end in the order of execution.
        stages: Resolution stages in order of execution.
        strided: MaxPool2d modules and strided Conv2d modules in order of execution.
        excitation_layer: Where a top-down pass is read by default: the last layer that all evidence passes and that is
            finer than the target layer; in networks as fine as their image, the first feature map.
        linear: Name of the linear layer that turns the pooled target layer into the logits; None without such a head.
        outputs: How many logits there are.
    """

    layers: tuple[str, ...]
    target_layer: str | None
    post_relu: bool
    finished: dict[str, int]
    stages: tuple[Stage, ...]
    strided: tuple[str, ...]
    excitation_layer: str | None
    linear: str | None
    outputs: int

    def resolve(self, layer: str | None) -> str:
        """Full name of a layer; None means the default target layer.

        Raises:
            KeyError: When the name fits no layer or several.
            UnsupportedNetworkError: When None is asked of a network without a convolutional feature map.
        """
        if layer is not None:
            return resolve_layer(layer, self.layers)
        if self.target_layer is None:
            raise UnsupportedNetworkError(
                "No convolutional feature map feeds this network's pooling, so there is no default target layer: "
                "name one with layer=."
            )
        return self.target_layer


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every sub-module by its full name without ``_orig_mod``; the outermost wins where a wrapper repeats a name."""
    layers: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        layers.setdefault(clean(name), module)
    layers.pop("", None)
    return layers


_cache: WeakKeyDictionary[nn.Module, dict[Hashable, Structure]] = WeakKeyDictionary()


def structure_of(model: nn.Module, images: Tensor) -> Structure:
    """Find the structure of ``model`` by one forward of one image; remembered per model and image size.

    Args:
        model: A classifier whose forward takes images and returns logits.
        images: Model input ``(N, 3, H, W)``; only the first image is used.

    Raises:
        UnsupportedNetworkError: When the images are no batch.
    """
    check_images(images)
    sizes = _cache.setdefault(model, {})
    # The modules' identities are part of the key: people swap heads and layers of a living model. References and not
    # id(): a new head may well get the address of the one it replaces.
    key = (tuple(images.shape[1:]), tuple(ref(module) for module in model.modules()))
    if key not in sizes:
        if len(sizes) >= _CACHED_SIZES:
            sizes.pop(next(iter(sizes)))
        image = to_model_dtype(model, images[:1])
        with isolated_eval(model, images.device), measuring(model, image):
            sizes[key] = _DryRun(model).run(image)
    return sizes[key]


@dataclass
class _Event:
    """The end of one module's forward; ``tensor`` is kept so that its identity and version stay comparable."""

    name: str
    module: nn.Module
    tensor: Tensor
    version: int


class _DryRun:
    """Follows one forward through hooks on every module."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.layers = named_layers(model)
        self.clock = 0
        self.events: list[_Event] = []
        self.finished: dict[str, int] = {}
        self.stages: dict[tuple[int, int], Stage] = {}
        self.strided: dict[str, None] = {}
        self.rectifiers: dict[tuple[int, ...], str] = {}
        self.convolved: tuple[Tensor, int] | None = None
        self.linears: list[tuple[str, nn.Linear, Tensor]] = []
        self.starts: dict[str, int] = {}
        self.first_stage: str | None = None

    def run(self, image: Tensor) -> Structure:
        self.image = image
        starts = (m.register_forward_pre_hook(partial(self._start, name)) for name, m in self.layers.items())
        ends = (m.register_forward_hook(partial(self._end, name)) for name, m in self.layers.items())
        with temporary_hooks(chain(starts, ends)):
            logits = as_logits(self.model(image))
        target = self._target()
        post_relu = target is not None and target.tensor._version != target.version and bool((target.tensor >= 0).all())
        return Structure(
            layers=tuple(self.layers),
            target_layer=target.name if target else None,
            post_relu=post_relu,
            finished=self.finished,
            stages=tuple(self.stages.values()),
            strided=tuple(self.strided),
            excitation_layer=self._excitation(target) if target else None,
            linear=self._linear(target, logits) if target else None,
            outputs=logits.shape[1],
        )

    def _start(self, name: str, module: nn.Module, args: tuple) -> None:
        self.clock += 1
        self.starts[name] = self.clock

    def _end(self, name: str, module: nn.Module, args: tuple, output: object) -> None:
        self.clock += 1
        self.finished[name] = self.clock
        if not isinstance(output, Tensor):
            return
        self.events.append(_Event(name, module, output, output._version))
        inputs = args[0] if args and isinstance(args[0], Tensor) else None
        if isinstance(module, nn.Linear) and inputs is not None:
            self.linears.append((name, module, inputs.clone()))
        if inputs is not None and not any(True for _ in module.children()):
            self._note_stage(name, module, inputs, output)
        if isinstance(module, nn.MaxPool2d) or (isinstance(module, nn.Conv2d) and module.stride > (1, 1)):
            self.strided[name] = None
        if isinstance(module, nn.Conv2d):
            self.convolved = output, output._version
        elif isinstance(module, nn.ReLU | nn.ReLU6):
            self.rectifiers[tuple(output.shape[2:])] = name

    def _note_stage(self, name: str, module: nn.Module, inputs: Tensor, output: Tensor) -> None:
        if inputs.ndim != 4 or output.ndim != 4 or inputs.data_ptr() == self.image.data_ptr():
            return
        (h, w), (small_h, small_w) = inputs.shape[2:], output.shape[2:]
        if isinstance(module, nn.Linear) or sorted(inputs.shape) == sorted(output.shape):
            # Channels-last networks (ConvNeXt, Swin): what shrinks or moves is the channel dimension.
            return
        # 1.5 and not 1: an unpadded 3x3 convolution is no stage; 1x1 outputs are squeeze-and-excitation or pooling.
        if small_h * small_w == 1 or (small_h * 1.5 > h and small_w * 1.5 > w) or (h, w) in self.stages:
            return
        if not self.stages:
            self.first_stage = next((event.name for event in reversed(self.events) if event.tensor is inputs), None)
        stage = Stage(name, (h, w), self.starts[name])
        bare = self.convolved is not None and inputs is self.convolved[0] and inputs._version == self.convolved[1]
        if bare and (h, w) in self.rectifiers:
            stage = replace(stage, layer=self.rectifiers[h, w], at="output")
        self.stages[h, w] = stage

    def _target(self) -> _Event | None:
        """The outermost module that returns the last unpooled 4-D tensor."""
        pooled: list[Tensor] = []
        tokens = False
        for event in reversed(self.events):
            if isinstance(event.module, _POOLS):
                # A container that ends in a pool returns the pool's tensor, and is met before it.
                pooled.append(event.tensor)
        target = None
        for event in reversed(self.events):
            tensor = event.tensor
            if tensor.ndim == 3:
                tokens = True
            if tensor.ndim != 4 or tensor.shape[2:].numel() == 1 or isinstance(event.module, _POOLS + _PASS_THROUGH):
                continue
            if any(tensor is other for other in pooled):
                continue
            # A 4-D tensor followed by token sequences is a patch embedding, not the features a classifier pools.
            target = None if tokens else event
            break
        return target

    def _excitation(self, target: _Event) -> str:
        maps = {event.name: event.tensor for event in self.events if event.tensor.ndim == 4}
        trunk = self._trunk("")
        # Into whatever holds the target layer: a wrapper, a normalizing network's second part, a backbone.
        while target.name not in trunk:
            inside = next((name for name in trunk if target.name.startswith(name + ".")), None)
            if inside is None:
                break
            trunk = self._trunk(inside + ".")
        before = [name for name in trunk if name in maps and self.finished[name] < self.finished[target.name]]
        finer = [name for name in before if maps[name].shape[2:].numel() > target.tensor.shape[2:].numel()]
        if not finer:
            return self.first_stage or target.name
        # An activation rather than a bare convolution of that size (DenseNet's transitions).
        alike = [name for name in finer if maps[name].shape[2:] == maps[finer[-1]].shape[2:]]
        return next((name for name in reversed(alike) if bool((maps[name] >= 0).all())), finer[-1])

    def _trunk(self, prefix: str) -> list[str]:
        """Modules that run one after the other below ``prefix``, in order; of sequences, their parts.

        The last part of a sequence goes by the name of the sequence, whose output is the same.
        """
        names = []
        inside = self.layers[prefix[:-1]] if prefix else self.model
        inside = getattr(inside, "_orig_mod", inside)
        for child, module in inside.named_children():
            name = prefix + child
            if isinstance(module, nn.Sequential) and name in self.finished:
                parts = self._trunk(name + ".")
                names += [*parts[:-1], name]
            elif name in self.finished:
                names.append(name)
        return sorted(names, key=self.finished.__getitem__)

    def _linear(self, target: _Event, logits: Tensor) -> str | None:
        """The layer for which ``linear(mean of target) == logits``; compared by its input, so any weights will do."""
        mean = target.tensor.float().mean((2, 3))
        for name, linear, inputs in reversed(self.linears):
            if inputs.shape != mean.shape or linear.out_features != logits.shape[1]:
                continue
            # By weight and bias, not by what it returned: a sub-class of Linear may compute something else.
            output = F.linear(inputs, linear.weight, linear.bias)
            if torch.allclose(
                inputs.float(), mean, rtol=1e-4, atol=1e-4 * float(mean.abs().max().nan_to_num())
            ) and torch.allclose(output.float(), logits.float(), rtol=1e-4, atol=1e-6):
                return name
        return None
