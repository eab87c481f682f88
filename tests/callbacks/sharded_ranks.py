"""Run by test_sharded.py as two ranks: networks sharded by FSDP2 are explained, watched and trained."""

import sys
from functools import partial
from pathlib import Path

import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import distributed
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.toys import StagedNet, build, pictures
from sharded_data import METHODS, Halves, Uneven, classifier, watching

import livecam.training.classifier
from livecam.explain import explain
from livecam.runtime.fsdp import shard, unsharded_parameters


def plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def step(net: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """Gradients of a training step."""
    torch.manual_seed(1)
    net.train()(images).square().mean().backward()
    return [plain(parameter.grad) for parameter in net.parameters()]


def explained(rank: int) -> dict:
    """A toy, sharded and not, explained by every method; rank 1 does more than rank 0, and some of it fails."""
    images = pictures()
    alone = explain(build(StagedNet), images, METHODS)
    net = build(StagedNet)
    for part in (net.conv, net.fc):
        fully_shard(part)
    fully_shard(net)
    together = explain(net, images, METHODS)
    with torch.inference_mode():
        inside = explain(net, images, ["gradcam"])
    with unsharded_parameters(net):
        for _ in range(3 * rank):
            explain(net, images, ["gradcam"])
        if rank:
            handle = net.conv.register_forward_hook(lambda *_: 1 / 0)
            try:
                net(images)
            except ZeroDivisionError:
                handle.remove()
        shapes = [tuple(parameter.shape) for parameter in net.parameters()]
        again = explain(net, images, ["gradcam"])
    reference = build(StagedNet)
    return {
        "same": {name: torch.equal(alone[name].raw, together[name].raw) for name in alone},
        "contrast": {name: bool(~alone[name].degenerate.all()) for name in alone},
        "in inference mode": torch.equal(inside["gradcam"].raw, alone["gradcam"].raw),
        "after a failure": torch.equal(again["gradcam"].raw, alone["gradcam"].raw),
        "whole": shapes == [tuple(parameter.shape) for parameter in reference.parameters()],
        "sharded again": all(isinstance(parameter, DTensor) for parameter in net.parameters()),
        "gradients": [
            float((one - other).abs().max()) for one, other in zip(step(net, images), step(reference, images))
        ],
    }


class Noting(Callback):
    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].detach().clone())


def fit(folder: Path, watched: bool, epochs: int = 2, resume: str | None = None) -> dict:
    seed_everything(0, verbose=False)
    module, noting = classifier(), Noting()
    watchers = watching(Halves()) if watched else []
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy=ModelParallelStrategy(2, 1, save_distributed_checkpoint=False),
        max_epochs=epochs,
        accumulate_grad_batches=2,
        val_check_interval=2,
        callbacks=[noting, *watchers],
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=Uneven(), ckpt_path=resume)
    result = {
        "losses": noting.losses,
        "weights": {name: plain(value).clone() for name, value in module.state_dict().items()},
        "rng": torch.get_rng_state(),
        "units": sum(isinstance(part, FSDPModule) for part in module.modules()),
        "checkpoint": trainer.checkpoint_callback.best_model_path,
        "steps": trainer.global_step,
    }
    if watched:
        result |= {"scores": watchers[0].results, "passes": module.passes}
    return result


def divided() -> str:
    """What a strategy that would divide single layers is told."""
    try:
        Trainer(accelerator="cpu", devices=2, strategy=ModelParallelStrategy(1, 2), logger=False).fit(
            classifier(), datamodule=Uneven()
        )
    except ValueError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    # A small network has no large layers.
    livecam.training.classifier.shard = partial(shard, large=100)
    told = {"watched": fit(folder / "watched", True), "alone": fit(folder / "alone", False)}
    rank = distributed.get_rank()
    told["resumed"] = fit(folder / "resumed", False, 3, told["alone"]["checkpoint"])
    told["explained"] = explained(rank)
    told["divided"] = divided()
    torch.save(told, folder / f"rank{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
