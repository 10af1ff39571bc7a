"""The first process of a training, the size of its batches, its identity on other hardware, a GPU for each job."""

import threading
import time

import pytest
from pytorch_lightning.strategies import FSDPStrategy

from conftest import compose
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.console import say, show
from unmask.data.datamodule import DataModule
from unmask.parallel.devices import own_gpu, visible_gpus
from unmask.ranks import VARIABLES, is_first, is_started_by_lightning
from unmask.runs.identity import run_id, seedless_id
from unmask.training.trainer import check


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "8", "LOCAL_RANK": "0"}, False),  # the first process of torchrun's second machine
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),  # SLURM sets SLURM_LOCALID, not LOCAL_RANK
        ({"LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "1"}, False),  # a command that a user typed on the second machine
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),  # started by Lightning in an interactive SLURM job
        ({"RANK": ""}, True),
    ],
)
def test_one_process_is_the_first(variables, first, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first() is first
    say("a line")
    show("a table")
    assert capsys.readouterr().out == ("a line\na table\n" if first else "")


def test_a_rank_that_is_not_a_number_is_named(monkeypatch):
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ValueError, match="environment variable RANK=first: expected the number of this process"):
        is_first()


def test_only_lightning_s_own_processes_follow_their_parent(monkeypatch):
    assert not is_started_by_lightning()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert is_started_by_lightning()
    monkeypatch.setenv("RANK", "1")  # torchrun ends its own processes
    assert not is_started_by_lightning()


def test_fsdp_is_composed_with_whole_checkpoints_and_needs_gpus():
    given = ["experiment=celebdf/videomae", "data.root=x", "trainer=fsdp", "paths.out=x"]
    settings = resolved(compose("train", given))["trainer"]
    strategy = build(settings["strategy"])
    assert isinstance(strategy, FSDPStrategy) and strategy._state_dict_type == "full"
    with pytest.raises(ValueError, match="trainer: The strategy `fsdp` requires a GPU"):
        check(settings | {"accelerator": "cpu", "devices": 1})


TRAINER = {"_target_": "pytorch_lightning.Trainer", "precision": "32-true", "max_epochs": 2}
HARDWARE = [
    {"devices": 8}, {"accelerator": "gpu"}, {"strategy": "ddp"}, {"num_nodes": 4}, {"default_root_dir": "x"},
    {"strategy": {"_target_": "pytorch_lightning.strategies.FSDPStrategy"}, "devices": -1},
]  # fmt: skip
RESULT = [{"precision": "bf16-mixed"}, {"max_epochs": 3}, {"accumulate_grad_batches": 2}, {"sync_batchnorm": True}]


@pytest.mark.parametrize("identity", [lambda config: run_id(config, "data"), seedless_id], ids=["run", "seedless"])
def test_hardware_is_no_part_of_a_run_s_identity(identity):
    def of(changed):
        return identity({"seed": 0, "data": {"batch_size": 8}, "trainer": TRAINER | changed})

    assert {of(changed) for changed in HARDWARE} == {of({})}
    assert len({of(changed) for changed in [{}, *RESULT]}) == 1 + len(RESULT)


@pytest.mark.parametrize(
    ("size", "balance", "processes", "each"),
    [(32, "classes", 4, 8), (75, "none", 1, 75), (12, "pairs", 3, 4), (75, "none", 2, None), (12, "pairs", 4, None)],
)
def test_batches_are_divided_among_processes_or_refused(size, balance, processes, each, make_data):
    data: DataModule = make_data(size, balance)
    if each is not None:
        assert data.samples_per_process(processes) == each
        return
    multiple = 2 * processes if balance == "pairs" else processes
    with pytest.raises(ValueError, match=rf"data.batch_size={size}: expected a multiple of {multiple}"):
        data.samples_per_process(processes)


@pytest.fixture
def make_data(tmp_path):
    from unmask.data.dataset import Sampling
    from unmask.data.loader import Loader
    from unmask.datasets.folder import Folder
    from unmask.media.pictures import WholePictures

    def make(size: int, balance: str) -> DataModule:
        parts = {"sampling": Sampling(balance=balance), "loader": Loader(batch_size=size), "prepared": tmp_path}
        return DataModule(Folder("x", tmp_path), WholePictures(), **parts)

    return make


def test_jobs_at_the_same_time_use_different_gpus(tmp_path):
    taken, most = [], []

    def job():
        with own_gpu(["0", "1"], tmp_path) as variables:
            taken.append(variables["CUDA_VISIBLE_DEVICES"])
            most.append(len(taken) - done[0])
            time.sleep(0.3)
            done[0] += 1

    done = [0]
    threads = [threading.Thread(target=job) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(taken) == 3 and set(taken) == {"0", "1"}
    assert max(most) == 2, "the third job waits until a GPU is free"


@pytest.mark.parametrize("gpus", [[], ["0"]])
def test_a_single_gpu_is_not_reserved(gpus, tmp_path):
    with own_gpu(gpus, tmp_path) as first, own_gpu(gpus, tmp_path) as second:
        assert first == second == {} and not list(tmp_path.iterdir())


def test_gpus_that_are_hidden_are_not_used(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible_gpus() == ["2", "5"]
