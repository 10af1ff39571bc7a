"""Detectors across data sets and manipulations: the matrix, its mean and pooled AUC, and methods left out."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from conftest import unmask
from test_evaluation import divided, paint, prepared, trained
from unmask.data.manifest import ManifestError
from unmask.data.source import Source
from unmask.data.split import Split
from unmask.reporting import across
from unmask.runs.predictions import predictions_path, write_predictions


def predictions(dataset: str, real, fake) -> pd.DataFrame:
    logit = np.array([*real, *fake], float)
    label = np.repeat([0, 1], [len(real), len(fake)])
    names = [f"{dataset}/{number}" for number in range(len(logit))]
    fixed = {"track": 0, "frame": 0, "time": 0.0, "dataset": dataset, "split": "test"}
    methods = np.where(label, "swap", "real")
    return pd.DataFrame({"item": names, "label": label, "method": methods, "logit": logit, **fixed})


def run_with(folder, **tables) -> SimpleNamespace:
    """A stand-in for a run: a folder of predictions, those of the own test split under the name `own`."""
    folder.mkdir()
    for name, table in tables.items():
        write_predictions(predictions_path(folder, "test", None if name == "own" else name), table, {})
    return SimpleNamespace(folder=folder, name=folder.name)


def test_the_matrix_by_hand(tmp_path):
    """On each set, the detector is perfect; pooled, the reals of one set score above the fakes of the other."""
    near, far = predictions("near", [-2, -1], [1, 2]), predictions("far", [3, 4], [5, 6])
    both = run_with(tmp_path / "both", own=near, far=far)
    alone = run_with(tmp_path / "alone", own=predictions("near", [0, 2], [1, 3]))
    found = across.matrix([both, alone], resamples=10)
    assert found.sets == ["near", "far"] and found.names == ["both", "alone"]
    assert [figure.value for figure in found.figures[0]] == [1.0, 1.0] and found.mean[0] == 1.0
    score, label = [-2, -1, 1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 0, 0, 1, 1]
    assert found.pooled[0] == pytest.approx(roc_auc_score(label, score)) and found.pooled[0] == 0.75
    own, missing = found.figures[1]
    assert own.value == 0.75 and missing is None and np.isnan(found.mean[1]) and np.isnan(found.pooled[1])
    assert not own.bounded  # four items have no interval
    nothing = across.matrix([run_with(tmp_path / "nothing", own=near.iloc[:0])])
    assert nothing.sets == [] and np.isnan(nothing.mean[0]) and np.isnan(nothing.pooled[0])


def manifest() -> pd.DataFrame:
    rows = [(f"{method}{number}", method) for method in ("real", "swap", "paint") for number in range(20)]
    table = pd.DataFrame(rows, columns=["item", "method"])
    label = (table["method"] != "real").astype(int)
    return table.assign(
        label=label, groups=[[f"g{at}"] for at in range(len(table))], source=None, predefined=None, rejected=None
    )


def test_a_method_left_out_is_only_tested():
    source = Source("set", "nowhere")
    split = Split("random_groups", 0.2, 0.3, leave_out=["paint"])
    items = split.divide(manifest(), None, source)[0]
    whole = Split("random_groups", 0.2, 0.3).divide(manifest(), None, source)[0]
    paint = items["method"] == "paint"
    assert set(items.loc[paint, "split"].dropna()) == {"test"} and items.loc[paint, "split"].isna().sum() > 5
    assert items.loc[~paint, "split"].equals(whole.loc[~paint, "split"])
    assert (items["split"] == "test").equals(whole["split"] == "test")  # the same test split
    assert "without fakes of paint in training" in split.words(items, source)
    with pytest.raises(ManifestError, match=r"leave_out=glue: expected some of paint, swap"):
        Split("random_groups", leave_out=["glue"]).divide(manifest(), None, source)


def test_a_part_of_the_training_items_is_used():
    source, shown = Source("set", "nowhere"), manifest()
    shown["groups"] = [[f"g{at // 2}"] for at in range(len(shown))]
    whole = Split("random_groups", 0.2, 0.3).divide(shown, None, source)[0]
    split = Split("random_groups", 0.2, 0.3, train_fraction=0.5)
    half = split.divide(shown, None, source)[0]
    kept, before = half["split"] == "train", whole["split"] == "train"
    assert half.loc[~before, "split"].equals(whole.loc[~before, "split"]), "validation and test do not depend on it"
    for label in (0, 1):
        assert 0.4 <= kept[shown["label"] == label].sum() / before[shown["label"] == label].sum() <= 0.6
    groups = shown["groups"].str[0]
    assert not set(groups[kept]) & set(groups[before & ~kept]), "whole groups"
    assert half.loc[before & ~kept, "split"].isna().all() and kept.sum() < before.sum()
    other = Split("random_groups", 0.2, 0.3, seed=0, train_fraction=0.5).divide(shown, None, source)[0]
    assert other["split"].equals(half["split"])
    assert "0.5 of the training items are used" in split.words(half, source)
    assert "of the training items" not in Split("random_groups").words(whole, source)


@pytest.mark.slow
def test_runs_on_data_sets_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMASK_DATA", str(tmp_path))
    prepared(tmp_path, divided(tmp_path / "data", train=6, val=6, test=12))
    folder = trained(tmp_path, "run")[0].folder
    for name in ("stylegan2_vs_ffhq", "ciplab"):
        for label in ("real", "fake"):
            paint(tmp_path / f"{name}_256" / label, 40, label, 3)
        unmask("prepare", f"data={name}", "data.recipe.crop_size=32", "prepare.num_workers=0", cwd=tmp_path)
    said = unmask("evaluate", f"run=[{folder}]", "data=stylegan2_vs_ffhq,ciplab", "trainer=cpu", cwd=tmp_path).stdout
    assert "AUC of" in said and "pooled" in said and f"run=[{folder}] shows this table as a heat map" in said
    said = unmask("report", f"run={folder}", "out=all.html", cwd=tmp_path).stdout
    page = (tmp_path / "all.html").read_text()
    assert "pooled" in said and "Across data sets" in page and page.count('style="--heat:') == 3
