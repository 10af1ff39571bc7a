"""Start trainings as the jobs of one sweep, through any of Hydra's launchers: joblib, SLURM, Ray and others."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

from unmask.arguments import quote
from unmask.config import conf_dir
from unmask.console import say
from unmask.studies import sweep

PLACE = Path("outputs/tables")  # where a launcher writes its own files, such as the logs of SLURM jobs


class Launch:
    """Start trainings at once through one of Hydra's launchers, and wait until all of them have ended.

    Args:
        task: the function that runs one job; a launcher may pickle it and call it in another process or machine.
        choice: the overrides that choose the launcher, such as `hydra/launcher=slurm hydra.launcher.partition=gpu`.
    """

    def __init__(self, task: TaskFunction, choice: Sequence[str]) -> None:
        self.task, self.choice = task, [*choice, "hydra.mode=MULTIRUN"]

    def __call__(self, trainings: Sequence[Sequence[str]]) -> list[str | None]:
        """Run trainings, each given by its arguments of `unmask train`; return for each why it failed, or None.

        A launcher gives all its jobs the same size. Therefore, trainings whose config sets another size, such as
        another `trainer.num_nodes` with hydra/launcher=slurm, are started by a second launch after the first one.
        """
        jobs = [[quote(argument) for argument in arguments] for arguments in trainings]
        failed: list[str | None] = [None] * len(jobs)
        GlobalHydra.instance().clear()
        with sweep.running(), hydra.initialize_config_dir(conf_dir(), job_name="train", version_base="1.3"):
            masters = [self._master(job) for job in jobs]
            sizes = [json.dumps(OmegaConf.to_container(one.hydra.launcher, resolve=True)) for one in masters]
            for size in dict.fromkeys(sizes):
                at = [number for number, own in enumerate(sizes) if own == size]
                reasons = self._launch(masters[at[0]], [jobs[number] for number in at])
                for number, reason in zip(at, reasons, strict=True):
                    failed[number] = reason
        return failed

    def _master(self, job: Sequence[str]) -> DictConfig:
        """Return the config with the launcher of a job, which must depend on nothing but the launcher and its size."""
        config = hydra.compose("train", [*job, *self.choice], return_hydra_config=True)
        with read_write(config.hydra):
            config.hydra.sweep.dir = str(PLACE)
        return config

    def _launch(self, master: DictConfig, jobs: Sequence[list[str]]) -> list[str | None]:
        # The jobs have no callbacks: a job's training, a process of its own, has those of its config.
        context = HydraContext(GlobalHydra.instance().config_loader(), Callback())  # type: ignore[arg-type]
        launcher = Plugins.instance().instantiate_launcher(context, self.task, master)
        several = "s" if len(jobs) > 1 else ""
        say(f"\nstarting {len(jobs)} training{several} with {type(launcher).__name__}", style="bold")
        try:
            return [_failure(result) for result in launcher.launch(jobs, initial_job_idx=0)]
        except Exception as error:  # a job was killed, or the launcher itself failed
            return [f"the launcher failed: {type(error).__name__}: {error}"] * len(jobs)


def _failure(result: Any) -> str | None:
    """Return the reason for the failure of a job, which Hydra raises when the job's value is read."""
    try:
        result.return_value  # noqa: B018
    except Exception as error:
        return str(error)
    return None
