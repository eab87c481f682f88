"""A network that FSDP2 spreads over two real processes is explained, scored and trained as a whole one is."""

from pathlib import Path

import pytest
import torch
from helpers.processes import run_script
from lightning import Trainer
from lightning.pytorch.strategies import FSDPStrategy
from sharded_data import Uneven, watching

from livecam.training.checkpoint import load_classifier

SCRIPT = Path(__file__).with_name("sharded_ranks.py")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Found .* in eval mode")
def test_a_sharded_network_is_watched_as_a_whole_one(tmp_path):
    run_script(SCRIPT, tmp_path)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    for told in ranks:
        check_explained(**told["explained"])
        check_undisturbed(told["watched"], told["alone"])
        assert "data_parallel_size" in told["divided"]
        # The optimizer goes on, too.
        assert told["resumed"]["steps"] == 6 and told["resumed"]["units"] > 5
    # The second rank took further passes, for a method that failed, and fewer for images with fewer categories.
    assert ranks[0]["watched"]["passes"] != ranks[1]["watched"]["passes"]
    check_saved(ranks)


class OnCpu(FSDPStrategy):
    """Lightning asks for GPUs where the class is FSDPStrategy itself."""


def test_the_first_version_of_fsdp_is_refused():
    trainer = Trainer(accelerator="cpu", devices=1, strategy=OnCpu(), logger=False)
    for watcher in watching():
        with pytest.raises(ValueError, match=r"flattens the parameters .* use ModelParallelStrategy"):
            watcher.setup(trainer, None, "fit")


def check_explained(same, contrast, gradients, **facts):
    assert len(same) == 14 and all(same.values()), same
    assert all(contrast.values())
    assert max(gradients) < 1e-6, "it trains as before"
    assert all(facts.values()), facts


def check_undisturbed(watched, alone):
    assert watched["units"] == alone["units"] > 5
    assert len(alone["losses"]) == 8 and all(map(torch.equal, watched["losses"], alone["losses"]))
    assert watched["weights"].keys() == alone["weights"].keys()
    for name, value in alone["weights"].items():
        assert torch.equal(watched["weights"][name], value), name
    assert torch.equal(watched["rng"], alone["rng"])


def check_saved(ranks):
    """The checkpoint is a whole one: `explain.py` reads it, and one process scores it as the two did."""
    saved = load_classifier(ranks[0]["watched"]["checkpoint"])
    weights = ranks[0]["watched"]["weights"]
    assert all(torch.equal(value, weights[name]) for name, value in saved.state_dict().items())
    scores, *_ = watching()
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[scores],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.validate(saved, datamodule=Uneven(), verbose=False)
    assert scores.results["energy_in_mask_n"]["gradcam"] > 9
    for told in ranks:
        for key, values in scores.results.items():
            for method, value in values.items():
                counts = key.endswith(("_n", "_undefined", "_degenerate"))
                found = told["watched"]["scores"][key][method]
                assert found == (value if counts else pytest.approx(value, abs=1e-6)), (key, method)
        failed = told["watched"]["scores"]["energy_in_mask_n"]
        assert 0 < failed["halves"] < failed["gradcam"]
