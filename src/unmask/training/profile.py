"""Profile training steps: time spent on waiting for data, transfer, augmentation, forward, backward and optimizer."""

import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.profilers import Profiler

#: Maps the last component of a Trainer action's name to the part of a training step that the action belongs to.
PARTS = {
    "train_dataloader_next": "data wait",
    "batch_to_device": "transfer",
    "transfer_batch_to_device": "transfer",
    "on_after_batch_transfer": "scale, augment",
    "training_step": "forward",
    "backward": "backward",
    "optimizer_step": "optimizer",
    "optimizer_zero_grad": "optimizer",
    "lr_scheduler_step": "optimizer",
    "configure_gradient_clipping": "optimizer",
}
ORDER = (*dict.fromkeys(PARTS.values()), "callbacks", "Lightning")


class Profile(Callback):
    """Print how long each part of a training step took, excluding validation, checkpoints and the first step.

    On a GPU, the profiler waits for the device whenever a part ends, so that times are correct. This slows down steps.
    """

    def __init__(self) -> None:
        self.clock = StepClock()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install a new clock as the Trainer's profiler."""
        self.clock = StepClock(pl_module.device)
        trainer.profiler = self.clock  # type: ignore[attr-defined]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count the step; the first step, which allocates memory and selects kernels, is excluded from the times."""
        self.clock.end_step()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.clock.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Resume the clock."""
        self.clock.go_on()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table."""
        self.clock.pause()
        if self.clock.steps > 0:
            pl_module.print(self.clock.table())


class StepClock(Profiler):
    """Profiler that adds up the time of each part of a step; of nested actions, only the innermost is timed.

    Args:
        device: if this is a CUDA device, the clock waits for it whenever an action starts or stops.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        self.device = device
        self.seconds = dict.fromkeys(ORDER, 0.0)
        self.steps = -1  # the first step is not counted
        self._running: list[str] = []
        self._paused = False
        self._since = 0.0

    def start(self, action_name: str) -> None:
        """Start an action, which may be nested in another one."""
        self._tick()
        self._running.append(action_name)

    def stop(self, action_name: str) -> None:
        """Stop the innermost action, if it has this name."""
        self._tick()
        if self._running and self._running[-1] == action_name:
            self._running.pop()

    def end_step(self) -> None:
        """End a step."""
        self._tick()
        self.steps += 1

    def pause(self) -> None:
        """Stop measuring time."""
        self._tick()
        self._paused = True

    def go_on(self) -> None:
        """Resume measuring time."""
        self._tick()
        self._paused = False

    def shares(self) -> dict[str, float]:
        """Return each part's share of a step's time, in [0, 1]; the shares sum to 1."""
        total = sum(self.seconds.values()) or 1.0
        return {part: seconds / total for part, seconds in self.seconds.items()}

    def table(self) -> str:
        """Return a text table of each part's milliseconds per step and its share."""
        steps = max(self.steps, 1)
        total = 1000 * sum(self.seconds.values()) / steps
        lines = [f"a training step took {total:.2f} ms (mean of {steps} steps):"]
        for part, share in self.shares().items():
            lines.append(f"  {part:<15}{share * total:9.2f} ms {share:6.1%}  {'▇' * round(40 * share)}".rstrip())
        return "\n".join(lines)

    def _tick(self) -> None:
        if self.device is not None and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        action = self._running[-1] if self._running else ""
        if self.steps >= 0 and not self._paused and action != "save_checkpoint":
            self.seconds[_part(action)] += now - self._since
        self._since = now


def _part(action: str) -> str:
    """Return the part of a step that an action of the Trainer belongs to."""
    if action.startswith("[Callback]"):
        return "callbacks"
    return PARTS.get(action.rpartition(".")[2], "Lightning")
