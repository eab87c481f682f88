"""Networks, maps and a plain pixel-by-pixel loop that tests of insertion and deletion share."""

import torch
from helpers.toys import GapNet, build, pictures
from torch import nn

from livecam.metrics.insertion_deletion import (
    perturbation_curves,
)

CURVES = ("insertion", "deletion")


class Share(nn.Module):
    """Its probability is the mean of the first channel inside a region: linear in every pixel; one logit."""

    def __init__(self, region=None):
        super().__init__()
        self.region, self.sizes = region, []

    def forward(self, images):
        self.sizes.append(len(images))
        seen = images[:, 0].flatten(1) if self.region is None else images[:, 0][:, self.region]
        return torch.logit(seen.mean(1))


class Constant(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.logit = nn.Parameter(torch.logit(torch.tensor(p, dtype=torch.float64)), requires_grad=False)

    def forward(self, images):
        return self.logit.expand(len(images))


def untied(count=2, size=(7, 5), seed=0):
    """Maps of which no two pixels are equal."""
    generator = torch.Generator().manual_seed(seed)
    pixels = size[0] * size[1]
    return torch.stack([torch.randperm(pixels, generator=generator).view(size) / (pixels - 1) for _ in range(count)])


def sparse(size=(10, 10), share=0.05, seed=0):
    """A map that is exactly zero but for a share of its pixels, which lie in the lower half."""
    pixels = size[0] * size[1]
    found = torch.zeros(pixels)
    place = pixels // 2 + torch.randperm(pixels // 2, generator=torch.Generator().manual_seed(seed))
    found[place[: round(share * pixels)]] = 1 - torch.rand(round(share * pixels)) / 2
    return found.view(1, *size)


def double_net(make=GapNet, **kwargs):
    return build(make, **kwargs).double()


def double_pictures(*args, **kwargs):
    return pictures(*args, **kwargs).double()


def curves(net, images, targets, maps, step, ties=None, **kwargs):
    """Deletion and insertion curve against zeros, ties row by row."""
    ties = torch.arange(maps[0].numel())[None] if ties is None else ties
    found = perturbation_curves(net, images, targets, maps, torch.zeros_like(images), ties=ties, step=step, **kwargs)
    return found.deletion, found.insertion


def naive(net, image, target, scores, blank, start, step, order):
    """Both curves pixel by pixel; ``order`` says which of equal pixels comes first."""
    width = image.shape[2]
    place = {pixel: number for number, pixel in enumerate(order)}
    ranked = sorted(range(scores.numel()), key=lambda pixel: (-float(scores.flatten()[pixel]), place[pixel]))
    found = []
    for now, goal in ((image.clone(), blank), (start.clone(), image)):
        curve = [net(now[None]).softmax(1)[0, target]]
        for begin in range(0, len(ranked), step):
            for pixel in ranked[begin : begin + step]:
                now[:, pixel // width, pixel % width] = goal[:, pixel // width, pixel % width]
            curve.append(net(now[None]).softmax(1)[0, target])
        found.append(torch.stack(curve).detach())
    return found


def area(curve):
    return float(sum(curve[:-1] + curve[1:]) / 2 / (len(curve) - 1))


def measured(metric, *args, **kwargs):
    return dict(zip(metric.value_names, metric.per_image(*args, **kwargs)))
