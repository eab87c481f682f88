"""YAML of configurations: plain values only, and no more of them than a person writes."""

from typing import Any

import yaml
from yaml.events import CollectionEndEvent, CollectionStartEvent
from yaml.nodes import CollectionNode, MappingNode, Node

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Ten times ImageNet-21k's class names. Ten lines of aliases of aliases stand for billions, in which a parser is lost.
_MOST = 200_000
# Deeper than any configuration.
_DEEPEST = 100


def check_yaml(text: str) -> None:
    """Refuse text whose aliases multiply, hold themselves, or whose values lie too deep.

    Raises:
        yaml.YAMLError: When it does, or is no YAML.
    """
    depth = 0
    # Event by event first: what builds values ends the process where they lie too deep.
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"its values lie more than {_DEEPEST} deep inside of each other")
    _count(yaml.compose(text, Loader=_LOADER), {})


def load_yaml(text: str) -> Any:
    """Plain values of a text.

    Raises:
        yaml.YAMLError: As :func:`check_yaml`, and for anything but plain values.
    """
    check_yaml(text)
    return yaml.load(text, Loader=_LOADER)


def _count(node: Node | None, counts: dict[int, int]) -> int:
    """How many values a node stands for."""
    if not isinstance(node, CollectionNode):
        return 1
    if id(node) not in counts:
        # Met again before it is counted, it holds itself.
        counts[id(node)] = _MOST
        parts = (part for pair in node.value for part in pair) if isinstance(node, MappingNode) else node.value
        counts[id(node)] = 1 + sum(_count(part, counts) for part in parts)
    if counts[id(node)] > _MOST - 1:
        raise yaml.YAMLError(f"its aliases stand for more than {_MOST} values, or hold themselves")
    return counts[id(node)]
