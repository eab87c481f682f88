"""Any attribution of the Captum library as an explanation method."""

import re
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter, signature
from itertools import chain
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from livecam.core.baselines import as_baseline, baseline_images
from livecam.core.errors import OptionError, UnsupportedNetworkError
from livecam.core.heads import Binary, Head, as_logits
from livecam.core.options import Count, Seed, as_tuple
from livecam.core.validation import check_option, suggest
from livecam.explain.explainer import Explainer
from livecam.explain.methods.gradients import CLIP_FRACTION, MAGNITUDES
from livecam.explain.recording.hooks import Capture
from livecam.explain.recording.network_structure import Structure, named_layers
from livecam.explain.recording.recording import Recording
from livecam.runtime.model_state import isolate_rng
from livecam.runtime.module_state import restore_module_state, seed_all, temporary_hooks
from livecam.runtime.progress import chunks

_REDUCE: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda value: value.sum(1),
    "max": MAGNITUDES["max"],
    "l2": MAGNITUDES["l2"],
}
# Bases that compute nothing themselves, and permutations, which give one image the pixels of another.
_UNFIT = re.compile(r".*(Attribution|Permutation)")
# What the explainer itself says, and what would make two results of one.
_TAKEN = {"self", "forward_func", "model", "layer", "device_ids", "inputs", "target", "additional_forward_args"}
_TAKEN |= {"return_convergence_delta"}
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CAPTUMS = r"captum\."
_GATES = {F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6, F.hardtanh, F.hardtanh_}
_DEEP_LIFT = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softmax, nn.MaxPool2d)


def as_attribution(option: str, word: str) -> str:
    """The name of a class of ``captum.attr``; a check of :mod:`livecam.core.options`."""
    return _attribution(word).__name__


def _as_tuples(option: str, options: dict[str, Any]) -> dict[str, Any]:
    return {key: as_tuple(value) for key, value in options.items()}


@dataclass(frozen=True)
class CaptumExplainer(Explainer):
    """An attribution of Captum, its channels reduced to one map; costs what that attribution costs.

    Captum meets the scores of all classes (two for a one-logit network), in eval mode, and every in-place activation
    out of place, because its hooks need that. Whatever it puts on the network is gone afterwards, also when it fails.
    Attributions that perturb or draw run image by image, each with the same seed, so that a map does not depend on its
    neighbors; their option ``perturbations_per_eval`` bounds memory, as ``internal_batch_size`` does for others.

    Not all of Captum fits: NoiseTunnel and the like work upon other attributions, permutations mix a batch's images.

    Args:
        attribution: Class of ``captum.attr``, such as ``DeepLift``; ``deep_lift`` means the same.
        options: Keyword arguments of its ``attribute``, or of its constructor; lists count as tuples. ``baselines`` may
            also be a word, such as ``blur`` (see :func:`livecam.core.baselines.baseline_images`), and where Captum
            insists on a distribution of them, a number or a word stands for two equal images, zeros unless given.
        layer: The layer of layer and neuron attributions and of GuidedGradCam; None means the network's default one.
        reduce: Channels to one map: their ``sum``, signed, their ``max`` absolute value, or their ``l2`` norm.
        segments: Number of SLIC superpixels that are perturbed as one; None leaves the features to Captum.
        seed: Seed of whatever is drawn.
        name: Key of the method; None makes it ``captum_<attribution>``.

    Raises:
        ValueError: When Captum is missing, or it has no such attribution or option.
    """

    prefix: ClassVar[str] = "captum_"

    attribution: Annotated[str, as_attribution]
    options: Annotated[dict[str, Any], _as_tuples] = field(default_factory=dict, hash=False)
    layer: str | None = None
    reduce: Literal["sum", "max", "l2"] = "sum"
    segments: Count | None = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        cls = _attribution(self.attribution)
        parameters = {**_parameters(cls), **_parameters(cls.attribute)}
        for option in self.options:
            check_option(f"option of Captum's {self.attribution}", option, sorted(parameters.keys() - _TAKEN))
        if isinstance(self.options.get("baselines"), str):
            as_baseline("baselines", self.options["baselines"])
        if self.layer is not None and "layer" not in parameters:
            raise OptionError(f"Captum's {self.attribution} reads no layer: leave layer={self.layer!r} away.")
        if self.segments is not None and "feature_mask" not in parameters:
            raise OptionError(f"Captum's {self.attribution} knows no superpixels: leave segments away.")

    @property
    def default_name(self) -> str:
        """``captum_<attribution>``."""
        return f"{self.prefix}{_WORDS.sub('_', self.attribution).lower()}"

    @property
    def label(self) -> str:
        """As people read it."""
        return f"Captum {self.attribution}"

    @property
    def signed(self) -> bool:
        """Sums over channels keep the sign of evidence."""
        return self.reduce == "sum"

    @property
    def clip_fraction(self) -> float:
        """Attributions of single pixels have long tails; those of layers and of segments have not."""
        return 0.0 if self.attribution.startswith("Layer") or self.segments else CLIP_FRACTION

    def captures(self, structure: Structure) -> list[Capture]:
        # Captum records on its own; this only tells whoever sharpens the map where it lies.
        if not self.attribution.startswith("Layer"):
            return []
        return [Capture(self.layer, at="input" if self.options.get("attribute_to_layer_input") else "output")]

    def explain(self, recording: Recording) -> Tensor:
        cls = _attribution(self.attribution)
        device, count = recording.images.device, len(recording.images)
        with restore_module_state(recording.model), isolate_rng(device), torch.enable_grad(), warnings.catch_warnings():
            _check_reach(cls.__name__, recording)
            # Captum tells of every hook that it sets and takes away again.
            warnings.filterwarnings("ignore", module=_CAPTUMS)
            scores = _Scores(recording.model, recording.head).eval()
            maps = []
            for part in chunks(self.label, count, 1 if _one_by_one(cls) else count):
                seed_all(self.seed, device)
                maps.append(self._reduced(self._attribute(cls, scores, recording, part), len(recording.targets[part])))
        # Captum's surrogate models answer in single precision whatever they are asked in.
        return torch.cat(maps).to(recording.images.dtype)

    def _attribute(self, cls: type, scores: nn.Module, recording: Recording, part: slice) -> Any:
        images = recording.images[part].detach()
        options = {**self.options, **self._baselines(cls, images, recording), **self._features(images, recording)}
        inits = {key: options.pop(key) for key in _parameters(cls).keys() & options.keys()}
        if "layer" in _parameters(cls):
            inits["layer"] = recording.layer(recording.structure.resolve(self.layer))
        if "target" in _parameters(cls.attribute):
            # A layer's activation and a neuron's evidence are of no class.
            options["target"] = recording.targets[part]
        return cls(scores, **inits).attribute(images.requires_grad_(), **options)

    def _baselines(self, cls: type, images: Tensor, recording: Recording) -> dict[str, Tensor]:
        value, distribution = self.options.get("baselines"), _wants_distribution(cls)
        if isinstance(value, str):
            baseline = baseline_images(images, value, recording.normalization)
        elif distribution and (value is None or isinstance(value, int | float)):
            baseline = torch.full_like(images, value or 0)
        else:
            return {}
        return {"baselines": torch.cat([baseline, baseline]) if distribution else baseline}

    def _features(self, images: Tensor, recording: Recording) -> dict[str, Tensor]:
        if self.segments is None:
            return {}
        from livecam.explain.methods.segmentation import segment

        if recording.normalization is None:
            raise OptionError(
                "Superpixels are cut in pixels: pass normalization=Normalization(mean, std) to say how pixels become "
                "model input, or leave segments away."
            )
        labels = segment(recording.normalization.to_pixels(images)[0], "slic", (self.segments,))
        # Captum counts features from zero and without gaps.
        return {"feature_mask": labels.unique(return_inverse=True)[1].view(1, 1, *images.shape[2:]).to(images.device)}

    def _reduced(self, attributions: Any, count: int) -> Tensor:
        shape = tuple(attributions.shape) if isinstance(attributions, Tensor) else type(attributions).__name__
        if not isinstance(attributions, Tensor) or attributions.ndim != 4 or len(attributions) != count:
            raise UnsupportedNetworkError(
                f"{self.label} gave {shape} for {count} images, but a map needs (N, C, h, w): choose an attribution to "
                "pixels, or a convolutional layer."
            )
        return _REDUCE[self.reduce](attributions.detach())


class _Scores(nn.Module):
    """The network as Captum wants it: one score per class ``(N, num_classes)``, two for one logit."""

    def __init__(self, model: nn.Module, head: Head) -> None:
        super().__init__()
        self.model = model
        self.two_of_one = isinstance(head, Binary)

    def forward(self, images: Tensor) -> Tensor:
        logits = as_logits(self.model(images))
        return torch.cat([-logits, logits], 1) if self.two_of_one else logits


def _attribution(word: str) -> type:
    """Captum's class of this name, whatever its case and underscores."""
    try:
        from captum import attr
    except ImportError:
        raise OptionError("CaptumExplainer needs Captum: pip install 'livecam[captum]'.") from None
    classes = {name.lower(): cls for name, cls in vars(attr).items() if _fits(attr, cls)}
    key = str(word).replace("_", "").lower()
    if key not in classes:
        names = sorted(cls.__name__ for cls in classes.values())
        raise OptionError(f"CaptumExplainer knows no attribution {word!r}.{suggest(key, names, 'It may be')}")
    return classes[key]


def _fits(attr: Any, cls: Any) -> bool:
    """Whether a class of Captum is built from a network, or a network and a layer."""
    if not isinstance(cls, type) or not issubclass(cls, attr.Attribution) or _UNFIT.fullmatch(cls.__name__):
        return False
    needed = {key for key, parameter in _parameters(cls).items() if parameter.default is Parameter.empty}
    return needed - {"layer"} in ({"forward_func"}, {"model"})


def _parameters(function: Callable) -> dict[str, Parameter]:
    return dict(signature(function).parameters)


def _wants_distribution(cls: type) -> bool:
    baselines = _parameters(cls.attribute).get("baselines")
    return baselines is not None and baselines.default is Parameter.empty


def _one_by_one(cls: type) -> bool:
    from captum.attr import PerturbationAttribution

    return issubclass(cls, PerturbationAttribution) or _wants_distribution(cls)


class _Census(TorchFunctionMode):
    """Counts rectifiers that run outside of modules of certain types, and how often each such module runs."""

    def __init__(self) -> None:
        super().__init__()
        self.outside = 0
        self.runs: Counter[str] = Counter()
        self.depth = 0

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.outside += self.depth == 0 and func in _GATES
        return func(*args, **(kwargs or {}))

    def take(self, model: nn.Module, image: Tensor, kinds: tuple[type, ...]) -> None:
        """Run ``model`` once."""
        modules = [(name, module) for name, module in named_layers(model).items() if isinstance(module, kinds)]
        starts = (module.register_forward_pre_hook(partial(self._enter, name)) for name, module in modules)
        ends = (module.register_forward_hook(self._leave) for _, module in modules)
        with temporary_hooks(chain(starts, ends)), torch.no_grad(), self:
            model(image)

    def _enter(self, name: str, *_: Any) -> None:
        self.runs[name] += 1
        self.depth += 1

    def _leave(self, *_: Any) -> None:
        self.depth -= 1


def _check_reach(name: str, recording: Recording) -> None:
    """Say where Captum's hooks on modules do not reach; costs one forward of one image, where it uses such hooks.

    Raises:
        ValueError: When DeepLift meets a module that runs several times, where Captum would fail half-way.
    """
    deep = "DeepLift" in name
    if not deep and not name.endswith(("GuidedBackprop", "GuidedGradCam", "Deconvolution")):
        return
    census = _Census()
    census.take(recording.model, recording.images[:1], _DEEP_LIFT if deep else (nn.ReLU,))
    twice = [layer for layer, runs in census.runs.items() if runs > 1]
    if deep and twice:
        raise UnsupportedNetworkError(
            f"Captum's {name} needs modules that run once per forward, but {', '.join(twice[:3])} run several times: "
            "give every call a module of its own."
        )
    if census.outside:
        ours = "Deconvnet()" if "Deconv" in name else "GuidedBackprop()"
        remedy = "make each of them an nn.ReLU of its own" if deep else f"livecam's {ours} sees them all"
        warnings.warn(
            f"Captum's {name} overlooks rectifiers that are no nn.ReLU modules (calls per forward of this network: "
            f"{census.outside}), so its map is not what its name says: {remedy}.",
            stacklevel=3,
        )
