"""Build a Trainer: check its config before data is read, adapt the Trainer to the module, handle signals."""

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.accelerators.cpu import CPUAccelerator
from pytorch_lightning.strategies import DDPStrategy

from unmask.config import Settings
from unmask.config.build import build as build_part
from unmask.parallel.processes import handle, terminate
from unmask.training.module import Module

UNUSED = "find_unused_parameters_true"  # suffix of Lightning's DDP strategies that search for unused parameters
ACCUMULATE = "accumulate_grad_batches"
DEVICES = ("gpu", "cuda", "mps", "tpu")  # accelerators that may be absent
SPAWNED = ("ddp_spawn", "ddp_fork", "ddp_notebook")


def check(settings: Settings) -> Trainer:
    """Check the settings of a Trainer and return a Trainer without loggers and callbacks.

    Raises:
        ValueError: a setting is invalid, according to this function or to Lightning.
    """
    for split, why in (
        ("train", "to score the weights without training, set trainer.max_epochs=0"),
        ("val", "the best weights and the threshold are chosen on the validation split"),
        ("test", "a run ends with an evaluation of the test split"),
    ):
        if settings.get(f"limit_{split}_batches") == 0:
            raise ValueError(
                f"trainer.limit_{split}_batches=0: expected a fraction above 0 or a number of batches; {why}"
            )
    if not isinstance(batches := settings.get(ACCUMULATE, 1), int) or batches < 1:
        raise ValueError(f"trainer.{ACCUMULATE}={batches}: expected a number of batches, 1 or more")
    for key in ("max_epochs", "max_steps"):
        if not isinstance(value := settings.get(key, -1), int | None) or isinstance(value, bool):
            raise ValueError(f"trainer.{key}={value}: expected a whole number, or -1 for no limit")
    _check_last_epoch(settings)
    trainer = _make(settings, {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False})
    cores = os.cpu_count() or 1
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > cores:
        raise ValueError(
            f"trainer.devices={trainer.num_devices}: expected at most {cores}, the number of this machine's CPU cores"
        )
    return trainer


def _check_last_epoch(settings: Settings) -> None:
    """Refuse a last epoch without validation: its weights, and those of the epochs before it, could not be chosen."""
    epochs, every = settings.get("max_epochs"), settings.get("check_val_every_n_epoch")
    if isinstance(epochs, int) and isinstance(every, int) and epochs > 0 and every > 0 and epochs % every:
        longer = f"trainer.max_epochs={epochs + every - epochs % every}"
        raise ValueError(
            f"trainer.max_epochs={epochs}: expected a multiple of trainer.check_val_every_n_epoch={every}, because "
            f"only weights of validated epochs can be chosen; set {longer}, or trainer.check_val_every_n_epoch=1"
        )


def processes(settings: Settings) -> int:
    """Return the number of processes of a training with this config, on all machines."""
    made = check(settings)
    return made.num_devices * made.num_nodes


def devices_of(settings: Settings) -> list[str]:
    """Return the devices of a Trainer with this config, such as `cuda:0`; on a CPU, `cpu` once per process."""
    made = check(settings)
    kind = made.strategy.root_device.type
    return [kind if kind == "cpu" else f"{kind}:{number}" for number in made.device_ids]


def build(settings: Settings, module: Module, callbacks: Sequence[Callback] = (), **options: Any) -> Trainer:
    """Build the Trainer for a module.

    Lightning refuses `accumulate_grad_batches` for modules with manual optimization, so these accumulate gradients
    themselves (`Module.accumulate`).

    Args:
        settings: the config of the Trainer.
        module: the module; if its `unused_parameters` is true, DDP searches for parameters without a gradient.
        callbacks: the callbacks.
        options: further arguments of the Trainer.

    Raises:
        ValueError: a setting is invalid.
    """
    found, strategy = check(settings).strategy, settings.get("strategy", "auto")
    if not module.automatic_optimization:
        module.accumulate = settings.get(ACCUMULATE, 1)
        settings = {key: value for key, value in settings.items() if key != ACCUMULATE}
    if module.unused_parameters and isinstance(found, DDPStrategy) and strategy in ("auto", "ddp", *SPAWNED):
        options["strategy"] = f"{strategy if strategy in SPAWNED else 'ddp'}_{UNUSED}"
    return _make(settings, {"callbacks": [*callbacks, Stoppable()], **options})


def _make(settings: Settings, options: Mapping[str, Any]) -> Trainer:
    try:
        return build_part({**settings, "_partial_": True})(**options)  # type: ignore[no-any-return]
    except Exception as error:  # Lightning raises many kinds of errors
        named = f"trainer.accelerator={kind}" if (kind := settings.get("accelerator")) in DEVICES else "trainer"
        hint = "" if named == "trainer" else "; to train on the CPU, set trainer=cpu"
        raise ValueError(f"{named}: {' '.join(str(error).split()).rstrip('.!')}{hint}") from error


class Stoppable(Callback):
    """Stop all processes at once on SIGTERM, and stop the other processes after an error in the first process.

    Lightning's own SIGTERM handler waits for the next batch and then notifies the other processes by a collective
    operation. This hangs if the other processes are waiting in a different operation. On SLURM with requeueing,
    Lightning's handlers are kept: on SIGUSR1, Lightning saves and requeues the job, and the SIGTERM that follows must
    not interrupt this.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """If Lightning requeues the job, reset SIGTERM, so that Lightning installs its own handler.

        If submitit started the job, ignore SIGUSR2: SLURM sends it to all processes of the job, and submitit, in the
        parent process, handles it by requeueing the job.
        """
        if _requeues(trainer):
            handle({signal.SIGTERM: signal.SIG_DFL})
        if "SUBMITIT_EXECUTOR" in os.environ and os.name == "posix":
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore our SIGTERM handler if `setup` removed it."""
        if _requeues(trainer):
            handle({signal.SIGTERM: terminate})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's SIGTERM handler with ours, unless Lightning requeues the job."""
        if not _requeues(trainer):
            handle({signal.SIGTERM: terminate})

    on_validation_start = on_test_start = on_train_start

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Kill the other processes, which would otherwise wait for this one."""
        others: list[Any] = getattr(trainer.strategy.launcher, "procs", [])
        for process in others:
            process.kill()
            process.wait()
        others.clear()  # otherwise Lightning, which watches them, would kill this process too


def _requeues(trainer: Trainer) -> bool:
    environment = trainer._accelerator_connector.cluster_environment
    return isinstance(environment, SLURMEnvironment) and environment.auto_requeue
