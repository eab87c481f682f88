import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

pytest_plugins = ["pytester", "required_oracles"]

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
