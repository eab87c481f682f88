import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import settings

pytest_plugins = ["pytester", "helpers.required_oracles"]

# Tiny nets gain nothing from threads and lose much on a busy machine.
torch.set_num_threads(1)
# The same examples on every run: a red build must be somebody's change.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of real photos and weights; without LIVECAM_DATA the test is skipped and says so."""
    folder = os.environ.get("LIVECAM_DATA")
    if not folder:
        pytest.skip("LIVECAM_DATA is not set: no real photos and weights")
    return Path(folder)


TINY = {
    "data": {
        "class_path": "PlantedShapesData",
        "init_args": {"image_size": 32, "train_length": 16, "val_length": 12, "batch_size": 8},
    },
    "model": {"model": "unet", "model_args": {"width": 4, "depth": 1}},
    "trainer": {
        "max_epochs": 1,
        "accelerator": "cpu",
        "devices": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "callbacks": [
            {"class_path": "ExplanationGallery", "init_args": {"explainers": [{"class_path": "GradCAM"}], "samples": 2}}
        ],
    },
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder, without W&B."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return tmp_path


@pytest.fixture
def config(here):
    """Writes the configuration of a tiny run, changed by a function, and tells its path."""

    def write(change=None) -> str:
        settings = json.loads(json.dumps(TINY))
        if change:
            change(settings)
        (here / "run.yaml").write_text(yaml.safe_dump(settings))
        return str(here / "run.yaml")

    return write


@pytest.fixture
def nobody_logged_in(monkeypatch, tmp_path):
    """W&B as it is on a machine where nobody is logged in."""
    import wandb

    # A run that another test has left open would be taken for this one's, and so would the mode that it had.
    wandb.finish()
    wandb.teardown()
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    # Its process would try to reach the server with it, and be waited for.
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield
    wandb.finish()
    wandb.teardown()
