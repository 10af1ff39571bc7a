"""Score a finished run on a data set: its own test list again, or another one.

  unmask evaluate run=DIR                              its own test split
  unmask evaluate run=DIR data=celebdf_v1 data.root=DIR    another data set
  unmask evaluate -m run=DIR data=celebdf_v1,celebdf_v2
  unmask evaluate run=DIR judge=inception count=10000      a generator: FID, KID and more of its samples

The run brings its recipe (how faces are cropped), its sampling and its threshold along; other data must have been
prepared by that recipe, and the error says how. Predictions are written into the run's folder. Of a generator's run,
samples are judged: figures go into generation.json, the training pictures nearest to samples into nearest.png.
"""

from pathlib import Path
from typing import Any

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from unmask.commands._judging import judge_run
from unmask.commands._shell import console, fail_clearly, quiet, say
from unmask.commands.report import gather
from unmask.config import conf_dir, validate
from unmask.reporting import tables
from unmask.runs import Run, predictions_path, register_resolvers, write_predictions

register_resolvers()

# What a data set says for itself; everything else (recipe, sampling, sizes) is the run's.
OF_THE_DATA = (
    "_target_",
    "name",
    "root",
    "prepared",
    "protocol",
    "val_fraction",
    "split_seed",
    "demo",
    "test_fraction",
    "group",
    "compression",
    "methods",
    "run",
    "allow_duplicates",
)


def evaluate(cfg: DictConfig) -> float:
    """Score a run on one split and return its AUC over whole items; of a generator, the Frechet distance."""
    quiet()
    run = Run(Path(cfg.run))
    generator = "thresholds" not in run.metrics  # unfinished runs are refused before anything is loaded
    data, other = load_data(run, cfg)
    if generator:
        return judge_run(run, cfg, data, other)
    validate(cfg, "trainer")
    data.setup("test")
    module: Any = run.module()
    trainer: Trainer = instantiate(cfg.trainer, _convert_="all", logger=False, enable_checkpointing=False)
    scores = {"val": trainer.validate, "test": trainer.test}
    if cfg.split not in scores:
        raise ValueError(f"split={cfg.split}: choose val or test")
    scores[cfg.split](module, data, verbose=False)
    protocol = data.protocol_words(cfg.split) | {
        key: value
        for key, value in run.predictions("val").attrs["protocol"].items()
        if key in ("Selection", "Threshold")
    }
    if other:
        protocol["Trained on"] = run.build("data").name
    if not trainer.is_global_zero:
        return float("nan")
    path = predictions_path(run.folder, cfg.split, data.name if other else None)
    write_predictions(path, module.predictions, protocol)
    report = gather(run, cfg.resamples, cfg.split, data.name if other else None)
    console.print(tables.console([report]))
    say(f"predictions: {path}")
    figure = report.figure("video", "all", "auroc")
    return figure.value if figure else float("nan")


def load_data(run: Run, cfg: DictConfig) -> tuple[Any, bool]:
    """The data module to score, and whether it is another than the run's own."""
    other = cfg.get("data") is not None
    if not other:
        return run.build("data"), False
    settings = OmegaConf.create(OmegaConf.to_container(run.config.data, resolve=True))
    assert isinstance(settings, DictConfig)
    given = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(given, dict)
    for key in OF_THE_DATA:
        settings.pop(key, None)
        if key in given["data"]:
            OmegaConf.update(settings, key, cfg.data[key])
    validate(OmegaConf.create({"data": settings}), "data")
    made: Any = instantiate(settings, _convert_="all")
    return made, made.name != run.build("data").name


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="evaluate")
@fail_clearly
def main(cfg: DictConfig) -> float:
    """Run the verb."""
    return evaluate(cfg)


if __name__ == "__main__":
    main()
