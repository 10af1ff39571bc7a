import math
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from conftest import compose
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.config.values import check_optimizers
from unmask.training.optimizers import ScaledRate
from unmask.training.schedules import constant, step, warmup_cosine

YAMLS = sorted((Path(__file__).parents[1] / "conf/module/scheduler").glob("*.yaml"))


def optimizer_at(*rates):
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def rates_of(schedule, steps, *rates):
    """The rate that each batch is trained with, per group."""
    optimizer = optimizer_at(*rates)
    scheduler = schedule(optimizer, steps)
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen if len(rates) > 1 else [rate for (rate,) in seen]


def test_constant():
    assert rates_of(constant, 50, 3e-4) == [3e-4] * 50


def test_step_is_mesonets():
    seen = rates_of(step, 5001, 1e-3)
    for at, expected in {0: 1e-3, 999: 1e-3, 1000: 1e-4, 1999: 1e-4, 2000: 1e-5, 3000: 1e-6, 4000: 1e-6}.items():
        assert seen[at] == pytest.approx(expected, rel=1e-9), at
    assert seen[5000] == pytest.approx(1e-6, rel=1e-9)


def test_step_by_hand():
    seen = rates_of(partial(step, every=2, factor=0.5, minimum=0.3), 8, 1.0)
    assert seen == pytest.approx([1, 1, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3])


def test_warmup_cosine_by_hand():
    # 5 of 25 rise in sixths; 20 fall: at 14.5 of 5..24 the cosine would be at its middle.
    seen = rates_of(partial(warmup_cosine, warmup=0.2, minimum=0.1), 25, 1.0)
    assert seen[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])
    assert (seen[14] + seen[15]) / 2 == pytest.approx(0.55)
    assert seen[15] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 10 / 19)) / 2)
    assert seen[24] == pytest.approx(0.1)
    assert max(seen) == seen[5] and seen[5:] == sorted(seen[5:], reverse=True)


def test_warmup_cosine_agrees_with_torch():
    optimizer = optimizer_at(0.02)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=39, eta_min=1e-4)
    expected = []
    for _ in range(40):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert rates_of(partial(warmup_cosine, warmup=0.0, minimum=1e-4), 40, 0.02) == pytest.approx(expected)


def test_the_rate_stays_at_the_minimum_after_the_end():
    optimizer = optimizer_at(1.0)
    scheduler = warmup_cosine(optimizer, 10, minimum=0.2)
    for _ in range(30):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2)


@pytest.mark.parametrize("schedule", [partial(step, every=1, minimum=0.01), partial(warmup_cosine, minimum=0.01)])
def test_groups_keep_their_own_rates_and_share_the_minimum(schedule):
    seen = rates_of(schedule, 20, 1.0, 0.1, 0.005)
    assert seen[-1] == pytest.approx([0.01, 0.01, 0.005])
    top = [max(rates) for rates in zip(*seen, strict=True)]
    assert top == pytest.approx([1.0, 0.1, 0.005])


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_schedule_steps(path):
    """A schedule that is made and never moves is a known defect; only `constant` may stand still."""
    schedule = instantiate(OmegaConf.load(path))
    seen = rates_of(schedule, 1200, 1e-3)
    assert all(math.isfinite(rate) and 0 <= rate <= 1e-3 for rate in seen)
    assert (len(set(seen)) > 1) == (path.stem != "constant")


@pytest.mark.parametrize("schedule", [partial(step, every=3), warmup_cosine, constant])
def test_resumes_from_tensors_and_numbers_alone(schedule, tmp_path):
    straight = rates_of(schedule, 20, 1e-3)
    optimizer = optimizer_at(1e-3)
    scheduler = schedule(optimizer, 20)
    for _ in range(7):
        optimizer.step()
        scheduler.step()
    torch.save({"o": optimizer.state_dict(), "s": scheduler.state_dict()}, tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    optimizer = optimizer_at(1e-3)
    scheduler = schedule(optimizer, 20)
    optimizer.load_state_dict(saved["o"])
    scheduler.load_state_dict(saved["s"])
    for expected in straight[7:]:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    "schedule",
    [
        partial(step, every=0),
        partial(step, factor=0.0),
        partial(step, minimum=-1.0),
        partial(warmup_cosine, warmup=1.0),
        partial(warmup_cosine, minimum=-1.0),
    ],
)
def test_senseless_arguments_are_refused(schedule):
    with pytest.raises(ValueError, match=r"^\w+=\S+: expected "):
        schedule(optimizer_at(1.0), 10)


@pytest.mark.parametrize("steps", [0, -1, math.inf])
def test_a_cosine_without_end_is_refused(steps):
    with pytest.raises(ValueError, match=r"max_epochs"):
        warmup_cosine(optimizer_at(1.0), steps)


@pytest.mark.parametrize(("batch_size", "per", "accumulate", "factor"), [(128, 16, 1, 8), (8, 32, 2, 0.5)])
def test_a_rate_is_scaled_by_the_samples_of_an_update(batch_size, per, accumulate, factor):
    inner = partial(torch.optim.SGD, lr=0.1)
    one, other = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    groups = [{"params": [one]}, {"params": [other], "lr": 3}]
    made = ScaledRate(inner, batch_size, per, accumulate)(groups)
    assert [group["lr"] for group in made.param_groups] == pytest.approx([0.1 * factor, 3 * factor])
    seen = []
    scheduler = warmup_cosine(made, 10, warmup=0.2)
    for _ in range(10):
        seen.append(made.param_groups[0]["lr"])
        made.step()
        scheduler.step()
    assert max(seen) == pytest.approx(0.1 * factor)  # the schedule has the scaled peak
    with pytest.raises(ValueError, match="per=0: expected the number of samples"):
        ScaledRate(inner, 8, 0)


def test_a_preset_takes_a_rate_per_device():
    given = ["experiment=celebdf/meso4", "data.root=x", "data.batch_size=128", "trainer.accumulate_grad_batches=2"]
    given += ["module/optimizer=scale_lr", "module/optimizer@module.optimizer.optimizer=adam", "paths.out=x"]
    given += ["module.optimizer.per=16", "module.optimizer.optimizer.lr=1e-4"]
    module = resolved(compose("train", given))["module"]
    check_optimizers(module)
    made = build(module["optimizer"])([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(made, torch.optim.Adam) and made.param_groups[0]["lr"] == pytest.approx(16e-4)
    module["optimizer"]["optimizer"]["lr"] = -1
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        check_optimizers(module)
