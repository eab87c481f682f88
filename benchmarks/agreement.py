"""What is timed must be equal first: every implementation's result against livecam's in its convention."""

from dataclasses import asdict, dataclass

from contests import Contest, Peer
from torch import Tensor

TOLERANCE = 1e-6
"""Largest difference over the largest value, in double precision."""


class Disagreement(Exception):
    """Two implementations that should find the same do not."""


@dataclass(frozen=True)
class Check:
    """Outcome for one library.

    Args:
        agrees: Whether both found the same; None where no agreement is claimed.
        difference: Largest difference, relative to the largest value.
        why: Why no agreement is claimed.
    """

    agrees: bool | None
    difference: float | None
    why: str = ""


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference over livecam's largest value; infinite where that is zero, since anything agrees with it."""
    largest = float(ours.abs().max())
    return float((ours - theirs.to(ours)).abs().max()) / largest if largest > 0 else float("inf")


def checked(contest: Contest) -> dict[str, dict]:
    """Ask everybody once, in the contest's precision, which should be double.

    Returns:
        A :class:`Check` for each library, as JSON takes it.

    Raises:
        Disagreement: When a library that should agree does not.
    """
    return {peer.library: asdict(_check(contest, peer)) for peer in contest.peers}


def _check(contest: Contest, peer: Peer) -> Check:
    ours = contest.comparable((peer.like or contest.ours)())
    try:
        theirs = contest.comparable(peer.run())
    except Exception as error:
        return Check(None, None, f"fails in double precision with {type(error).__name__}")
    apart = difference(ours, theirs)
    if peer.like is None:
        return Check(None, apart, peer.why)
    if not apart <= TOLERANCE:
        raise Disagreement(f"{peer.library} and livecam differ by {apart:.1e} of the largest value")
    return Check(True, apart)
