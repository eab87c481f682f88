"""Names of layers as people write them: ``layer4``, ``model.layer4``, ``features.29``."""

from collections.abc import Iterable
from difflib import get_close_matches

from livecam.core.errors import LayerNotFoundError


def clean(name: str) -> str:
    """Drop the ``_orig_mod`` parts that torch.compile adds to module names."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def resolve_layer(name: str, names: Iterable[str]) -> str:
    """Find the one layer that a full dotted name or a unique suffix of it means.

    Args:
        name: What the user wrote.
        names: Full names of the model's layers, without ``_orig_mod``.

    Raises:
        LayerNotFoundError: When no layer, or more than one, answers to the name; the message lists candidates.
    """
    names = list(names)
    name = clean(name)
    if name in names:
        return name
    matches = [full for full in names if full.endswith("." + name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise LayerNotFoundError(f"Layer name {name!r} is ambiguous: {', '.join(matches[:6])}. Use the full name.")
    raise LayerNotFoundError(f"The model has no layer {name!r}.{_candidates(name, names)}")


def _candidates(name: str, names: list[str]) -> str:
    close = get_close_matches(name, names, 5, cutoff=0.5)
    # A near miss in the last part (`layer5`, `net.decodr`) is the commonest mistake inside wrapped models.
    tails = {full.rsplit(".", 1)[-1]: full for full in reversed(names)}
    close += [tails[tail] for tail in get_close_matches(name.rsplit(".", 1)[-1], tails, 5) if tails[tail] not in close]
    if close:
        return f" Did you mean {', '.join(close[:6])}?"
    return f" Its layers are {', '.join(names[:12])}{', …' if len(names) > 12 else ''}."
