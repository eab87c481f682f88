"""`train.py` under launchers that start every rank by itself: torchrun on two hosts, and srun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.processes import free_port, run_ranks
from torch.distributed import TCPStore

from livecam import cli
from livecam.callbacks import ExplanationScores
from livecam.training.run_folder import run_name

pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")
TESTS = Path(__file__).parents[1]
TRAIN = str(TESTS.parent / "train.py")
# Whatever started the tests.
LAUNCHERS = ("SLURM_", "TORCHELASTIC_", "LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_", "LIVECAM_RUN")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(LAUNCHERS)]:
        monkeypatch.delenv(name)


@pytest.fixture
def run(config, here, monkeypatch):
    """A configuration for two nodes of one device, and a folder for each."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)

    def change(settings):
        settings["data"]["init_args"]["val_length"] = 13
        settings["trainer"] |= {"num_nodes": 2, "strategy": "ddp"}
        scores = {"class_path": "ExplanationScores", "init_args": {"explainers": ["gradcam"]}}
        settings["trainer"]["callbacks"] += [scores, {"class_path": "helpers.launched.Told"}]

    for host in "ab":
        (here / host).mkdir()
    return config(change)


def check_hosts(run, launcher):
    """Both ranks mean the same folder, one writes it, and one process scores the trained network as both did."""
    told = [json.loads(Path(host, "told.json").read_text()) for host in "ab"]
    assert [each["rank"] for each in told] == [0, 1] and {each["ranks"] for each in told} == {2}
    assert {each["launcher"] for each in told} == {launcher}
    assert told[0]["folders"] == told[1]["folders"] and told[0]["name"] == told[1]["name"]
    folder = Path("a", "runs", told[0]["name"])
    assert [*Path("a", "runs").iterdir()] == [folder]
    assert {path.name for path in folder.iterdir()} == {
        *("checkpoints", "data.js", "fit_config.yaml", "index.html", "media", "wandb")
    }
    assert len([*folder.glob("wandb/offline-run-*")]) == 1
    assert not Path("b", "runs").exists() and not Path("b", "wandb").exists(), "the second host wrote"
    checkpoint = next(folder.glob("checkpoints/*.ckpt"))
    alone = ["--trainer.num_nodes", "1", "--trainer.strategy", "auto", "--trainer.logger", "false", "--run", "one"]
    validated = cli.train(["validate", "-c", run, "--ckpt_path", str(checkpoint), *alone]).trainer
    (scores,) = (each for each in validated.callbacks if isinstance(each, ExplanationScores))
    for each in told:
        assert each["scores"].keys() == scores.results.keys()
        for key, values in scores.results.items():
            counts = key.endswith(("_n", "_undefined", "_degenerate"))
            assert each["scores"][key] == (values if counts else pytest.approx(values, abs=1e-6)), key
    return told


@pytest.mark.slow
def test_torchrun_on_two_hosts(run, here, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    apart = subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode == 0
    address = "10.77.0.1" if apart else "127.0.0.1"
    torchrun = f"{sys.executable} -m torch.distributed.run --nnodes 2 --nproc-per-node 1 --node-rank $NODE"
    torchrun += f" --master-addr {address} --master-port {free_port()} {TRAIN} fit -c {run}"
    command = ["bash", "-c", f"exec {torchrun}"]
    if apart:
        hosts = [["unshare", "--net", "bash", str(TESTS / "helpers" / "two_hosts.sh"), *command]]
        run_ranks(hosts, [{}], [here], 300)
    else:
        print("network namespaces are refused here: both hosts are this one")
        environments = [{"NODE": "0"}, {"NODE": "1", "TZ": "Asia/Tokyo"}]
        run_ranks([command] * 2, environments, [here / "a", here / "b"], 300)
    told = check_hosts(run, "TorchElasticEnvironment")
    assert {each["address"] for each in told} == {address}


@pytest.mark.slow
def test_srun_on_two_nodes(run, here, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    # As srun sets them for `--nodes 2 --ntasks-per-node 1`; "localhost" is a host that can be found without a cluster.
    job = {
        "SLURM_JOB_ID": "4242",
        "SLURM_STEP_ID": "0",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2",
        "SLURM_NODELIST": "localhost,elsewhere",
        "SLURM_JOB_NODELIST": "localhost,elsewhere",
        "MASTER_PORT": str(free_port()),
    }
    ranks = [job | {"SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank), "SLURM_LOCALID": "0"} for rank in (0, 1)]
    run_ranks([[sys.executable, TRAIN, "fit", "-c", run]] * 2, ranks, [here / "a", here / "b"], 300)
    told = check_hosts(run, "SLURMEnvironment")
    assert told[0]["name"] == "slurm_4242" and told[0]["address"] == "localhost"


def test_a_job_of_slurm_has_a_folder_for_each_step(monkeypatch, tmp_path):
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "8"}.items():
        monkeypatch.setenv(name, value)
    assert run_name(None, None, nodes=4) == "slurm_7"
    monkeypatch.setenv("SLURM_STEP_ID", "2")
    assert run_name(None, None) == "slurm_7_2"
    assert run_name("mine", None) == "mine"
    assert run_name(None, "runs/other/checkpoints/last.ckpt") == "other"
    # A single task need not agree with anybody: the agent of a sweep trains again and again.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    names = []
    for _ in range(3):
        names.append(run_name(None, None))
        Path("runs", names[-1]).mkdir(parents=True)
        # Set for the ranks that Lightning starts.
        monkeypatch.delenv("LIVECAM_RUN")
    assert names == ["slurm_7", "slurm_7_2", "slurm_7_3"]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert run_name(None, None) == "slurm_7", "back from the queue"
    # In a shell of a job every training is its own.
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert not run_name(None, None).startswith("slurm")


def test_ranks_of_torchrun_take_the_name_of_rank_zero(monkeypatch):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    names = {}
    for attempt in "01":
        for rank in "01":
            variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "RANK": rank, "LOCAL_RANK": rank}
            variables |= {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": attempt}
            variables["TORCHELASTIC_USE_AGENT_STORE"] = "True"
            # Left over from a training that started this one.
            variables |= {"LIVECAM_RUN": "stale"}
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            names[attempt, rank] = run_name(None, None)
            # What rank zero finds taken, the other need not.
            Path("runs", names[attempt, rank]).mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    with pytest.raises(ValueError, match="name it by --run"):
        run_name(None, None)
    assert names["0", "0"] == names["0", "1"] != names["1", "0"] == names["1", "1"] != "stale"


def test_several_nodes_without_a_launcher_are_asked_for_a_name(config, capsys):
    # First, because a training that is not refused would wait for the other node.
    with pytest.raises(ValueError, match="name it by --run"):
        run_name(None, None, nodes=2)
    with pytest.raises(SystemExit):
        cli.train(["fit", "-c", config(lambda settings: settings["trainer"].update(num_nodes=2))])
    assert capsys.readouterr().err.strip().endswith("or srun gives them one): name it by --run.")
