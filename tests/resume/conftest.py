"""W&B as it is on a machine where nobody is logged in."""

import pytest


@pytest.fixture
def nobody_logged_in(monkeypatch, tmp_path):
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
