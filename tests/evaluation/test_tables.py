"""Differences between networks: intervals over runs, and accuracies that confound them."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from livecam.evaluation.results import NetworkScores
from livecam.evaluation.scoring_module import columns_of
from livecam.evaluation.study import ScoringConfig
from livecam.evaluation.tables import difference_table, over_runs, study_of
from livecam.explain import by_names
from livecam.metrics import Sharpness
from livecam.metrics.summary import Figure


def student(found) -> list[float]:
    """Mean of two runs and its interval: the t quantile of one degree of freedom has a closed form."""
    quantile = math.tan(math.pi * 0.475)
    middle, error = np.mean(found), np.std(found, ddof=1) / math.sqrt(len(found))
    assert len(found) == 2 and quantile == pytest.approx(12.706, abs=1e-3)
    return [middle, middle - quantile * error, middle + quantile * error]


def test_students_interval_of_runs():
    # By hand: mean 2, standard deviation 1, and t(0.975, 2 degrees of freedom) = 4.302653.
    figure = over_runs([Figure(value, 0, 9) for value in (1.0, 2.0, 3.0)])
    reach = 4.302653 / math.sqrt(3)
    assert list(vars(figure).values()) == pytest.approx([2, 2 - reach, 2 + reach], abs=1e-6)
    assert over_runs([Figure(1.0, 0.5, 1.5)]) == Figure(1.0, 0.5, 1.5)


def answer(name: str, hits: int, of: int, kind: str, value: float = 0.5):
    """Scores of a network that answers so many images right."""
    rows = [
        {"index": str(i), "label": "0", "predicted": str(int(i >= hits)), "target": "0", "method": "cam"}
        | {"degenerate": "0", "failed": "0", **dict.fromkeys(columns_of(Sharpness()), repr(value))}
        for i in range(of)
    ]
    network = SimpleNamespace(label=name, kind=kind, mark=name)
    return SimpleNamespace(network=network, scores=NetworkScores(name, rows, ["cam"], [Sharpness()]))


@pytest.mark.parametrize(
    ("hits", "mark"),
    [
        ((150, 148), "confounded"),
        ((148, 150), "confounded"),
        ((150, 149), ""),
        ((150, 150), ""),
        ((150, 100), "confounded"),
    ],
)
def test_a_point_of_accuracy_confounds_a_difference(hits, mark):
    options = SimpleNamespace(target="label")
    asked = ScoringConfig(options, by_names(["cam", "centered_gaussian"]), [Sharpness()], ["sharpness"], None)
    # Of 200 images, two are one point.
    study = study_of([answer("a", hits[0], 200, "x"), answer("b", hits[1], 200, "y")])
    (table,) = difference_table(asked, study, Sharpness())
    (row,) = table.rows
    assert row[-1] == mark and row[0] == "CAM" and row[3].value == pytest.approx((hits[0] - hits[1]) / 200)
    assert any("Confounded" in note for note in table.notes) == bool(mark)
    # Of runs: their mean counts in the mean's row, their own in theirs.
    answers = [answer(f"a{i}", h, 200, "x") for i, h in enumerate((hits[0], 150))]
    answers += [answer(f"b{i}", h, 200, "y") for i, h in enumerate((hits[1], 150))]
    (table,) = difference_table(asked, study_of(answers), Sharpness())
    assert [row[-1] for row in table.rows] == [mark, mark, ""]
