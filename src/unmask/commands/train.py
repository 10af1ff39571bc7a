"""Train one module on one data set, choose by validation, score the test list once.

  unmask train experiment=celebdf/meso4 data.root=DIR
  unmask train experiment=celebdf/cnn_lstm trainer.max_epochs=3 trainer=gpu logger=wandb
  unmask train -m experiment=celebdf/meso4,celebdf/cnn_lstm seed=0,1,2

The run's folder is outputs/NAME/ID, where ID stands for the config and the data: the same command finds the same
folder. A finished run is not run again, one that was killed goes on; rerun=true starts over. check=true validates the
config and stops. Presets lie in conf/experiment; unmask train --cfg job shows the whole config.
"""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning import LightningDataModule, LightningModule, Trainer, seed_everything

from unmask.commands._shell import fail_clearly, quiet, say
from unmask.config import conf_dir, validate
from unmask.metrics import detection
from unmask.runs import Run, predictions_path, register_resolvers, write_predictions

register_resolvers()


def train(cfg: DictConfig) -> float | None:
    """Build everything that the config names and run it; return the monitored metric, which a sweep optimizes."""
    validate(cfg)
    if cfg.check:
        say("the config is valid")
        return None
    out = Path(cfg.paths.out)
    if cfg.rerun:
        _clear(out)
    elif (out / "metrics.json").is_file():
        say(f"finished before: {out} (rerun=true starts over)")
        return float(Run(out).metrics["score"])
    quiet()
    seed_everything(cfg.seed, workers=True, verbose=False)
    data: LightningDataModule = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    module: LightningModule = instantiate(cfg.module, _convert_="all")
    trainer: Trainer = instantiate(cfg.trainer, _convert_="all", _partial_=True)(
        callbacks=_parts(cfg.callbacks), logger=_parts(cfg.logger)
    )
    try:
        return _run(trainer, module, data, out)
    finally:
        _finish_wandb()


def _run(trainer: Trainer, module: Any, data: Any, out: Path) -> float:
    """Fit, take the best weights, score validation (for the threshold) and then, once, test."""
    last = out / "checkpoints" / "last.ckpt"
    say(f"{'going on in' if last.is_file() else 'training in'} {out}")
    trainer.fit(module, data, ckpt_path=last if last.is_file() else None, weights_only=True)
    best = out / "checkpoints" / "best.ckpt"
    tables = {}
    for split, score in (("val", trainer.validate), ("test", trainer.test)):
        score(module, data, ckpt_path=best, weights_only=True, verbose=False)
        tables[split] = module.predictions
        if trainer.is_global_zero:
            protocol = data.protocol_words(split) | _selection(module, trainer)
            write_predictions(predictions_path(out, split), module.predictions, protocol)
    score_value = float(trainer.callback_metrics.get(module.monitor, float("nan")))
    figures = {split: detection.quick(table) for split, table in tables.items()}
    score_value = figures["val"].get(str(module.monitor).removeprefix("val/"), score_value)
    if trainer.is_global_zero:
        _write_metrics(out, module, score_value, tables["val"], figures)
    return score_value


def _selection(module: Any, trainer: Trainer) -> dict[str, str]:
    return {
        "Selection": f"the epoch of the best {module.monitor} on the validation split, "
        f"of {trainer.current_epoch} epochs; the test split was scored once, after that",
        "Threshold": "the one of the best balanced accuracy on the validation split",
    }


def _write_metrics(
    out: Path, module: Any, score: float, validation: pd.DataFrame, figures: dict[str, dict[str, float]]
) -> None:
    about = {
        "monitor": module.monitor,
        "score": score,
        "thresholds": detection.threshold(validation),
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "command": shlex.join(["unmask", "train", *_overrides()]),
        **figures,
    }
    temporary = out / "metrics.json.tmp"
    temporary.write_text(json.dumps(about, indent=2))
    temporary.replace(out / "metrics.json")


def _overrides() -> list[str]:
    """What was given on the command line, as it would be typed: without the quotes that Hydra's grammar wants."""
    if not HydraConfig.initialized():
        return []
    return [re.sub(r"^([\w.]+)='([^']*)'$", r"\1=\2", given) for given in HydraConfig.get().overrides.task]


def _parts(group: DictConfig | None) -> list[Any]:
    """The objects of a group whose options are named entries (callbacks, loggers)."""
    return list(instantiate(group or {}, _convert_="all").values())


def _clear(out: Path) -> None:
    """Forget an earlier run in this folder; .hydra has just been written anew."""
    for entry in out.iterdir() if out.is_dir() else ():
        if entry.name == ".hydra":
            continue
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _finish_wandb() -> None:
    """Close the W&B run, or the next job of a sweep would write into it."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        wandb.finish()


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="train")
@fail_clearly
def main(cfg: DictConfig) -> float | None:
    """Run the verb."""
    return train(cfg)


if __name__ == "__main__":
    main()
