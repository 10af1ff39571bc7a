"""Runs that differ only in their seed: which they are, and their mean and deviation against NumPy's."""

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from conftest import TINY, unmask
from test_report import predictions, report, text_of
from unmask.reporting import page, tables
from unmask.reporting.seeds import by_seed
from unmask.runs.run import Run

METHODS = ("swap", "temporal")


def run(seed, group="a", skill=1.5, **protocol):
    """A run of the preset `meso4` with this seed."""
    words = {"Data": "toy", "Split": "official", "Manifest": "m", "Seed": str(seed)} | protocol
    table = predictions(seed=seed, skill=skill, methods=METHODS)
    name = "meso4" + (f" (seed {seed})" if seed else "")
    return report(table, name, preset="meso4", seedless_id=group, protocol=words)


def test_only_runs_that_differ_in_nothing_but_the_seed_are_grouped():
    a, b, c = (run(seed) for seed in range(3))
    assert [group.runs for group in by_seed([a, run(0, "b"), b, c])] == [[a, b, c]]
    assert [len(group.runs) for group in by_seed([a, b, run(0, "b"), run(1, "b")])] == [2, 2]
    assert not by_seed([a, run(1, Manifest="other")]), "other prepared data"
    assert not by_seed([a, run(1, Data="other")]), "another test set"
    assert not by_seed([a, run(0)]), "the same seed twice"
    assert not by_seed([run(0, ""), run(1, "")]), "imported scores have no seed"
    assert not by_seed([a])


def test_their_mean_and_deviation_stand_beside_the_single_runs(tmp_path):
    runs = [run(seed) for seed in range(3)]
    (_, areas), *_ = found = [(one, figures) for _, one, figures in tables.seed_rows(runs)]
    assert [level for level, _ in found] == ["frame", "video"]
    areas = dict(found)["video"]
    for spread, method in zip(areas, ("all", *METHODS), strict=True):
        values = [one.figure("video", method, "auroc").value for one in runs]
        assert (spread.mean, spread.deviation) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    shown = f"{areas[0].mean:.3f} ± {areas[0].deviation:.3f}"
    (line,) = re.findall(r"^\| meso4, 3 seeds \| video \| (.*?) \|", tables.markdown(runs), flags=re.M)
    assert line == shown and shown.replace("±", r"$\pm$") in tables.latex(runs)
    text = unescape(text_of(page.write(tmp_path / "r.html", runs, "Three seeds")))
    assert f"meso4, 3 seeds mean ± standard deviation video {shown}" in text
    assert all(f" {name} " in text for name in ("meso4", "meso4 (seed 1)", "meso4 (seed 2)")), "each run is still there"
    console = Console(record=True, width=100)
    console.print(tables.console(runs))
    printed = console.export_text()
    assert "meso4, 3 seeds" in printed and f"± {areas[0].deviation:.3f}" in printed
    assert "seeds" not in tables.markdown([runs[0], run(1, "b")])


def test_a_metric_that_a_seed_lacks_has_no_mean():
    one, two = run(0), run(1)
    two.summary.loc[two.summary["method"] == "swap", "value"] = np.nan
    (*_, (_, _, (_, swap, temporal))) = tables.seed_rows([one, two])
    assert swap is None and temporal is not None


def folder(place: Path, name: str, seed: int, lr: float = 0.1, split: int = 0) -> Run:
    out = place / name
    data = {"name": "d", "root": f"/{name}", "split": {"seed": split}, "loader": {"seed": seed}}
    config = {
        "name": "x/meso4", "seed": seed, "explain": seed, "data": data,
        "module": {"seed": seed, "optimizer": {"lr": lr}}, "paths": {"out": str(out)},
        "callbacks": {"best": {"dirpath": f"{out}/checkpoints"}},
    }  # fmt: skip
    (out / ".hydra").mkdir(parents=True)
    (out / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    (out / "metrics.json").write_text('{"kind": "detector"}')
    return Run(out)


def test_the_config_says_what_differs(tmp_path):
    first = folder(tmp_path, "a", 0)
    assert first.preset == "meso4"
    assert first.seedless_id == folder(tmp_path, "b", 1).seedless_id != ""
    assert first.seedless_id != folder(tmp_path, "c", 1, lr=0.2).seedless_id
    assert first.seedless_id != folder(tmp_path, "d", 1, split=1).seedless_id, "other videos are tested"


@pytest.mark.slow
def test_the_verb_groups_trained_runs(workplace, demo_root):
    given = ["experiment=demo_celebdf/meso4", *TINY, "trainer=smoke", "data.batch_size=8", f"data.root={demo_root}"]
    for more in ("seed=31", "seed=32", "module.optimizer.lr=1e-4"):
        unmask("train", *given, "name=seeds", more, cwd=workplace)
    folders = sorted((workplace / "outputs/seeds").iterdir())
    printed = unmask("report", f"run=[{','.join(map(str, folders))}]", "resamples=20", cwd=workplace).stdout
    assert printed.count("seeds, 2 seeds") == 2, "one row per level, without the run with another learning rate"
    text = unescape(text_of(workplace / "outputs/report.html"))
    values = [Run(one).metrics["test"]["video_auroc"] for one in folders if "seed=3" in Run(one).metrics["command"]]
    assert f"video {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" in text
