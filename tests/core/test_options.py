"""What a dataclass says of its options by their types, and what it refuses."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from livecam.core.baselines import Baseline
from livecam.core.errors import OptionError
from livecam.core.options import Amount, Count, NonNegative, Positive, Seed, Share, settle


@dataclass(frozen=True)
class Options:
    count: Count = 1
    amount: Amount = 0
    seed: Seed = 0
    positive: Positive = 0.5
    least: NonNegative = 0.0
    share: Share = 1.0
    limit: Count | None = None
    mode: Literal["full", "half"] = "full"
    layers: Literal["auto"] | tuple[str, ...] = "auto"
    baseline: Baseline = "black"
    corners: tuple[tuple[int, int], ...] | None = None
    free: list[int] | None = None

    def __post_init__(self):
        settle(self, {"limit": 7} if self.mode == "half" else None)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"count": 0}, "count is a whole number from 1, got 0"),
        ({"count": True}, "count is a whole number from 1, got True"),
        ({"amount": -1}, "amount is a whole number from 0"),
        ({"seed": 2**63}, r"seed is a whole number below 2\^63"),
        ({"positive": 0}, "positive is a number above 0"),
        ({"least": float("nan")}, "least is a number from 0, got nan"),
        ({"share": 1.5}, "share is a number from 0 to 1"),
        ({"limit": 0}, "limit is a whole number from 1"),
        ({"mode": "hal"}, "mode='hal' is not one of full, half. Did you mean half"),
        ({"mode": None}, "mode=None is not one of"),
        ({"layers": "aut"}, "layers='aut' is not one of auto"),
        ({"baseline": "blak"}, "Did you mean black"),
        ({"baseline": (0.5, 2.0, 0.0)}, "baseline is a color"),
    ],
)
def test_what_a_type_does_not_allow_is_refused(wrong, sentence):
    with pytest.raises(OptionError, match=sentence):
        Options(**wrong)


def test_lists_become_tuples_where_the_type_says_so():
    options = Options(layers=["a", "b"], corners=[[0, 1], [2, 3]], baseline=[3, 1.5], free=[1])
    assert options.layers == ("a", "b") and options.corners == ((0, 1), (2, 3)) and options.baseline == (3, 1.5)
    assert options.free == [1]


def test_a_preset_fills_in_what_is_none():
    assert Options(mode="half").limit == 7 and Options(mode="half", limit=2).limit == 2 and Options().limit is None


def test_annotations_that_are_texts_are_read_where_they_can_be():
    @dataclass(frozen=True)
    class Readable:
        count: "Count" = 1

        def __post_init__(self):
            settle(self)

    @dataclass(frozen=True)
    class Own(Options):
        unknown: "OnlyForTypeCheckers" = 0  # noqa: F821

    with pytest.raises(OptionError, match="count is a whole number"):
        Readable(count=0)
    # What it inherits is held to its types all the same.
    with pytest.raises(OptionError, match="share is a number"):
        Own(share=2)


def test_several_checks_run_in_order():
    @dataclass(frozen=True)
    class Chain:
        value: Annotated[int, lambda option, value: value + 1, lambda option, value: 2 * value] = 1

        def __post_init__(self):
            settle(self)

    assert Chain().value == 4
