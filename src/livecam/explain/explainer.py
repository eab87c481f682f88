"""The contract of every explanation method."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from livecam.core.errors import OptionError
from livecam.core.options import settle
from livecam.explain.recording.hooks import Capture
from livecam.explain.recording.network_structure import Structure
from livecam.explain.recording.recording import Recording

_NAME = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True)
class Explainer(ABC):
    """A method that says where a network looks.

    An explainer is a small frozen configuration: it holds no model, tensor or hook. It says what it needs of one
    recorded pass, which all explainers of a call share, and turns that into one map per image.

    A new method is a frozen dataclass with a class attribute ``method`` (its name), ``label`` and :meth:`explain`;
    callbacks, command line, :func:`by_name` and the shared test checklist then find it by themselves, as they find one
    that works upon another method by its ``prefix``. Its options are held to their types, see
    :func:`livecam.core.options.settle`.

    Args:
        name: Key of the method in metrics and files, ``[a-z0-9_]+``; None takes the method's own. Two settings of one
            method live side by side under two names.

    Raises:
        OptionError: When the name has other characters, or an option a value that its type does not allow.
    """

    method: ClassVar[str]
    label: ClassVar[str]
    signed: ClassVar[bool] = False
    """Whether the map is shown on a diverging scale around zero."""
    clip_fraction: ClassVar[float] = 0.0
    """Share of the pixels that stand out so far that pictures cut them; the map itself is left as it is."""
    single_pass: ClassVar[bool] = False
    """Whether what is recorded of one pass is all it asks for: never the network, nor the pass's logits. Live scores
    then take it from the validation step's own forward, where that shows it."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """What the words of an option ``preset`` stand for: values of options that are None."""

    classes: ClassVar[list[type["Explainer"]]] = []
    """Every class of explainers, in the order in which they were made."""

    name: str | None = field(default=None, kw_only=True)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        Explainer.classes.append(cls)

    @classmethod
    def prefixes(cls) -> dict[str, Callable[..., "Explainer"]]:
        """What names of methods begin with that this class builds, and what builds them of the word that follows."""
        return {cls.prefix: cls} if "prefix" in vars(cls) else {}

    def __post_init__(self) -> None:
        settle(self, self.presets.get(str(getattr(self, "preset", ""))))
        name = self.default_name if self.name is None else self.name
        if not _NAME.fullmatch(name):
            raise OptionError(f"Explainer name {name!r} becomes a metric key: use lower-case letters, digits and '_'.")
        object.__setattr__(self, "name", name)

    @property
    def default_name(self) -> str:
        """The key where none was given."""
        return self.method

    def captures(self, structure: Structure) -> list[Capture]:
        """What of the recorded pass this method reads; the default is nothing."""
        return []

    def result(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        """Raw maps and details; computed once per recording, however many methods build upon this one."""
        # By equality and not by hash: a user's explainer may hold a list.
        for explainer, result in recording.results:
            if explainer is self or explainer == self:
                return result
        output = self.explain(recording)
        recording.results.append((self, output if isinstance(output, tuple) else (output, {})))
        return recording.results[-1][1]

    @abstractmethod
    def explain(self, recording: Recording) -> Tensor | tuple[Tensor, dict[str, Any]]:
        """Compute the raw maps.

        Args:
            recording: The shared pass. Grad mode is off and the model is in eval mode.

        Returns:
            Raw maps ``(N, h, w)`` at the method's own resolution, neither resized nor scaled; optionally with details
            worth keeping.
        """
