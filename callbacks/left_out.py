"""Counting what scores leave out, so that nothing is dropped in silence."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class LeftOut:
    """Counts of one validation, on the device: to read one at every batch would wait for it.

    Args:
        failed: Maps that a method could not make, or that hold NaN or infinity.
        unannotated: Images without a mask.
        unsure: Images, or pairs of image and category, whose class the network gives too small a probability.
    """

    failed: Tensor
    unannotated: Tensor
    unsure: Tensor

    @classmethod
    def nothing(cls, device: torch.device) -> "LeftOut":
        """All counts at zero."""
        return cls(*torch.zeros(3, dtype=torch.long, device=device))
