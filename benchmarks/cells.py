"""The cells of the table, and which of them fit into a budget."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple


class Cell(NamedTuple):
    """One method on one network, batch and precision."""

    net: str
    method: str
    batch: int
    precision: str
    size: int

    @property
    def key(self) -> str:
        """What the cell is called in results and in ``--only``."""
        return f"{self.net}/{self.method}/{self.batch}/{self.precision}/{self.size}"


# What docs/performance.md sets targets for.
AIMS = (
    ("resnet50", "gradcam", 8, "fp32"),
    ("resnet50", "family", 8, "fp32"),
    ("vgg16", "scorecam", 1, "fp32"),
    ("vgg16", "scorecam", 1, "bf16"),
)
# Few forwards: these run on every network.
CHEAP = ("gradcam", "family")
FIRST_BATCH = 8
# So many passes that one image stands for a batch.
PERTURBING = ("scorecam", "igos")


def matrix(
    nets: Iterable[str], methods: Iterable[str], batches: Iterable[int], precisions: Iterable[str], size: int
) -> list[Cell]:
    """All cells."""
    return [
        Cell(net, method, batch, precision, size)
        for net in nets
        for method in methods
        for batch in batches
        for precision in precisions
    ]


def rank(cell: Cell) -> int:
    """Order in which cells claim the budget: the targets, each method once, each network, then everything else."""
    if (cell.net, cell.method, cell.batch, cell.precision) in AIMS:
        return 0
    batch = 1 if cell.method in PERTURBING else FIRST_BATCH
    if (cell.net, cell.batch, cell.precision) == ("resnet18", batch, "fp32"):
        return 1
    if cell.method in CHEAP:
        return 2
    return 3


def within(
    cells: Sequence[Cell], cost: Callable[[Cell], float], budget: float
) -> tuple[dict[Cell, float], dict[Cell, str]]:
    """Choose cells by rank and then by cost, as long as they fit.

    Args:
        cells: All that are wanted.
        cost: Seconds that a cell is expected to take.
        budget: Seconds that all may take together.

    Returns:
        The chosen cells with their costs in the order of ``cells``, and why the others are left out.
    """
    costs = {cell: cost(cell) for cell in cells}
    left, chosen, reasons = budget, set(), {}
    for cell in sorted(cells, key=lambda cell: (rank(cell), costs[cell])):
        if costs[cell] <= left:
            left -= costs[cell]
            chosen.add(cell)
        else:
            reasons[cell] = f"over the budget: about {costs[cell] / 60:.1f} min"
    return {cell: costs[cell] for cell in cells if cell in chosen}, reasons
