"""Tiny networks that tests share; `toys` is importable because pytest puts the folder of conftest.py on the path."""

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


def build(make: Callable[..., Net], *args, seed: int = 0, **kwargs) -> Net:
    """``make(...)`` in eval mode, with weights that depend on ``seed`` only."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make(*args, **kwargs).eval()


def pictures(count: int = 2, size: tuple[int, int] = (24, 24), seed: int = 1) -> Tensor:
    """Standard normal images ``(count, 3, *size)``, always the same."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


class GapNet(nn.Module):
    """conv, BN, ReLU, conv, ReLU, GAP, linear: default layer ``last``, a third of the image's size."""

    def __init__(self, classes: int = 4, inplace: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.first = nn.ReLU(inplace)
        self.conv = nn.Conv2d(6, 8, 3, padding=1)
        self.last = nn.ReLU(inplace)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, classes)
        nn.init.normal_(self.fc.weight)

    def features(self, images: Tensor) -> Tensor:
        return self.last(self.conv(self.first(self.norm(self.stem(images)))))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.drop(self.features(images).mean((2, 3))))


class StagedNet(GapNet):
    """A GapNet whose resolution drops in a max pool: default layer ``last``, half of the image's size."""

    def __init__(self, classes: int = 4, inplace: bool = False) -> None:
        super().__init__(classes, inplace)
        self.stem.stride = (1, 1)
        self.pool = nn.MaxPool2d(2)

    def features(self, images: Tensor) -> Tensor:
        return self.last(self.conv(self.pool(self.first(self.norm(self.stem(images))))))


class DeepTail(nn.Module):
    """``early`` is followed by a strided conv and ReLU before GAP: its gradient varies over positions."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.early = nn.ReLU()
        self.conv = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False)
        self.last = nn.ReLU()
        self.fc = nn.Linear(8, classes, bias=False)
        nn.init.normal_(self.fc.weight)

    def tail(self, early: Tensor) -> Tensor:
        return self.fc(self.last(self.conv(early)).mean((2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        return self.tail(self.early(self.stem(images)))


class NormTail(nn.Module):
    """Ends as DenseNet does: batch norm, then a functional ReLU, in place or not."""

    def __init__(self, inplace: bool, classes: int = 4) -> None:
        super().__init__()
        self.inplace = inplace
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(F.relu(self.norm(self.conv(images)), inplace=self.inplace).mean((2, 3)))


class FrozenBackbone(GapNet):
    """Runs everything before ``conv`` under its own no_grad, as transfer-learning code does."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            frozen = self.first(self.norm(self.stem(images)))
        return self.fc(self.last(self.conv(frozen)).mean((2, 3)))


class Given(nn.Module):
    """The images themselves are the last feature map: activations, and so every closed form, are set by hand."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 3, 1, bias=False)
        self.fc = nn.Linear(3, len(weight))
        with torch.no_grad():
            self.same.weight.copy_(torch.eye(3)[:, :, None, None])
            self.fc.weight.copy_(weight)
            self.fc.bias.zero_() if bias is None else self.fc.bias.copy_(bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.same(images).mean((2, 3)))
