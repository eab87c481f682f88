"""W&B's own offline files are wound back: read by W&B's own reader, and nothing of them is lost."""

import shutil
from pathlib import Path

import pytest
from segments import quick_steps, rows_of, segments

from livecam.report.wandb_history import _BLOCK, records, wind_back
from livecam.report.wandb_logger import RunFolderWandbLogger

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nobody_logged_in")]
STEPS = 40


def logged(folder: Path, first: int, last: int, wound: int | None = None) -> Path:
    import wandb

    logger = RunFolderWandbLogger(str(folder), "run")
    assert logger.experiment.id == "run"
    if wound is not None:
        logger.wind_back(wound)
    for step in range(first, last):
        # Records of all sizes: several in a block of the file, and one in several blocks.
        logger.experiment.log({"text": "x" * (step % 4 * 12_000), "trainer/global_step": step}, commit=False)
        logger.log_metrics({"loss": 1.0}, step)
    wandb.finish()
    # Its process may still be writing.
    wandb.teardown()
    return folder / "run"


def test_wound_back_again_and_again(tmp_path):
    folder = logged(tmp_path, 0, STEPS)
    (file,) = folder.glob("wandb/offline-run-*/run-run.wandb")
    whole = file.read_bytes()
    assert len(whole) > 3 * _BLOCK and quick_steps(folder) == [list(range(STEPS))]
    ends = [end for _, end in records(whole)]
    assert ends[-1] == len(whole), "every record is understood"

    assert wind_back(folder, STEPS) == 0, "there is no such step"
    assert file.read_bytes() == whole
    logged(tmp_path, 30, 35, wound=30)
    assert quick_steps(folder) == [list(range(30)), list(range(30, 35))]
    logged(tmp_path, 12, 14, wound=12)
    assert quick_steps(folder) == [list(range(12)), [], [12, 13]], "the one that is written stays as it is"
    assert [kept.read_bytes() for kept in sorted(file.parent.glob("*.before-1"))] == [whole]
    assert len(list(folder.rglob("*.before-*"))) == 3

    # A fresh logger and a validation log without taking anything back.
    logged(tmp_path, 0, 1)
    assert quick_steps(folder) == [list(range(12)), [], [12, 13], [0]]
    # W&B itself reads them so.
    read = [[row["trainer/global_step"] for row in rows_of(part)] for part in segments(folder)]
    assert read == quick_steps(folder)


def test_what_was_uploaded_torn_or_is_of_another_form(tmp_path, caplog):
    folder = logged(tmp_path, 0, STEPS)
    (file,) = folder.glob("wandb/offline-run-*/run-run.wandb")
    whole = file.read_bytes()
    synced = file.with_name("run-run.wandb.synced")
    synced.touch()
    assert wind_back(folder, 5) == 0 and file.read_bytes() == whole, "the server has these rows"
    synced.unlink()
    assert wind_back(folder, 5, file) == 0 and file.read_bytes() == whole, "it is being written"

    # A kill of W&B's own process ends the file anywhere.
    ends = [end for _, end in records(whole)]
    for cut in (ends[-1] - 1, ends[-3] + 3, ends[len(ends) // 2] + 9, _BLOCK - 2, _BLOCK + 2):
        assert [end for _, end in records(whole[:cut])] == [end for end in ends if end <= cut]
    file.write_bytes(whole[: ends[-8] + 5])
    assert wind_back(folder, 20) == 1
    assert quick_steps(folder) == [list(range(20))]

    file.write_bytes(b"something else")
    assert wind_back(folder, 0) == 0 and file.read_bytes() == b"something else"
    assert "another form than W&B's files" in caplog.text
    shutil.rmtree(folder / "wandb")
    assert wind_back(folder, 0) == 0
