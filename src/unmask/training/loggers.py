"""The loggers of a run: build them, log the config and the test results, close them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pandas as pd
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.trainer.states import TrainerFn

from unmask.config import Settings
from unmask.config.build import build
from unmask.data.stores import Store, of_item
from unmask.metrics import detection
from unmask.reporting import pictures
from unmask.training.module import Module, data_of


def build_loggers(settings: Settings) -> list[Logger]:
    """Build the loggers of a config and log the whole config to each.

    Raises:
        ValueError: a logger's package is not installed, or its service returns an error.
    """
    loggers = []
    for name, node in (settings["logger"] or {}).items():
        if not isinstance(node, dict):
            continue
        # If a run starts over, the logger must replace the run's earlier data instead of resuming it.
        changed = {"resume": None} if settings["rerun"] and "resume" in node else {}
        try:
            logger = build(node | changed)
            logger.experiment  # noqa: B018 - opened here, so that errors occur before training
            logger.log_hyperparams(settings)
        except Exception as error:
            raise _in_words(str(name), error) from error
        loggers.append(logger)
    return loggers


def _in_words(name: str, error: Exception) -> Exception:
    """Return a ValueError with the error's message and advice on what to do; `error` itself if no advice is known."""
    if isinstance(error, ModuleNotFoundError):
        return ValueError(f"logger={name}: {error}. Install it (pip install {name}) or choose logger=csv")
    if type(error).__module__.startswith("wandb."):
        return ValueError(f"logger={name}: {error}. To keep everything on this machine, set WANDB_MODE=offline")
    return error


@contextmanager
def closing_loggers() -> Iterator[None]:
    """On exit, close the W&B run (as failed after an error), so that this process's next run cannot write to it."""
    try:
        yield
    except BaseException:
        _finish_wandb(1)
        raise
    _finish_wandb(0)


def _finish_wandb(exit_code: int) -> None:
    wandb: Any = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=exit_code)


class LogTestResults(Callback):
    """After the test, log plots and tables to loggers that accept images.

    The plots are `test/roc`, `test/confusion` and `test/errors` (faces with the largest errors). The table is
    `test/videos`, with one row per video. The threshold between real and fake is the one chosen on the validation split
    after training, with the best weights.

    Args:
        faces: maximum number of faces in `test/errors`; 0 leaves out this plot.
    """

    def __init__(self, faces: int = 0) -> None:
        self.faces = faces
        self._threshold = float("nan")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the threshold that the validation after training chose for the best weights."""
        table = _tables(pl_module)
        if trainer.state.fn == TrainerFn.VALIDATING and table is not None:
            self._threshold = detection.threshold(table)["video"]

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and log the plots and tables."""
        table = _tables(pl_module)
        shown = [logger for logger in trainer.loggers if isinstance(logger, tuple(SHOW))]
        if table is None or not shown or not trainer.is_global_zero:
            return
        results = _gather(table, self._threshold, data_of(trainer).samples["test"].store, self.faces)
        for logger in shown:
            next(show for kind, show in SHOW.items() if isinstance(logger, kind))(logger, results, trainer.global_step)


class _Shown(NamedTuple):
    roc: pictures.Picture
    confusion: pictures.Picture
    errors: list[pictures.Mistake]
    videos: pd.DataFrame


def _gather(table: pd.DataFrame, threshold: float, store: Store, most: int) -> _Shown:
    def face(item: str, track: int, frame: int) -> pictures.Picture:
        rows, pixels = of_item(store, item, [frame])
        found: pictures.Picture = pixels[rows["track"].to_numpy() == track][0].transpose(1, 2, 0)
        return found

    levels = detection.reported(table)
    videos = detection.videos(table)[["item", "method", "label", "score", "prob", "num"]]
    called = (
        (videos["score"] > threshold).map({True: "fake", False: "real"}).where(videos["score"].notna(), "not scored")
    )
    words = {"label": "truth", "num": "samples"}
    return _Shown(
        pictures.roc(levels),
        pictures.confusion(list(levels.values())[-1], threshold),
        pictures.mistakes(table, threshold, face, most),
        videos.assign(label=videos["label"].map({0: "real", 1: "fake"}), called=called).rename(columns=words),
    )


def _show_wandb(logger: WandbLogger, results: _Shown, step: int) -> None:
    logger.log_image("test/roc", [results.roc], step)
    logger.log_image("test/confusion", [results.confusion], step)
    if results.errors:
        faces, captions = [error.face for error in results.errors], [error.caption for error in results.errors]
        logger.log_image("test/errors", faces, step, caption=captions)
    logger.log_table("test/videos", dataframe=results.videos, step=step)


def _show_tensorboard(logger: TensorBoardLogger, results: _Shown, step: int) -> None:
    board: Any = logger.experiment
    board.add_image("test/roc", results.roc, step, dataformats="HWC")
    board.add_image("test/confusion", results.confusion, step, dataformats="HWC")
    if results.errors:
        board.add_image("test/errors", pictures.sheet(results.errors), step, dataformats="HWC")
    columns = results.videos.round({"score": 4, "prob": 4}).astype(str)
    rows = [columns.columns, ["---"] * len(columns.columns), *columns.to_numpy()]
    board.add_text("test/videos", "\n".join(f"| {' | '.join(row)} |" for row in rows), step)
    board.flush()


SHOW: dict[type[Logger], Callable[[Any, _Shown, int], None]] = {
    WandbLogger: _show_wandb,
    TensorBoardLogger: _show_tensorboard,
}


def _tables(module: LightningModule) -> pd.DataFrame | None:
    """Return the prediction table of the validation or test loop that just ended, or None if it made no table."""
    assert isinstance(module, Module)
    return None if module.results is None else module.results.table
