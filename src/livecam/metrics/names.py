"""Metrics by name, for the command line."""

import inspect
from collections.abc import Iterable
from difflib import get_close_matches

from livecam.core.validation import make, split_word
from livecam.metrics.image_metric import ImageMetric


def metrics() -> dict[str, type[ImageMetric]]:
    """Every metric class by its name; classes made by users are found too."""
    found, waiting = {}, [ImageMetric]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if not inspect.isabstract(kind):
            found[kind.name] = kind
    return dict(sorted(found.items()))


def metrics_by_names(words: Iterable[str]) -> list[ImageMetric]:
    """Build metrics from names such as ``localization`` and ``insertion_deletion(step=1792)``, in order.

    Raises:
        ValueError: When a name or an option is unknown, or a name comes twice.
    """
    known, built = metrics(), []
    for word in words:
        name, options = split_word(word)
        if name not in known:
            close = get_close_matches(name, known, 2)
            hint = f"Did you mean {' or '.join(close)}?" if close else f"Metrics: {', '.join(known)}."
            raise ValueError(f"Unknown metric {name!r}. {hint}")
        built.append(make(known[name], word, options))
        name = built[-1].name
        if sum(metric.name == name for metric in built) > 1:
            raise ValueError(f"Metric {name!r} is there twice: give one another name, as in {name}(name='{name}_2').")
    return built
