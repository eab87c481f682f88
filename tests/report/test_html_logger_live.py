"""The local page at work: under a real trainer, and in a real browser."""

import html
import math
import re
import shutil
import subprocess
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from test_html_logger import HOSTILE, picture, read, series

from livecam.report.html.logger import HTMLLogger


class Tiny(pl.LightningModule):
    def __init__(self, width=2):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)

    def training_step(self, batch, _):
        loss = self.layer(batch).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, _):
        self.log("val/loss", self.layer(batch).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(tmp_path, **arguments):
    logger = HTMLLogger(str(tmp_path), name="run")
    trainer = pl.Trainer(
        max_epochs=2, logger=logger, log_every_n_steps=1, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, **arguments,
    )  # fmt: skip
    trainer.fit(Tiny(), *[torch.utils.data.DataLoader(torch.ones(4, 2), batch_size=2)] * 2)
    return logger


@pytest.mark.filterwarnings("ignore")
def test_as_logger_of_a_trainer(tmp_path):
    logger = fit(tmp_path)
    data = read(logger)
    assert data["status"] == "finished" and ["width", 2] in data["config"]
    assert list(series(data, "train/loss")) == [0, 1, 2, 3] and list(series(data, "val/loss")) == [1, 3]
    assert series(data, "epoch") == {0: 0, 1: 0, 2: 1, 3: 1}
    assert list((tmp_path / "run" / "checkpoints").glob("*.ckpt")), "checkpoints lie beside the page"


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_that_dies_says_failed(tmp_path):
    class Die(pl.Callback):
        def on_train_epoch_end(self, trainer, module):
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fit(tmp_path, callbacks=[Die()])
    assert read(HTMLLogger(str(tmp_path), name="run"))["status"] == "failed"


@pytest.mark.slow
def test_a_browser_shows_it(tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    logger = HTMLLogger(str(tmp_path), name="run", title=HOSTILE)
    logger.log_hyperparams({"class_names": {HOSTILE: HOSTILE}})
    for step in (0, 3, 6):
        logger.log_image("explanations/gallery", [picture(step), picture(step)], step, [HOSTILE, f"at {step}"])
        for method in ("cam", "gradcam"):
            logger.log_metrics({f"val/localization/{method}": step / 10, "epoch": step // 3}, step + 2)
        logger.log_metrics({"train/loss": 1.0, HOSTILE: math.nan, "__proto__": 2.0}, step)
        logger.log_metrics({"val/loss": 1.0, "val/explanation_seconds": 2.0}, step + 2)
    logger.log_table("Scores", ["method", HOSTILE], [[HOSTILE, 0.25]])
    logger.finalize("success")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        f"--disable-component-update --disable-sync --user-data-dir={tmp_path}/profile "
        "--virtual-time-budget=4000 --dump-dom"
    )
    url = Path(logger.path).resolve().as_uri()
    dom = subprocess.run([chromium, *flags.split(), url], capture_output=True, timeout=120, check=True).stdout.decode()

    body = re.sub(r"<(script|style)>.*?</\1>", "", dom, flags=re.S)
    sources = re.findall(r'<img[^>]*src="([^"]*)"', body)
    assert [source.split("?")[0] for source in sources] == [f"media/explanations-gallery-6-{i}.jpg" for i in (0, 1)]
    assert all('width="24" height="8"' in tag for tag in re.findall(r'<img[^>]*src="[^"]*"[^>]*>', body))
    assert "epoch 2 · step 6" in body and "finished" in body and "3 / 3" in body
    text = html.unescape(re.sub(r"<[^>]*>", "\n", body))
    legends = re.findall(r'<ul class="legend">(.*?)</ul>', body)
    names = [re.findall(r"<span>([^<]*)</span>", legend) for legend in legends]
    assert ["cam", "gradcam"] in names and ["train", "val"] in names, "grouped in one chart each"
    assert len(re.findall(r'<path class="line c', body)) == 2 + 2 + 1 + 1, "what lies folded is not drawn"
    assert "no finite value" in text and "__proto__" in text
    more = body[body.index('<details id="more"') :]
    assert "explanation_seconds" in more.split("</details>")[0] and "localization" not in more.split("</details>")[0]
    assert "onerror=" not in re.sub(r'"[^"]*"', "", "".join(re.findall(r"<[a-z][^>]*>", body)))
    owned = html.unescape(re.search(r"<title>(.*?)</title>", dom, re.S).group(1))
    assert owned.startswith("</script><img src=x")
    # title, caption, chart heading, configuration name and value, table column and cell
    assert text.count("document.title='owned'") >= 7
