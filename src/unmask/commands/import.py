"""Make a run from another detector's scores or from published weights, without training.

  unmask import scores=test.csv name=NAME                      scores of a detector: .csv, .parquet or .jsonl
  unmask import scores=test.csv validation=val.csv             fits the threshold to validation scores
  unmask import scores=all.csv "columns=[prob_*]"              several detectors, one run per column
  unmask import scores=all.csv names.item=id names.method=generator     other column names
  unmask import weights=FILE experiment=PRESET data=NAME data.root=DIR  weights of the preset's network

A table of scores has the columns item, label (0 or real, 1 or fake) and logit, score or prob. A logit is used as it
is; a score or prob is a probability and is converted to a logit. The run folder outputs/NAME/COLUMN has no weights, so
it can be reported and compared with other runs, but it cannot score other data. Published weights are scored on the
validation split, which determines the threshold, and on the test split. Their run folder outputs/NAME-FILE/ID can be
used like that of a training. Keras files (.h5) require a network with the argument `weights`; other files must be state
dicts.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from unmask.application import STORE, given, refuse_unread, typed_command, verb
from unmask.config.check import resolved
from unmask.console import quiet, say
from unmask.evaluation.scores import Scores, ScoresError, read_scores
from unmask.files import file_hash, printable
from unmask.runs.identity import prepared_hash, run_id
from unmask.runs.imported import Origin, write_run

OF_SCORES = ("scores", "validation", "columns", "names.", "name")


def import_scores(cfg: DictConfig) -> list[Path]:
    """Write one run folder for each column of scores, and return the folders.

    Raises:
        ScoresError: a table was rejected.
        RunError: a run folder exists but is not an earlier import, or a part of NAME/COLUMN is not a valid file name.
    """
    refuse_unread(OF_SCORES, "has no effect on an import of scores")
    path = Path(cfg.scores)
    name = str(cfg.name) if "name" in given() else path.stem
    folders, digest = list[Path](), file_hash(path) if path.is_file() else ""
    for scores, val in zip(*_tables(cfg, path, name), strict=True):
        table = scores.table[scores.table["split"] == "test"].reset_index(drop=True)
        if table["logit"].isna().all():
            say(f"{printable(scores.column)}: no test item has a score; skipped")
            continue
        folder = Path("outputs") / name / scores.column
        origin = Origin(path.name, scores.column, scores.words, digest, typed_command("import"))
        threshold = write_run(folder, f"{name}/{scores.column}" if cfg.columns else name, table, val, origin)
        _print_summary(scores, table, val, threshold)
        say(f"run: {folder}")
        folders.append(folder)
    if not folders:
        raise ScoresError(f"{printable(str(path))}: no test item has a score, so there is nothing to import")
    listed = str(folders[0]) if len(folders) == 1 else f"[{','.join(map(str, folders))}]"
    say(f"next: unmask report run={listed}")
    return folders


def _tables(cfg: DictConfig, path: Path, name: str) -> tuple[list[Scores], list[pd.DataFrame]]:
    """Return each detector's scores, and its validation rows, which are in the same file or in `cfg.validation`."""
    names = {key: str(value) for key, value in cfg.names.items()}
    columns: Sequence[str] = [cfg.columns] if isinstance(cfg.columns, str) else [str(one) for one in cfg.columns or ()]
    found = read_scores(path, names, columns, name)
    vals = [one.table[one.table["split"] == "val"] for one in found]
    if cfg.validation is not None:
        if len(vals[0]):
            raise ScoresError(
                f"{printable(str(path))} already has rows of the val split; omit validation={cfg.validation}"
            )
        more = Path(cfg.validation)
        read = read_scores(more, names, [one.column for one in found], name, "val")
        vals = [one.table[one.table["split"] == "val"] for one in read]
        if not len(vals[0]):
            raise ScoresError(f"validation={printable(str(more))}: the file has no rows of the val split")
        both = np.intersect1d(found[0].table["item"], vals[0]["item"])
        if len(both):
            raise ScoresError(
                f"{printable(str(more))}: the item '{printable(str(both[0]))}' is also in {printable(str(path))}; "
                "expected other items for validation, because the threshold is fitted to them"
            )
    return found, [val.reset_index(drop=True) for val in vals]


def _print_summary(scores: Scores, table: pd.DataFrame, val: pd.DataFrame, threshold: float) -> None:
    items = table.groupby("item").agg(label=("label", "first"), scored=("logit", "count"))
    real, missing = int((items["label"] == 0).sum()), int((items["scored"] == 0).sum())
    left = int((scores.table["split"] == "train").sum())
    held = "logits" if scores.words == "logits" else "probabilities, converted to logits"
    counted = f"{real} real and {len(items) - real} fake items, {missing} without a score"
    say(f"{printable(scores.column)} ({held}): {counted}")
    if left:
        say(f"  {left} rows of the train split were left out")
    fitted = f"fitted to {val['item'].nunique()} validation items" if len(val) else "not fitted (no validation rows)"
    say(f"  threshold {threshold:.2f}, {fitted}")


def import_weights(cfg: DictConfig) -> Path:
    """Score published weights on the validation and the test split, write the run folder and return it.

    Raises:
        ValueError: the config is invalid, or the file does not fit the network of the config.
    """
    # Importing Lightning takes seconds, and an import of scores does not need it.
    from unmask.commands import train
    from unmask.data.datamodule import build_data
    from unmask.evaluation.published import import_published
    from unmask.reporting import publish
    from unmask.runs.folder import clear, removed_if_unused
    from unmask.runs.identity import write_config

    quiet()
    _check_weights(cfg)
    path = Path(cfg.weights)
    cfg.name = cfg.name if "name" in given() else f"{cfg.name}-{path.stem}"
    folder = _folder(cfg, path)
    cfg.paths.out = str(folder)
    settings = train.check(cfg)
    data = build_data(settings["data"])
    if cfg.check:
        say("the config is valid")
        return folder
    train.check_arguments(data)
    if (folder / "metrics.json").is_file() and not cfg.rerun:
        say(f"already imported: {folder} (rerun=true starts over)")
    else:
        with removed_if_unused(folder, _is_chosen()):
            clear(folder)
            write_config(settings, folder)
            import_published(settings, data, path, folder, typed_command("import"))
    publish.show(folder, cfg.report)
    return folder


def _check_weights(cfg: DictConfig) -> None:
    """Reject a missing file, and keys that have an effect only with scores."""
    if unread := [key for key in given() if key.startswith(("validation", "columns", "names."))]:
        raise ValueError(f"{', '.join(unread)}: has no effect on an import of weights")
    if not Path(cfg.weights).is_file():
        raise FileNotFoundError(f"weights={printable(str(cfg.weights))}: there is no such file")


def _is_chosen() -> bool:
    return any(text.startswith("hydra.run.dir=") for text in HydraConfig.get().overrides.hydra)


def _folder(cfg: DictConfig, path: Path) -> Path:
    """Return the run folder: the folder that the user chose, or a folder named by a hash of config, data and file."""
    if _is_chosen():
        return Path(HydraConfig.get().runtime.output_dir)
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    plain = {str(key): value for key, value in plain.items()} | {"weights": file_hash(path)}
    return Path("outputs") / str(cfg.name) / run_id(plain, prepared_hash(resolved(cfg, *STORE)["data"]))


@verb("import")
def main(cfg: DictConfig) -> None:
    """Run `unmask import`."""
    if (cfg.scores is None) == (cfg.weights is None):
        raise ValueError(
            "expected either scores or weights: unmask import scores=FILE, or unmask import weights=FILE "
            "experiment=NAME data=NAME"
        )
    if cfg.weights is None:
        import_scores(cfg)
    else:
        import_weights(cfg)


if __name__ == "__main__":
    main()
