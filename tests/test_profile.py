"""Where a step's time goes: by a clock that is turned by hand, and in a training of known waits."""

import time

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from unmask.training import profile
from unmask.training.profile import Profile, StepClock


def test_time_belongs_to_the_innermost_action(monkeypatch):
    now = iter([0, 1, 3, 6, 10, 15, 21, 28, 36, 45])
    monkeypatch.setattr(profile.time, "perf_counter", lambda: next(now))
    clock = StepClock()
    clock.end_step()  # 0: the clock starts
    clock.start("[_TrainingEpochLoop].train_dataloader_next")  # 1
    clock.stop("[_TrainingEpochLoop].train_dataloader_next")  # 3
    clock.start("[LightningModule]Detector.optimizer_step")  # 6
    clock.start("[Strategy]SingleDeviceStrategy.training_step")  # 10
    clock.stop("[Strategy]SingleDeviceStrategy.training_step")  # 15
    clock.stop("[LightningModule]Detector.optimizer_step")  # 21
    clock.start("[Callback]Progress.on_train_batch_end")  # 28
    clock.stop("[Callback]Progress.on_train_batch_end")  # 36
    clock.end_step()  # 45
    assert clock.steps == 1
    expected = {"data wait": 2, "forward": 5, "optimizer": 4 + 6, "callbacks": 8, "Lightning": 1 + 3 + 7 + 9}
    assert {part: seconds for part, seconds in clock.seconds.items() if seconds} == expected
    assert sum(clock.shares().values()) == pytest.approx(1)


def test_validation_and_checkpoints_do_not_count(monkeypatch):
    now = iter(range(0, 100, 10))
    monkeypatch.setattr(profile.time, "perf_counter", lambda: next(now))
    clock = StepClock()
    clock.end_step()  # 0
    clock.pause()  # 10
    clock.start("[Strategy]SingleDeviceStrategy.validation_step")  # 20
    clock.stop("[Strategy]SingleDeviceStrategy.validation_step")  # 30
    clock.go_on()  # 40
    clock.start("save_checkpoint")  # 50
    clock.stop("save_checkpoint")  # 60
    assert {part: seconds for part, seconds in clock.seconds.items() if seconds} == {"Lightning": 20}


class Slow(Dataset):
    """Eight samples, each 20 ms away."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        time.sleep(0.02)
        return torch.ones(2)


class Sleepy(LightningModule):
    """A step of 5 ms forward and 10 ms backward."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        time.sleep(0.005)
        loss = self.layer(batch).sum()
        loss.register_hook(lambda grad: time.sleep(0.01))
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_training_tells_what_it_waited_for(capsys):
    callback = Profile()
    Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, callbacks=[callback],
    ).fit(Sleepy(), DataLoader(Slow()))  # fmt: skip
    seconds = callback.clock.seconds
    assert callback.clock.steps == 7, "the first step is no measure"
    assert seconds["data wait"] >= 6 * 0.02 and seconds["forward"] >= 7 * 0.005 and seconds["backward"] >= 7 * 0.01
    assert seconds["data wait"] == max(seconds.values())
    told = capsys.readouterr().out
    assert "a training step took" in told and "data wait" in told and "backward" in told
