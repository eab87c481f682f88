"""The classifier: its losses and schedule against closed forms, and what a real fit does to it."""

import math

import pytest
import torch
from lightning import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader

from livecam.training.checkpoint import load_classifier
from livecam.training.classifier import Classifier

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
    pytest.mark.filterwarnings("ignore:You are trying to `self.log"),
    pytest.mark.filterwarnings("ignore:No negative samples"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]
UNET = {"model": "unet", "model_args": {"width": 2, "depth": 1}}
LOGITS = {
    "softmax": [[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]],
    "binary": [[1.5], [-0.5]],
    "multilabel": [[2.0, -0.1, -1.0], [0.5, 1.5, -3.0]],
}
LABELS = {"softmax": [0, 2], "binary": [1, 1], "multilabel": [[1, 0, 1], [0, 0, 0]]}


def classifier(head="softmax", **kw):
    torch.manual_seed(0)
    return Classifier(**UNET, num_classes=2 if head == "binary" else 3, head=head, **kw)


class Reads(nn.Module):
    """Returns as logits what the images hold: the mean of each channel."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, images):
        return images.mean((2, 3))[:, : self.outputs]


def telling(head, **kw):
    """A classifier and a batch whose logits are LOGITS."""
    module = classifier(head, **kw)
    logits = torch.tensor(LOGITS[head])
    module.net = Reads(logits.shape[1])
    padded = torch.cat([logits, torch.zeros(2, 3 - logits.shape[1])], 1)
    return module, {"image": padded[:, :, None, None].expand(2, 3, 4, 4), "label": torch.tensor(LABELS[head])}


def by_hand(head, smoothing=0.0):
    """Mean loss, written out number by number."""
    losses = []
    for z, y in zip(LOGITS[head], LABELS[head]):
        if head == "softmax":
            log_p = [v - math.log(sum(math.exp(u) for u in z)) for v in z]
            losses.append(-(1 - smoothing) * log_p[y] - smoothing * sum(log_p) / len(z))
        else:
            for v, t in zip(z, y if head == "multilabel" else [y]):
                goal = t * (1 - smoothing) + 0.5 * smoothing
                losses.append(goal * math.log(1 + math.exp(-v)) + (1 - goal) * math.log(1 + math.exp(v)))
    return sum(losses) / len(losses)


def trainer(**kw):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(accelerator="cpu", logger=False, num_sanity_val_steps=0, **quiet | {"max_epochs": 1} | kw)


def loader(batches=2, size=4, classes=3):
    generator = torch.Generator().manual_seed(1)
    samples = [
        {"image": torch.randn(3, 16, 16, generator=generator), "label": i % classes} for i in range(batches * size)
    ]
    return DataLoader(samples, size)


@pytest.mark.parametrize("head", LOGITS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_training_loss(head, smoothing):
    module, batch = telling(head, label_smoothing=smoothing)
    assert float(module.training_step(batch, 0)) == pytest.approx(by_hand(head, smoothing), rel=1e-6)


@pytest.mark.parametrize("head", LOGITS)
@pytest.mark.parametrize("stage", ["val", "test"])
def test_validation_and_test_measure_without_smoothing(head, stage):
    module, batch = telling(head, label_smoothing=0.2)
    runner = trainer()
    run = runner.validate if stage == "val" else runner.test
    (measured,) = run(module, DataLoader([batch], batch_size=None), verbose=False)
    assert measured[f"{stage}/loss"] == pytest.approx(by_hand(head), rel=1e-6)
    if head != "multilabel":
        assert measured[f"{stage}/accuracy"] == 1 / 2
    else:
        # Of three predictions above a half one is right, and of two labels it is found.
        assert measured[f"{stage}/precision"] == pytest.approx(1 / 3)
        assert measured[f"{stage}/recall"] == 1 / 2
    more = {"softmax": {"accuracy"}, "binary": {"accuracy", "auroc"}}
    expected = {"loss"} | more.get(head, {"average_precision", "precision", "recall"})
    assert measured.keys() == {f"{stage}/{key}" for key in expected}


def test_auroc_of_a_binary_head():
    """The share of (dog, wolf) pairs in the right order: 3 of 4."""
    module = classifier("binary")
    module.net = Reads(1)
    scores, labels = torch.tensor([-1.0, 0.5, 0.2, 2.0]), torch.tensor([0, 0, 1, 1])
    batch = (scores[:, None, None, None].expand(4, 3, 2, 2), labels)
    (measured,) = trainer().validate(module, DataLoader([batch], batch_size=None), verbose=False)
    assert measured["val/auroc"] == pytest.approx(3 / 4)


def test_many_classes_have_a_top5_accuracy():
    module = Classifier(**UNET, num_classes=7)
    ranks = torch.arange(7.0).flip(0)
    module.net = Reads(7)
    batch = (ranks[:, None, None].expand(4, 7, 2, 2), torch.tensor([0, 4, 5, 6]))
    (measured,) = trainer().validate(module, DataLoader([batch], batch_size=None), verbose=False)
    assert (measured["val/accuracy"], measured["val/accuracy_top5"]) == (1 / 4, 2 / 4)


@pytest.mark.parametrize("head", LOGITS)
def test_predictions(head):
    module, batch = telling(head)
    (found,) = trainer().predict(module, DataLoader([batch], batch_size=None))
    probabilities = {
        "softmax": [[math.exp(v) / sum(math.exp(u) for u in z) for v in z] for z in LOGITS[head]],
        "binary": [[1 / (1 + math.exp(z[0])), 1 / (1 + math.exp(-z[0]))] for z in LOGITS[head]],
        "multilabel": [[1 / (1 + math.exp(-v)) for v in z] for z in LOGITS[head]],
    }[head]
    assert torch.allclose(found["probabilities"], torch.tensor(probabilities))
    assert found["prediction"].tolist() == {"softmax": [0, 1], "binary": [1, 0], "multilabel": [0, 1]}[head]
    bare = module.predict_step(batch["image"], 0)
    assert torch.equal(bare["prediction"], found["prediction"])


class Watch(Callback):
    """Notes the learning rate of every step, and the optimizer."""

    def __init__(self):
        self.rates, self.optimizer = [], None

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.optimizer = optimizer
        self.rates.append([group["lr"] for group in optimizer.param_groups])


def fitted(module, batches=5, **kw):
    watch = Watch()
    trainer(callbacks=[watch], **kw).fit(module, loader(batches))
    return watch


def test_learning_rate_warms_up_and_falls_as_a_half_cosine():
    rates = fitted(classifier(lr=0.4, warmup=0.3), max_epochs=2).rates
    rising = [0.4 / 3, 0.8 / 3, 0.4]
    falling = [0.2 * (1 + math.cos(math.pi * step / 7)) for step in range(7)]
    assert [rate for rate, _ in rates] == pytest.approx(rising + falling)
    assert all(one == other for one, other in rates)


def test_learning_rate_without_warmup_starts_at_its_peak():
    rates = fitted(classifier(lr=0.4, warmup=0.0), max_epochs=1).rates
    assert rates[0][0] == rates[1][0] == 0.4 and rates[2][0] < 0.4


def test_schedule_counts_optimizer_steps_not_batches():
    rates = fitted(classifier(lr=1.0, warmup=0.5), batches=8, accumulate_grad_batches=2).rates
    assert [rate for rate, _ in rates] == pytest.approx([0.5, 1, 1, 0.5])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decay_spares_biases_and_norms(optimizer):
    module = classifier(optimizer=optimizer, weight_decay=0.03, momentum=0.7)
    found = fitted(module, batches=1).optimizer
    norms = {id(p) for m in module.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    spared = norms | {id(p) for name, p in module.named_parameters() if name.endswith("bias")}
    decays = [(id(p), group["weight_decay"]) for group in found.param_groups for p in group["params"]]
    assert sorted(key for key, _ in decays) == sorted(map(id, module.parameters()))
    assert all(decay == (0 if key in spared else 0.03) for key, decay in decays)
    assert type(found) is {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer]
    if optimizer == "sgd":
        assert found.defaults["momentum"] == 0.7 and found.defaults["nesterov"]


def test_sgd_without_momentum_runs():
    fitted(classifier(optimizer="sgd", momentum=0.0), batches=1)


def state(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.parametrize("freeze", [True, False])
def test_a_frozen_backbone_does_not_move(freeze):
    module = classifier(freeze_backbone=freeze, lr=0.1)
    before = state(module)
    # In two epochs with a validation between, after which modes have to be as before.
    watch = Watch()
    trainer(callbacks=[watch], max_epochs=2).fit(module, loader(), loader())
    moved = {key for key, value in state(module).items() if not torch.equal(value, before[key])}
    head = {"net.head.weight", "net.head.bias"}
    if freeze:
        assert moved == head
        assert {id(p) for group in watch.optimizer.param_groups for p in group["params"]} == {
            id(p) for p in module.net.head.parameters()
        }
    else:
        assert head < moved and any("running_mean" in key for key in moved)


def test_a_frozen_backbone_stays_in_eval_mode():
    module = classifier(freeze_backbone=True)
    assert module.train() is module and module.training and module.net.head.training
    assert not any(m.training for m in module.net.modules() if isinstance(m, nn.BatchNorm2d))
    assert not any(m.training for m in module.eval().modules())
    assert all(m.training for m in classifier().train().modules())


def test_it_learns():
    """Images told apart by their color."""
    module, runner = classifier(lr=0.02), trainer(max_epochs=25)
    noise = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    images = torch.eye(3).repeat(8, 1)[:, :, None, None] + 0.1 * noise
    data = DataLoader([{"image": image, "label": i % 3} for i, image in enumerate(images)], 12)
    runner.fit(module, data, data)
    assert runner.callback_metrics["val/accuracy"] == 1 and runner.callback_metrics["train/accuracy"] == 1
    assert runner.callback_metrics["val/loss"] < 0.7 * math.log(3)


def test_checkpoint_of_a_fit_round_trips(tmp_path):
    names = ("ant", "bee", "cat")
    module = classifier(class_names=names, image_size=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2), resize="squash")
    runner = trainer(max_epochs=1)
    runner.fit(module, loader())
    runner.save_checkpoint(tmp_path / "a.ckpt")
    images = torch.randn(2, 3, 16, 16)
    expected = module.eval()(images)
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert content["hyper_parameters"]["class_names"] == list(names)
    again = load_classifier(tmp_path / "a.ckpt")
    assert torch.equal(again(images), expected) and again.hparams.resize == "squash"
    lightning = Classifier.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True).eval()
    assert torch.equal(lightning(images), expected)
    trainer(max_epochs=2).fit(classifier(), loader(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)


def test_metrics_leave_no_trace_in_checkpoints():
    assert all(key.startswith("net.") for key in classifier("multilabel").state_dict())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"optimizer": "adam"}, "optimizer='adam' is not one of adamw, sgd. Did you mean adamw"),
        ({"head": "softmx"}, "Unknown head 'softmx'.*Did you mean softmax"),
        ({"head": "binary", "num_classes": 3}, "binary head has two classes, but there are 3: use head=softmax"),
        ({"class_names": ["a", "b"]}, "2 class names were given for 3 classes"),
        ({"label_smoothing": 1.0}, r"label_smoothing is in \[0, 1\), got 1.0"),
        ({"label_smoothing": -0.1}, r"label_smoothing is in \[0, 1\), got -0.1"),
        ({"warmup": 1.5}, r"warmup is a share of all steps, 0 to 1, got 1.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Classifier(**UNET | {"num_classes": 3} | arguments)


def test_a_training_without_end_has_no_schedule():
    with pytest.raises(ValueError, match=r"set trainer\.max_epochs or max_steps"):
        trainer(max_epochs=-1).fit(classifier(), loader())
