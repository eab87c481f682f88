"""Bounds on what a network that a file describes may take: a few words can ask for more than any machine has."""

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

# What even a network without weights may make: index tables, and code that initialises.
_FREE_NUMBERS, _FREE_CALLS = 100_000_000, 100_000
# Weights are made, sometimes copied, and read by what initialises them; files may hold them in half precision.
_NUMBERS_EACH, _CALLS_EACH = 8, 200

_TOO_LARGE = "its settings ask for a network far larger than the weights beside them, or than this machine's memory"


class Bounded(TorchFunctionMode):
    """While it is entered, a network can be built that needs about as much as some weights, and no larger one.

    Args:
        numbers: How many numbers the weights are.
        tensors: How many tensors.
    """

    def __init__(self, numbers: int, tensors: int) -> None:
        super().__init__()
        self._numbers = _FREE_NUMBERS + _NUMBERS_EACH * numbers
        self._calls = _FREE_CALLS + _CALLS_EACH * tensors

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count a call, and the numbers that it makes.

        Raises:
            ValueError: When there were more than the weights account for.
        """
        # Before they are filled, and with that take memory, tensors are empty ones.
        try:
            made = function(*args, **kwargs or {})
        except RuntimeError as error:
            if "allocate memory" in str(error):
                raise ValueError(_TOO_LARGE) from error
            raise
        self._calls -= 1
        if isinstance(made, Tensor) and not any(made is each for each in args):
            self._numbers -= made.numel()
        if self._calls < 0 or self._numbers < 0:
            raise ValueError(_TOO_LARGE)
        return made
