"""Where the time of a training step goes: waiting for data, transfer, augmentation, forward, backward, optimizer."""

import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.profilers import Profiler

#: What the Trainer calls its actions (by how a name ends), and the part of a step that each belongs to.
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
    """Print at the end of training where a step's time went; validation, checkpoints and the first step do not count.

    On a GPU it waits for the device at each change of part, so that a part's time is its own; a step is slower for it.
    """

    def __init__(self) -> None:
        self.clock = StepClock()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to the Trainer's actions."""
        self.clock = StepClock(pl_module.device)
        trainer.profiler = self.clock  # type: ignore[attr-defined]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count; the first step, in which memory is allocated and kernels are chosen, only starts the clock."""
        self.clock.end_step()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.clock.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on."""
        self.clock.go_on()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell."""
        self.clock.pause()
        if self.clock.steps > 0:
            pl_module.print(self.clock.table())


class StepClock(Profiler):
    """Give each stretch of time to the innermost action that runs in it.

    Args:
        device: waited for at each change, where it works by itself.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        self.device = device
        self.seconds = dict.fromkeys(ORDER, 0.0)
        self.steps = -1  # the first one does not count
        self._running: list[str] = []
        self._paused = False
        self._since = 0.0

    def start(self, action_name: str) -> None:
        """An action begins inside the one that runs."""
        self._tick()
        self._running.append(action_name)

    def stop(self, action_name: str) -> None:
        """It ends."""
        self._tick()
        if self._running and self._running[-1] == action_name:
            self._running.pop()

    def end_step(self) -> None:
        """A step ends."""
        self._tick()
        self.steps += 1

    def pause(self) -> None:
        """What follows belongs to no step."""
        self._tick()
        self._paused = True

    def go_on(self) -> None:
        """Steps go on."""
        self._tick()
        self._paused = False

    def shares(self) -> dict[str, float]:
        """Each part's share of a step, in [0, 1]; together 1."""
        total = sum(self.seconds.values()) or 1.0
        return {part: seconds / total for part, seconds in self.seconds.items()}

    def table(self) -> str:
        """In lines: ms a step and the share of each part."""
        steps = max(self.steps, 1)
        total = 1000 * sum(self.seconds.values()) / steps
        lines = [f"a training step took {total:.2f} ms, the mean of {steps}:"]
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
    """The part of a step that an action of the Trainer belongs to."""
    if action.startswith("[Callback]"):
        return "callbacks"
    return PARTS.get(action.rpartition(".")[2], "Lightning")
