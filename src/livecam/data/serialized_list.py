"""A long list in one block of memory, which loader processes share instead of copying it item by item."""

import pickle
from collections.abc import Iterable, Sequence
from typing import TypeVar, overload

import torch

T = TypeVar("T")


class SerializedList(Sequence[T]):
    """A read-only sequence of plain objects, kept as bytes and rebuilt one at a time.

    A list of a million objects is copied into every forked loader process page by page, because reading an object
    writes its reference count; and it is pickled whole for every spawned one. Tensors are shared by both kinds.

    Args:
        items: Objects that pickle takes; those of this process, never of a file.
    """

    def __init__(self, items: Iterable[T]) -> None:
        parts = [pickle.dumps(item, pickle.HIGHEST_PROTOCOL) for item in items]
        self._ends = torch.tensor([0, *map(len, parts)], dtype=torch.long).cumsum(0)
        self._block = torch.frombuffer(bytearray(b"".join(parts) or b"\0"), dtype=torch.uint8)

    @property
    def nbytes(self) -> int:
        """Memory of the whole list."""
        return self._block.nbytes + self._ends.nbytes

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        start, end = self._ends[place : place + 2].tolist()
        return pickle.loads(self._block[start:end].numpy().data)
