"""What other people's networks return is read right, or asked about."""

import pytest
import torch
from foreign_fits import Net, images
from torch import nn

from livecam.core.errors import UnsupportedNetworkError
from livecam.explain import GradCAM, explain


class Returning(nn.Module):
    """Returns what a function makes of the feature map, the features and the logits."""

    def __init__(self, make):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.make = Net(), make

    def forward(self, pixels):
        maps = self.net[1](self.net[0](pixels))
        features = self.net[2](maps)
        return self.make(maps, features, self.net[3](features))


@pytest.mark.parametrize(
    "make",
    [
        lambda maps, features, logits: (features, logits),
        lambda maps, features, logits: [logits, features],
        lambda maps, features, logits: (logits, logits),
        lambda maps, features, logits: (maps, features, logits),
    ],
)
def test_of_several_tensors_none_is_guessed(make):
    with pytest.raises(UnsupportedNetworkError, match=r"\(1, [38]\) and \(1, [38]\), each of which may be logits"):
        explain(Returning(make), images(4)[0], [GradCAM()])


@pytest.mark.parametrize(
    "make",
    [
        lambda maps, features, logits: (maps, logits),
        lambda maps, features, logits: (logits, maps),
        lambda maps, features, logits: (logits, logits.sum()),
        lambda maps, features, logits: {"features": features, "logits": logits},
    ],
)
def test_logits_beside_other_things_are_the_only_rows(make):
    pixels = images(4)[0]
    plain = explain(Returning(lambda maps, features, logits: logits), pixels, [GradCAM()], targets=2)["gradcam"]
    found = explain(Returning(make), pixels, [GradCAM()], targets=2)["gradcam"]
    assert torch.equal(found.raw, plain.raw) and torch.equal(found.probability, plain.probability)
