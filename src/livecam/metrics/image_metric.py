"""Means over images that add up across batches and ranks."""

import re
from abc import abstractmethod
from collections.abc import Iterable
from inspect import signature
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from livecam.core.errors import DataError, MetricNotFoundError, OptionError
from livecam.core.maps import is_degenerate
from livecam.core.validation import make, split_word, suggest

_CLASSES: dict[str, type["ImageMetric"]] = {}


class ImageMetric(Metric):
    """A metric that has one value per image and reports means with their counts.

    A sub-class names its per-image values in ``value_names`` (the headline first) and computes them in
    :meth:`per_image`, which keeps nothing: that is where per-image values are to be had. ``update`` takes the same
    arguments and adds them up.

    ``inputs`` names those arguments, and whoever has more passes on only what is named: ``maps``, ``masks`` (annotated
    ground truth), ``reference`` (another network's maps in [0, 1]), ``categories``, ``model``, ``images``,
    ``targets``, ``head``, ``normalization``, or ``explain`` (from a network to maps like these, of the same images and
    targets). A class with a ``name`` of its own is found by it, on command lines too.

    Images whose headline cannot be defined (NaN) are counted, never averaged in or dropped silently; maps without
    contrast, or with NaN or infinity, are counted too. A further part may be undefined for more images and then
    averages over fewer. Sums are float64, so that ranks and batches may be added in any order.

    Where there is more than one category, means are taken within each first, then over those that have any image.

    Args:
        name: Key of the metric; None takes the class's own. Two settings of one metric live side by side under two.

    Raises:
        ValueError: When the name has other characters than lower-case letters, digits and ``_``.
    """

    name: ClassVar[str]
    """Metric key: ``val/<name>/<method>`` for the headline, ``val/<name>_<part>/<method>`` for the others."""
    inputs: ClassVar[frozenset[str]] = frozenset({"maps"})
    """Names of the arguments of :meth:`per_image`."""
    uses: ClassVar[str] = "energy"
    """Which map of an Explanation ``maps`` are: ``energy``, ``map`` or ``raw``."""
    value_names: tuple[str, ...]
    num_categories: int = 1
    table_columns: ClassVar[tuple[str, ...]] = ()
    """Figures that tables show beside the headline."""
    in_percent: ClassVar[bool] = False
    """Whether papers print its figures, all shares then, in percent."""

    full_state_update = False
    higher_is_better = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        arguments = signature(cls.per_image).parameters.keys() - {"self", "args", "kwargs"}
        if arguments != cls.inputs:
            raise TypeError(
                f"{cls.__name__}.inputs names {', '.join(sorted(cls.inputs))}, but per_image takes "
                f"{', '.join(sorted(arguments))}: name the same in both."
            )
        if "name" in vars(cls):
            _CLASSES[cls.name] = cls

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__()
        if name is not None and not re.fullmatch("[a-z0-9_]+", name):
            raise OptionError(f"Metric name {name!r} becomes a key: use lower-case letters, digits and '_'.")
        self.name = name or type(self).name
        shape = len(self.value_names), self.num_categories
        self.add_state("sums", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("defined", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")
        for count in ("undefined", "degenerate"):
            self.add_state(count, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    @abstractmethod
    def per_image(self, maps: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Values of each image, ``(values, N)`` float64; NaN where a part is undefined."""

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add images; takes the arguments of :meth:`per_image`."""
        arguments = signature(self.per_image).bind(*args, **kwargs).arguments
        self.add(self.per_image(**arguments), arguments["maps"], arguments.get("categories"))

    def add(self, values: Tensor, maps: Tensor, categories: Tensor | None = None) -> None:
        """Add per-image values ``(values, N)`` of maps ``(N, H, W)``; an image is undefined where its headline is.

        Args:
            values: What :meth:`per_image` gave.
            maps: The maps it was given.
            categories: LongTensor ``(N,)`` where means are taken within categories.

        Raises:
            ValueError: When a category is out of range.
        """
        where = torch.zeros(len(maps), dtype=torch.long, device=values.device) if categories is None else categories
        # To look at values waits for the device.
        if categories is not None and len(where) and not 0 <= int(where.min()) <= int(where.max()) < self.sums.shape[1]:
            raise OptionError(
                f"Category {int(where.max())} is out of range: {type(self).__name__} was made for "
                f"{self.sums.shape[1]} categories, give it a greater num_categories."
            )
        sums, defined = totals(values.to(self.sums.device))
        self.sums.index_add_(1, where.to(self.sums.device), sums)
        self.defined.index_add_(1, where.to(self.sums.device), defined)
        self.undefined += (defined[0] == 0).sum()
        self.degenerate += is_degenerate(maps).sum().to(self.degenerate.device)

    def compute(self) -> dict[str, Tensor]:
        """Headline first, then the other figures and the counts ``n``, ``undefined``, ``degenerate``."""
        counts = {"n": self.defined[0].sum(), "undefined": self.undefined, "degenerate": self.degenerate}
        return self.aggregate(self.sums, self.defined) | counts

    def aggregate(self, sums: Tensor, defined: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """From sums of values to what is reported; the same for a whole set and for resampled ones.

        Args:
            sums: ``(values, categories, ...)`` sums of values.
            defined: Numbers of values behind them, of the same shape.
            weights: How much each category counts, ``(categories, ...)``; None counts all alike.

        Returns:
            Mean of each part ``(...)``, over images within categories, then over categories; NaN where there is none.
        """
        means = sums / defined
        if weights is None:
            return dict(zip(self.value_names, means.nanmean(1)))
        weights = weights * (defined > 0)
        return dict(zip(self.value_names, (means.nan_to_num(0) * weights).sum(1) / weights.sum(1)))


def totals(values: Tensor) -> tuple[Tensor, Tensor]:
    """What per-image values ``(values, N)`` add to sums and to counts: nothing where they, or the headline, are NaN."""
    defined = values.isfinite() & values[0].isfinite()
    return values.double().masked_fill(~defined, 0), defined.long()


def check_same_size(maps: Tensor, masks: Tensor) -> None:
    """Refuse masks of another size than the maps.

    Raises:
        ValueError: With both shapes.
    """
    if maps.shape != masks.shape:
        raise DataError(
            f"Maps {tuple(maps.shape)} and masks {tuple(masks.shape)} differ in shape: resize the masks to the images "
            "(nearest neighbor) where the data are made."
        )


def check_fit(maps: Tensor, images: Tensor) -> None:
    """Refuse maps that are not one ``(H, W)`` for each of the images ``(N, C, H, W)``.

    Raises:
        ValueError: With both shapes.
    """
    if maps.shape != images[:, 0].shape:
        raise DataError(
            f"Maps {tuple(maps.shape)} do not fit images {tuple(images.shape)}: give one map (H, W) per image, resized "
            "to it."
        )


def metric_classes() -> dict[str, type[ImageMetric]]:
    """Every metric class by its name; classes made by users are found too."""
    return dict(sorted(_CLASSES.items()))


def metrics_by_names(words: Iterable[str]) -> list[ImageMetric]:
    """Build metrics from names such as ``localization`` and ``insertion_deletion(step=1792)``, in order.

    Raises:
        ValueError: When a name or an option is unknown, or a name comes twice.
    """
    classes, built = metric_classes(), []
    for word in words:
        kind, options = split_word(word)
        if kind not in classes:
            raise MetricNotFoundError(f"Unknown metric {kind!r}.{suggest(kind, classes, 'Metrics:')}")
        built.append(make(classes[kind], word, options))
        name = built[-1].name
        if sum(metric.name == name for metric in built) > 1:
            raise OptionError(f"Metric {name!r} is there twice: give one another name, as in {kind}(name='{name}_2').")
    return built
