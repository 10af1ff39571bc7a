"""The number of processes changes no result: draws, weights of batches, and whole runs with 1, 2 and 3 processes."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import TINY, unmask
from unmask.data.samplers import CountedSampler, ResumableLoader
from unmask.demo.paintings import render_paintings
from unmask.modules.diffusion import Diffusion
from unmask.modules.faceswap import FaceSwap, spread
from unmask.modules.gan import GAN
from unmask.training import trainer as trainers
from unmask.training.draws import Draws
from unmask.training.losses import BCE, BCEDice
from unmask.training.module import Module

# ---- samples, batches and random numbers ----


def samplers(size: int, batch: int, unit: int, world: int) -> list[CountedSampler]:
    def order(rng):
        return rng.permutation(size // unit * unit)

    return [CountedSampler(size, 3, order, unit, rank, world, batch // world) for rank in range(world)]


def batches(sampler: CountedSampler, batch: int) -> list[list[int]]:
    found = [index for _, index in sampler]
    each = batch // sampler.world_size
    return [found[at : at + each] for at in range(0, len(found), each)]


@pytest.mark.parametrize("unit", [1, 2])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_divide_each_batch_and_count_each_sample_once(unit, world):
    for size in range(unit, 40):
        whole = batches(samplers(size, 12, unit, 1)[0], 12)
        parts = [batches(sampler, 12) for sampler in samplers(size, 12, unit, world)]
        assert {len(part) for part in parts} == {len(whole)}, "all processes take the same number of steps"
        for sampler in samplers(size, 12, unit, world):
            assert len(ResumableLoader(range(size), batch_size=12 // world, sampler=sampler)) == len(whole)
        for number, batch in enumerate(whole):
            counts = [sampler.counts(number) for sampler in samplers(size, 12, unit, world)]
            assert {everywhere for _, everywhere in counts} == {len(batch)}
            units = [batch[at : at + unit] for at in range(0, len(batch), unit)]
            for rank, (part, (here, _)) in enumerate(zip(parts, counts, strict=True)):
                own = [index for one in units[rank::world] for index in one]
                assert here == len(own) and part[number] == (own or units[0]), "a process without a sample repeats one"


@pytest.mark.parametrize("unit", [1, 2])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("size", [12, 7, 2])
def test_draws_of_all_processes_are_those_of_one(unit, world, size):
    """Also if the last batch has fewer rows than there are processes."""

    def drawn(draws: Draws, count: int) -> list[torch.Tensor]:
        like = torch.zeros(count, 3)
        return [draws.normal(like, 5), draws.integers(10, like), draws.uniform(like, 2, 1), draws.normal(like)]

    one = drawn(Draws(7, 12, unit), size // unit * unit)
    for rank in range(world):
        rows = [row for at in range(0, len(one[0]), unit) for row in range(at, at + unit) if at // unit % world == rank]
        for ours, theirs in zip(drawn(Draws(7, 12, unit, rank, world), len(rows)), one, strict=True):
            assert torch.equal(ours, theirs[rows])
    again, other = drawn(Draws(7, 12, unit), 4), drawn(Draws(8, 12, unit), 4)
    assert torch.equal(again[0], one[0][:4]) or size < 4
    assert not torch.equal(again[0], other[0])


class Line(Module):
    """A module with one process's view of a batch that several divide."""

    def __init__(self, sampler: CountedSampler, number: int, whole: torch.Tensor | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.3, -0.2]))
        loader = ResumableLoader(range(sampler.size), batch_size=1, sampler=sampler)
        strategy = SimpleNamespace(reduce=lambda value, reduce_op: whole)
        self._trainer = SimpleNamespace(
            world_size=sampler.world_size, train_dataloader=loader, strategy=strategy, callback_metrics={}
        )
        self.on_train_batch_start({}, number)


@pytest.mark.parametrize("kind", [BCE, BCEDice])
@pytest.mark.parametrize("unit", [1, 2])
@pytest.mark.parametrize("world", [2, 3])
def test_the_average_of_the_gradients_is_that_of_the_mean_over_the_samples(kind, unit, world):
    """Of a loss that is a mean over samples, and of one that is not; by hand, for all batches of all sizes."""
    loss = kind()
    rng = torch.Generator().manual_seed(0)
    for size in range(unit, 30, unit):
        x, y = torch.randn(size, 4, 2, generator=rng), (torch.rand(size, 4, generator=rng) > 0.5).float()
        for number, batch in enumerate(batches(samplers(size, 12, unit, 1)[0], 12)):
            weight = torch.tensor([0.3, -0.2], requires_grad=True)
            expected = loss(x[batch] @ weight, y[batch])
            expected.backward()
            parts = [batches(sampler, 12)[number] for sampler in samplers(size, 12, unit, world)]
            found, gradient = backward(loss, x, y, parts, samplers(size, 12, unit, world), number)
            torch.testing.assert_close(found, expected.detach())
            torch.testing.assert_close(gradient, weight.grad)


def backward(loss, x, y, parts, processes, number):
    """The loss and the gradient of several processes, whose average DDP would compute."""
    whole, losses, gradients = None, [], []
    if isinstance(loss, BCEDice):
        weight = Line(processes[0], number).weight.detach()
        means = [loss.terms(x[part] @ weight, y[part]).mean(0) for part in parts]
        shares = [Line(sampler, number).share for sampler in processes]
        whole = sum(mean * share for mean, share in zip(means, shares, strict=True)) / len(parts)
    for part, sampler in zip(parts, processes, strict=True):
        module = Line(sampler, number, whole)
        logit = x[part] @ module.weight
        if isinstance(loss, BCEDice):
            value = loss.of(module.across(loss.terms(logit, y[part]).mean(0)), module.counts[1])
        else:
            value = loss(logit, y[part])
        module.backward(value)
        losses.append(value.detach() * module.share)
        gradients.append(module.weight.grad)
    return torch.stack(losses).mean(), torch.stack(gradients).mean(0)


def test_faces_of_the_preview_are_chosen_alike_from_any_parts():
    index, identity = torch.arange(50), torch.arange(50) % 3
    kept = spread(index, identity, 4)
    assert identity[kept].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert all(a < b for rows in index[kept].view(3, 4).tolist() for a, b in pairwise(rows))
    parts = [index[rank::4] for rank in range(4)]
    some = torch.cat([part[spread(index[part], identity[part], 4)] for part in parts])
    assert index[some][spread(index[some], identity[some], 4)].tolist() == kept.tolist()


def test_one_key_accumulates_gradients_of_every_module():
    settings = {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "accumulate_grad_batches": 3}
    for kind, automatic in ((Diffusion, True), (GAN, False), (FaceSwap, False)):
        module = kind.__new__(kind)
        Module.__init__(module)
        module.automatic_optimization = automatic
        made = trainers.build(settings, module, logger=False)
        assert (made.accumulate_grad_batches, module.accumulate) == ((3, 1) if automatic else (1, 3))
    for wrong in (0, "two", None):
        with pytest.raises(
            ValueError, match=rf"trainer\.accumulate_grad_batches={wrong}: expected a number of batches"
        ):
            trainers.check(settings | {"accumulate_grad_batches": wrong})


# ---- whole runs ----


class Case(NamedTuple):
    """A kind of module: the fixture of its data, and what makes it small and free of batch statistics."""

    place: str
    arguments: tuple[str, ...]


SIDE = 16
GENERATORS = ("data.sampling.frames_per_video=1", f"image_size={SIDE}", "callbacks.samples.count=4")
CASES = {
    "detector": Case("workplace", (
        "experiment=demo_celebdf/meso4", *TINY, "image_size=32", "module.network.dropout=0.0", "data.batch_size=12",
    )),
    "sound": Case("voices", (
        "experiment=demo_voices/lcnn", "data.sampling.seconds=1.0", "module.network.width=4",
        "module.network.dropout=0.0", "augment@data.augment=sound",
    )),
    "segmenter": Case("paintings", (
        "experiment=demo_deepfakeart/segmenter", "data.root=data", "data.recipe.crop_size=64",
        "data.split.val_fraction=0.3", "augment@data.augment=light", "image_size=32", "module.network.width=4",
    )),
    "vae": Case("portraits", (
        "experiment=celeba/vae", *GENERATORS, "module.encoder.filters=4", "module.decoder.filters=4",
        "module.encoder.outputs=16", "module.decoder.latent=8",
    )),
    "gan": Case("portraits", (
        "experiment=celeba/dcgan", *GENERATORS, "module/adversarial@module.loss=wgan_gp",
        "module/diffaug@module.augment=all", "module.discriminator.norm=none", "module.discriminator.filters=4",
        "module.generator.filters=4", "module.generator.latent=8", "module.d_steps=2", "module.ema=0.9",
        "module.optimizer_g.lr=5.0e-3", "module.optimizer_d.lr=2.0e-3",
    )),
    "stylegan2": Case("portraits", (
        "experiment=celeba/stylegan2_64", *GENERATORS, "module/penalty_g=path_length", "module.discriminator.group=3",
        "module.discriminator.filters=4", "module.discriminator.most=8", "module.generator.filters=4",
        "module.generator.most=8", "module.generator.latent=8", "module.generator.mapping=2", "module.ema=0.9",
        "module.penalty_d.every=2", "module.augment.images=50", "module.augment.every=1",
        "+trainer.limit_train_batches=4",
    )),
    "faceswap": Case("people_place", (
        "experiment=faceswap/smoke", f"image_size={SIDE}", "module/discriminator=dcgan",
        "module.discriminator.filters=4", "module.discriminator.norm=none", "module.network.filters=4",
        "module.network.latent=8",
    )),
    "diffusion": Case("portraits", (
        "experiment=celeba/diffusion", *GENERATORS, "module.denoiser.channels=[8,16]", "module.denoiser.attention=[4]",
        "module.denoiser.groups=4", "module.denoiser.head=8", "module.steps=2", "module.evaluate_every=1",
        "module.num_samples=5", "data.loader.attributes=[Male]", "module.schedule.num_train_timesteps=20",
    )),
}  # fmt: skip
THREE = ("detector",)  # also with three processes, on machines of their own
COMMON = (
    "trainer=cpu", "data.batch_size=6", "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "report=false",
    "latency=false", "explain=0", "handling=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def paintings(tmp_path_factory):
    place = tmp_path_factory.mktemp("paintings")
    render_paintings(place / "data", paintings=8, difficulty=0.0, workers=1)
    unmask("prepare", *CASES["segmenter"].arguments[:5], "prepare.num_workers=0", cwd=place)
    return place


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(place: Path, arguments: list[str], launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [sys.executable, *launcher, "-m", "frozen_norm", *arguments]
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), "COLUMNS": "200"}
    return subprocess.Popen(
        command, cwd=place, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(place: Path, arguments: list[str], processes: int) -> tuple[Path, str]:
    """Train with a number of processes; return the run folder and what was printed, by all processes."""
    name = f"processes/{arguments[0].rpartition('=')[2]}-{processes}"
    logs = place / "torchrun" / name
    given = [*arguments, f"name={name}"]
    if processes == 1:
        jobs = [start(place, given)]
    elif processes == 2:
        jobs = [start(place, [*given, "trainer.devices=2", "trainer.strategy=ddp"])]
    else:  # machines of one process each, because a machine with few cores refuses more processes than cores
        given += [f"trainer.num_nodes={processes}", "trainer.devices=1", "trainer.strategy=ddp"]
        nodes = ("--nnodes", str(processes), "--nproc-per-node", "1", "--master-addr", "127.0.0.1")
        nodes += ("--master-port", str(free_port()), "--redirects", "3", "--log-dir", str(logs))
        launchers = [("-m", "torch.distributed.run", *nodes, "--node-rank", str(rank)) for rank in range(processes)]
        jobs = [start(place, given, launcher) for launcher in launchers]
    said = [job.communicate(timeout=900) for job in jobs]
    printed = "".join(out + err for out, err in said)
    written = sorted(logs.rglob("std*.log"), key=lambda path: path.name, reverse=True)
    ours = "".join(path.read_text() for path in written)
    assert not any(job.returncode for job in jobs), printed + ours
    if written:  # torchrun warns if the machine of rank 0 leaves first; its own words do not concern us
        printed = ours
    (folder,) = (place / "outputs" / name).iterdir()
    return folder, printed


def figures(folder: Path) -> dict[str, float]:
    metrics = json.loads((folder / "metrics.json").read_text())
    found = {f"{split}/{name}": value for split in ("val", "test") for name, value in metrics[split].items()}
    return found | {name: metrics[name] for name in ("score", "best_epoch", "epochs", "parameters")}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if value.is_floating_point()}


def lines(printed: str, folder: Path) -> list[str]:
    """The printed lines, without what differs between two runs: their folder, times, and the number of processes."""
    text = re.sub(r"\(\d+\.\d s\)", "(s)", printed.replace(str(folder), "RUN").replace(folder.parent.name, "NAME"))
    return [re.sub(folder.name, "ID", line) for line in text.splitlines() if not line.startswith("batches of ")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(CASES))
def test_the_number_of_processes_changes_no_result(kind, request):
    """All figures of validation, test and training steps, the weights, the files and the printed lines."""
    found = request.getfixturevalue(CASES[kind].place)
    place, here = found if isinstance(found, tuple) else (found, [])
    if kind == "detector":
        here = [f"data.root={request.getfixturevalue('demo_root')}"]
    first, *others = CASES[kind].arguments
    arguments = [first, *here, *COMMON, *others]
    if "data.batch_size=12" in others:
        arguments.remove("data.batch_size=6")
    one, said = run(place, arguments, 1)
    assert said.count("epoch 1 of 2") == 1
    curves = pd.read_csv(one / "metrics.csv").drop(columns="train/samples_per_second")
    for processes in (2, 3) if kind in THREE else (2,):
        folder, printed = run(place, arguments, processes)
        assert lines(printed, folder) == lines(said, one), "each line once, and no warning"
        files = [sorted(str(path.relative_to(run)) for path in run.rglob("*")) for run in (folder, one)]
        assert files[0] == files[1], "no file of another process"
        expected = figures(one)
        assert figures(folder) == pytest.approx(expected, rel=1e-5, abs=1e-5, nan_ok=True)
        both = pd.read_csv(folder / "metrics.csv").drop(columns="train/samples_per_second")
        assert list(both) == list(curves)
        np.testing.assert_allclose(both, curves, rtol=1e-5, atol=1e-5)
        for (name, ours), theirs in zip(weights(folder).items(), weights(one).values(), strict=True):
            torch.testing.assert_close(
                ours, theirs, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.slow
def test_a_run_of_one_process_resumes_with_two(workplace, demo_root):
    """Killed within its first epochs; the run folder is the same, and the result that of a run that was not killed."""
    first, *others = CASES["detector"].arguments
    arguments = [first, f"data.root={demo_root}", *COMMON[:1], "trainer.max_epochs=8", *COMMON[3:], *others]
    assert start(workplace, [*arguments, "name=processes/whole"]).wait(900) == 0
    (whole,) = (workplace / "outputs/processes/whole").iterdir()
    given = [*arguments, "name=processes/killed", "callbacks.last.every_n_train_steps=1"]
    job = start(workplace, given)
    deadline = time.monotonic() + 300
    while not (found := list(workplace.glob("outputs/processes/killed/*/checkpoints/last.ckpt"))):
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    job.kill()
    job.communicate()
    folder = found[0].parents[1]
    assert not (folder / "metrics.json").exists(), "it was killed before its end"
    resumed = start(workplace, [*given, "trainer.devices=2", "trainer.strategy=ddp"])
    printed, wrong = resumed.communicate(timeout=900)
    assert resumed.returncode == 0, printed + wrong
    assert f"resuming from {folder / 'checkpoints'}" in printed
    assert [path.name for path in (workplace / "outputs/processes/killed").iterdir()] == [folder.name]
    assert figures(folder) == pytest.approx(figures(whole), rel=1e-4, abs=1e-4, nan_ok=True)
