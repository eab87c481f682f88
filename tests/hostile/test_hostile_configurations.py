"""Configurations that mean harm, or are no configurations: one sentence, nothing executed, nothing built."""

import pytest
import yaml
from hostile_files import Malice, is_harmless

from livecam import cli
from livecam.core.safe_yaml import load_yaml
from livecam.evaluation.datasets import trained_on

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghi", "bcdefghij")
)
UNREAD = "The configuration cannot be read: "
REFUSED = {
    "object": ("model: !!python/object/apply:os.system ['touch {trace}']\n", f"{UNREAD}could not determine a const"),
    "name": ("model: {{model: !!python/name:os.system }}\n", f"{UNREAD}could not determine a constructor for the tag"),
    "laughs": (LAUGHS, f"{UNREAD}its aliases stand for more than 200000 values, or hold themselves."),
    "laughs in place": (f"{LAUGHS}model: {{{{model_args: {{{{width: *j}}}}}}}}\n", f"{UNREAD}its aliases stand for"),
    "holds itself": ("model: &a {{model_args: *a}}\n", f"{UNREAD}its aliases stand for more than"),
    "deep brackets": ("[" * 30_000, f"{UNREAD}its values lie more than 100 deep inside of each other."),
    "deep dashes": ("- " * 30_000 + "x", f"{UNREAD}its values lie more than 100 deep inside of each other."),
    "no end": ("model: [\n", f"{UNREAD}while parsing a flow node"),
    "two values": ("model: a: b\n", f"{UNREAD}mapping values are not allowed in this context at line 1"),
    "zero": ("model: \0\n", f"{UNREAD}unacceptable character"),
    "terminal": ("model: \x1b[2J\n", f"{UNREAD}unacceptable character"),
    "escaped terminal": ('"\\e[2J": 1\n', "There is no option '\\x1b[2J'."),
    "list": ("- 1\n", "The configuration should hold names and their values"),
    "empty": ("", "The configuration should hold names and their values"),
    "unknown key": ("nothing: 1\n", "There is no option 'nothing'."),
    "unknown key of the model": ("model: {{modell: a}}\n", "There is no option 'model.modell'. Did you mean model or"),
    "markup": ("'<img src=x onerror=alert(1)>[/red]': 1\n", "Spaces not allowed in keys: "),
    "function as data": (
        "data: {{class_path: os.system, init_args: {{command: 'touch {trace}'}}}}\n",
        "data: Import path os.system does not correspond to a subclass of LightningDataModule",
    ),
    "process as callback": (
        "trainer: {{callbacks: [{{class_path: subprocess.Popen, init_args: {{args: [touch, '{trace}']}}}}]}}\n",
        "trainer.callbacks: Import path subprocess.Popen does not correspond to a subclass of Callback",
    ),
    "process as logger": (
        "trainer: {{logger: {{class_path: subprocess.Popen, init_args: {{args: [touch, '{trace}']}}}}}}\n",
        "trainer.logger: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_one_sentence_and_nothing_happens(here, capsys, kind):
    text, sentence = REFUSED[kind]
    trace = here / "executed"
    (here / "run.yaml").write_text(text.format(trace=trace))
    with pytest.raises(SystemExit) as stop:
        cli.train(["fit", "-c", "run.yaml"])
    assert stop.value.code == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert told.startswith(f"error: {sentence}") and is_harmless(told) and len(told) < 1000
    assert not trace.exists() and [path.name for path in here.iterdir()] == ["run.yaml"]


@pytest.mark.parametrize("kind", ["object", "laughs", "holds itself", "deep dashes", "no end", "list"])
def test_the_configuration_of_a_finished_training_is_not_believed(tmp_path, kind):
    trace = tmp_path / "executed"
    (tmp_path / "fit_config.yaml").write_text(REFUSED[kind][0].format(trace=trace))
    with pytest.raises(ValueError, match=r"fit_config\.yaml does not say what the training's data were: leave out"):
        trained_on(str(tmp_path / "checkpoints" / "a.ckpt"), "leave out part")
    assert not trace.exists()


def test_honest_aliases_and_merges_are_read():
    names = [f"class {number}" for number in range(21_000)]
    text = yaml.safe_dump({"names": names}) + "base: &b {x: [1, 2]}\nown: {<<: *b, y: *b}\n"
    assert load_yaml(text) == {"names": names, "base": {"x": [1, 2]}, "own": {"x": [1, 2], "y": {"x": [1, 2]}}}


def test_only_the_safe_loader_holds_the_trap_back(tmp_path):
    """Elsewhere the same text is executed, so that the tests above show something."""
    text = yaml.dump(Malice(tmp_path / "executed"))
    with pytest.raises(yaml.YAMLError):
        load_yaml(text)
    assert not (tmp_path / "executed").exists()
    yaml.unsafe_load(text)
    assert (tmp_path / "executed").exists()
