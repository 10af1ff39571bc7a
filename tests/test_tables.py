"""Tables of papers: what they show is what scikit-learn finds, what they lack they name and can run."""

import csv
import io
import json
import re
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from sklearn.metrics import accuracy_score, roc_auc_score

from conftest import TINY, compose, unmask
from datamodules import from_config
from unmask.arguments import REPORT, UsageError, parse, quote
from unmask.config import conf_dir
from unmask.config.check import validate
from unmask.metrics import detection
from unmask.metrics.groups import by_group
from unmask.metrics.robustness import Robustness
from unmask.reporting import table_render, table_spec
from unmask.reporting.run import RunReport
from unmask.reporting.table_generated import Generated, gather_generated
from unmask.runs.run import Run
from unmask.studies import jobs, needs, tables
from unmask.studies.launch import Launch

CONF = Path(conf_dir())
TABLES = sorted(path.stem for path in (CONF / "table").glob("*.yaml"))
CUT = {"frame": -0.4, "video": 0.0}  # a probability of 0.5


# -- the files


def plain_table(name: str) -> dict:
    return OmegaConf.to_container(compose("report", [f"table={name}"]).table, resolve=True)


def test_the_walk_finds_tables():
    studies = {"mesonet_2018", "celebdf_2020", "generation_detection", "inpainting_svm", "faceswap"}
    assert {"demo", *studies} <= set(TABLES)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_named_as_its_file_and_all_its_rows_compose(name):
    table = table_spec.read(plain_table(name))
    assert table.name == name and table.caption and table.rows
    for row in (row for row in table.rows if row.experiment):
        assert (CONF / "experiment" / f"{row.experiment}.yaml").is_file(), f"{row.name}: no preset {row.experiment}"
        for preset in row.runs.values():
            assert (CONF / "experiment" / f"{preset}.yaml").is_file(), f"{row.name}: no preset {preset}"
        if row.runs:  # its config holds parts of a finished run
            continue
        cfg = compose("train", [f"experiment={row.experiment}", *map(quote, row.overrides), "paths.out=out"])
        validate(cfg)
        from_config(cfg)


def beside(name: str) -> dict[str, list[str]]:
    """The published cells of each row of a table."""
    head, body = table_render.grid(table_spec.read(plain_table(name)))
    places = [at for at, title in enumerate(head) if title == "Published"]
    return {cells[0]: [cells[at] for at in places] for cells in body}


def test_unverified_figures_are_shown_as_such():
    head, _ = table_render.grid(table_spec.read(plain_table("mesonet_2018")))
    assert head[1:7] == ["Frame Accuracy", "Published", "Frame Recall", "Published", "Video Accuracy", "Published"]
    found = beside("mesonet_2018")
    assert found["Meso4, Deepfakes c23"] == ["0.891 (unverified)", "0.882 (unverified)", "0.969 (unverified)"]
    assert found["MesoInception4, Deepfakes c23"] == ["0.917", "0.934 (unverified)", "0.984"]


def test_the_tables_of_studies_hold_all_their_figures():
    """Against the figures as the studies print them."""
    assert beside("generation_detection") == {
        "ResNet-18": [f"{value} (unverified)" for value in ("0.952", "0.947", "0.958", "0.952")],
        "DenseNet-121": [f"{value} (unverified)" for value in ("0.968", "0.971", "0.965", "0.968")],
        "Hybrid": [f"{value} (unverified)" for value in ("0.983", "0.985", "0.981", "0.983")],
    }
    assert beside("faceswap") == {"Face swap": [f"{value} (unverified)" for value in ("30.5", "0.85", "3.2")]}
    (line,) = [note for note in table_render.notes(table_spec.read(plain_table("faceswap"))) if "ublished" in note]
    assert line.startswith(
        "Published: Face swap (PSNR, dB: 30.5; SSIM: 0.85; Inception Score: 3.2); source: study of face s"
    )
    percent = {  # Celeb-DF v2 and Deepfakes of FaceForensics++
        "Two-stream": (53.8, 70.1), "Meso4": (54.8, 84.7), "MesoInception4": (53.6, 83.0), "HeadPose": (54.6, 47.3),
        "FWA": (56.9, 80.1), "DSP-FWA": (64.6, 93.0), "VA-MLP": (55.0, 66.4), "VA-LogReg": (55.1, 78.0),
        "Xception, raw": (48.2, 99.7), "Xception, c23": (65.3, 99.7), "Xception, c40": (65.5, 95.5),
        "Multi-task": (54.3, 76.3), "Capsule": (57.5, 96.6),
    }  # fmt: skip
    found = {name: [float(text.split()[0]) for text in cells] for name, cells in beside("celebdf_2020").items()}
    assert found == {name: pytest.approx(np.array(values) / 100) for name, values in percent.items()}


def test_tables_are_listed(tmp_path):
    printed = unmask("list", "tables", cwd=tmp_path).stdout
    assert all(name in printed for name in TABLES) and "table=NAME" in printed


# -- what a table may not say


def given(**changes) -> dict:
    figure = {"value": 0.9, "metric": "auroc", "level": "video", "source": "arXiv:1"} | changes
    rows = [{"name": "A", "experiment": "x/a", "published": {k: v for k, v in figure.items() if v is not None}}]
    return {"name": "t", "title": "T", "caption": "C", "metrics": ["video/auroc"], "rows": rows}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": None}, "table t, row A: published value: it has no source"),
        ({"source": ""}, "it has no source"),
        ({"level": None}, "table t, row A: published value: it has no level"),
        ({"metric": None}, "it has no metric"),
        ({"value": 90.0}, "value 90.0: expected a fraction between 0 and 1"),
        ({"level": "frame"}, "the table has no column frame/auroc"),
        ({"test": "DFDC"}, "the table has no column video/auroc on DFDC"),
        ({"page": 3}, "unknown key page"),
    ],
)
def test_a_published_figure_says_what_it_is_and_where_it_is_from(changes, words):
    assert table_spec.read(given()).rows[0].published[0].source == "arXiv:1"
    with pytest.raises(table_spec.TableError, match=re.escape(words)):
        table_spec.read(given(**changes))


def test_all_that_is_wrong_is_told_at_once():
    wrong = {**given(), "metrics": ["clip/auroc", "video/auc", "generated/loss", "video/auroc/mask=a"], "tittle": "x"}
    wrong["rows"] = [{"name": "A", "experiment": "x"}, {"name": "A", "experiments": "x"}]
    with pytest.raises(ValueError) as error:
        table_spec.read(wrong)
    for words in (
        "unknown key tittle",
        "clip/auroc",
        "video/auc",
        "A occurs twice",
        "key experiments",
        "no experiment",
        "generated/loss",
        "video/auroc/mask=a",
    ):
        assert words in str(error.value)


GIVEN = {"value": 30.5, "metric": "psnr", "level": "generated", "source": "a study"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"value": -1}, "published value -1.0: expected 0 to inf for psnr"),
        ({"metric": "inception_score", "value": 0.5}, "published value 0.5: expected 1 to inf for inception_score"),
        ({"metric": "ssim", "value": 1.5}, "published value 1.5: expected -1 to 1 for ssim"),
    ],
)
def test_a_published_figure_lies_in_the_range_of_its_metric(changes, words):
    plain = given() | {"metrics": ["generated/psnr", "generated/ssim", "generated/inception_score"]}
    plain["rows"][0]["published"] = GIVEN
    assert table_spec.read(plain).rows[0].published[0].value == 30.5
    plain["rows"][0]["published"] = GIVEN | changes
    with pytest.raises(table_spec.TableError, match=re.escape(words)):
        table_spec.read(plain)


def test_a_row_without_a_preset_has_published_values_and_nothing_else():
    plain = given()
    del plain["rows"][0]["experiment"]
    table = table_spec.read(plain)
    assert table_render.grid(table)[1] == [["A", "-", "0.900 (unverified)", "-", "-"]]
    assert not table_render.missing(table)
    (line,) = csv.DictReader(io.StringIO(table_render.csv(table)))
    assert (line["state"], line["value"], line["published"], line["command"]) == ("published", "n/a", "0.9", "n/a")
    for change in ({"published": []}, {"seeds": [1]}, {"overrides": ["a=b"]}):
        with pytest.raises(table_spec.TableError, match="row A: it has no experiment"):
            table_spec.read({**plain, "rows": [{**plain["rows"][0], **change}]})


# -- cells


def report(seed: int, pictures: bool = False) -> RunReport:
    rng = np.random.default_rng(seed)
    label = np.repeat([0, 1], 30) if pictures else np.repeat([0, 1] * 10, 3)
    item = [f"t/{n}" if pictures else f"t/{n // 3}" for n in range(60)]
    frame = np.zeros(60, int) if pictures else np.tile(np.arange(3), 20)
    table = pd.DataFrame({"item": item, "track": 0, "frame": frame, "time": frame / 25.0, "label": label})
    table = table.assign(logit=rng.normal(label * 1.5), dataset="t", split="test")
    table["method"] = np.where(label, "swap", "real")
    protocol = {"Data": "toy & test", "Seed": str(seed)}
    return RunReport("r", table, CUT, detection.summary(table, CUT, 50), protocol, "unmask train")


def filled(metrics: list[str], *reports: RunReport | None) -> table_spec.Table:
    table = table_spec.read({**given(), "metrics": metrics, "rows": [{"name": "A_1", "experiment": "x/a"}]})
    outcomes = tuple(table_spec.Outcome(seed, f"unmask train seed={seed}", one) for seed, one in enumerate(reports))
    return replace(table, rows=(replace(table.rows[0], outcomes=outcomes),))


def scores(one: RunReport, level: str) -> tuple[np.ndarray, np.ndarray]:
    data = one.predictions.assign(prob=1 / (1 + np.exp(-one.predictions["logit"])))
    if level != "frame":
        data = data.groupby("item").agg({"prob": "mean", "label": "first"})
    return data["label"].to_numpy(), data["prob"].to_numpy()


def test_several_seeds_give_mean_and_deviation_and_each_interval_in_words():
    reports = [report(seed) for seed in range(3)]
    table = filled(["video/auroc"], *reports, None)
    values = [roc_auc_score(*scores(one, "video")) for one in reports]
    assert table_render.grid(table)[1][0][1] == f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} (3 of 4 seeds)"
    (line,) = [note for note in table_render.notes(table) if "standard deviation" in note]
    for seed, (one, value) in enumerate(zip(reports, values, strict=True)):
        row = one.summary.query("level == 'video' and method == 'all' and metric == 'auroc'").iloc[0]
        assert f"seed {seed}: {value:.3f} [{row['low']:.3f}, {row['high']:.3f}]" in line
    assert table_render.missing(table) == [("A_1", "unmask train seed=3")]
    assert "% not run: A_1: unmask train seed=3" in table_render.latex(table) and r"$\pm$" in table_render.latex(table)
    assert r"A\_1" in table_render.latex(table) and r"toy \& test" in table_render.latex(table)


def test_a_terminal_of_80_columns_shows_whole_words():
    columns = ["video/auroc/swap", "video/auroc", "video/ap", "video/accuracy", "video/robustness", "frame/auroc"]
    one = replace(report(0), suites={"quick": [step("clean", 0, 0.9), step("jpeg", 1, 0.8)]})
    table = filled(columns, one)
    console = Console(width=table_render.WIDTH, file=io.StringIO())
    console.print(table_render.console(table))
    shown = Counter(console.file.getvalue().split())
    head, body = table_render.grid(table)
    words = Counter(word for cells in (head, *body) for text in cells for word in text.split())
    assert words == Counter({word: count for word, count in shown.items() if set(word) != {"─"}})
    assert max(map(len, console.file.getvalue().splitlines())) == table_render.WIDTH, "the gaps are as narrow as needed"


@pytest.mark.parametrize("name", TABLES)
def test_wide_tables_are_divided_instead_of_breaking_words(name):
    """Every part starts with the names of the rows; published values stay in the same part as the measured ones."""
    table = table_spec.read(plain_table(name))
    console = Console(width=table_render.WIDTH, file=io.StringIO())
    console.print(table_render.console(table))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= table_render.WIDTH
    head, body = table_render.grid(table)
    words = {word for cells in (head, *body) for text in cells for word in text.split()}
    assert words <= set(console.file.getvalue().split())
    parts = sum(set(line.strip()) == {"─"} for line in lines)
    assert sum(word == head[0] for word in console.file.getvalue().split()) >= parts


def test_what_all_rows_share_is_said_once():
    one, other, last = (replace(report(0), protocol={"Data": "toy", "Split": text}) for text in ("a", "b", "b"))
    table = filled(["video/auroc"], one)
    rows = [replace(table.rows[0], name=name) for name in "ABC"]
    rows = [
        replace(row, outcomes=(replace(row.outcomes[0], report=it),))
        for row, it in zip(rows, (one, other, last), strict=True)
    ]
    said = table_render.notes(replace(table, rows=tuple(rows)))
    assert said[:3] == ["All rows: Data: toy.", "A: Split: a.", "B, C: Split: b."]
    assert table_render.notes(table)[0] == "A_1: Data: toy; Split: a.", "one row shares nothing"


def step(name: str, level: int, area: float) -> Robustness:
    return Robustness(name, level, "", area, area - 0.1, area + 0.05, None, None, 1.0, 0.0, -0.1, 0.1)


def test_a_column_shows_one_method_or_one_perturbation():
    one = report(0)
    one = replace(one, suites={"quick": [step("clean", 0, 0.9), step("jpeg", 1, 0.8), step("jpeg", 2, 0.5)]})
    columns = ["video/auroc/swap", "video/auroc/paint", "video/robustness", "video/robustness/jpeg-2"]
    head, (cells,) = table_render.grid(filled(columns, one))
    titles = ["Video AUC, swap", "Video AUC, paint", "Video AUC, perturbed", "Video AUC, perturbed, jpeg-2"]
    assert head[1:5] == titles
    assert cells[1].startswith(f"{roc_auc_score(*scores(one, 'video')):.3f} [")
    assert cells[2] == "n/a (none scored)" and cells[3] == "0.650" and cells[4] == "0.500 [0.400, 0.550]"
    rows = list(csv.DictReader(io.StringIO(table_render.csv(filled(columns, one)))))
    assert [row["part"] for row in rows] == ["swap", "paint", "n/a", "jpeg-2"]
    assert table_render.grid(filled(["video/robustness"], report(0)))[1][0][1] == "not run"
    assert table_render.grid(filled(["frame/robustness"], one))[1][0][1] == "not run", "suites score whole items"
    two = filled(["video/robustness"], one, replace(one))
    assert table_render.grid(two)[1][0][1] == "0.650 ± 0.000 (2 seeds)"
    assert any("seed 1: 0.650." in note for note in table_render.notes(two))


def test_a_published_value_belongs_to_all_fakes():
    plain = given() | {"metrics": ["video/auroc", "video/auroc/swap"]}
    head, (cells,) = table_render.grid(table_spec.read(plain))
    assert head[1:4] == ["Video AUC", "Published", "Video AUC, swap"] and cells[2] == "0.900 (unverified)"


def test_pictures_have_one_level():
    one = report(0, pictures=True)
    table = filled(["image/accuracy", "frame/accuracy"], one)
    label, prob = scores(one, "image")
    cells = table_render.grid(table)[1][0]
    assert cells[1].startswith(f"{accuracy_score(label, prob > 0.5):.3f} [")
    assert cells[2] == "n/a (no frames)", "a picture has no frames"
    assert table_render.grid(filled(["image/accuracy"], report(0)))[1][0][1] == "n/a (no images)", (
        "a video is no picture"
    )


def test_samples_are_frames_of_videos_and_pictures():
    for pictures in (False, True):
        one = report(0, pictures)
        head, (cells,) = table_render.grid(filled(["sample/accuracy"], one))
        label, prob = scores(one, "image" if pictures else "frame")
        cut = 0.5 if pictures else 1 / (1 + np.exp(0.4))
        assert head[1] == "Accuracy" and cells[1].startswith(f"{accuracy_score(label, prob > cut):.3f} [")


def test_a_column_shows_the_recall_of_one_value_of_an_attribute():
    one = report(0, pictures=True)
    masks = pd.Series(np.tile(["left", "right", "right"], 20), index=one.predictions["item"])
    one = replace(one, groups={"mask": by_group(detection.videos(one.predictions), masks, CUT["video"])})
    head, (cells,) = table_render.grid(filled(["image/recall/mask=right", "image/recall/mask=top"], one))
    rows = one.predictions.set_index("item")
    fakes = rows[(rows["label"] == 1) & (masks == "right")]
    assert head[1] == "Image Recall, mask=right" and cells[2] == "n/a (none scored)"
    assert len(fakes) == 20 and cells[1].startswith(f"{(fakes['logit'] > 0).mean():.3f} [")


def made(**figures: float) -> Generated:
    return Generated(figures, {"Data": "toy, test split", "Seed": "0"}, ["It did not learn."])


def test_figures_of_generators_have_units_and_need_not_be_fractions():
    table = filled(["generated/psnr", "generated/ssim", "generated/inception_score"], made(psnr=26.14, ssim=0.7412))
    row = replace(table.rows[0], published=(table_spec.Published(**GIVEN),))
    table = replace(table, rows=(row,))
    head, (cells,) = table_render.grid(table)
    assert head == ["Model", "PSNR, dB", "Published", "SSIM", "Inception Score"]
    assert cells == ["A_1", "26.1", "30.5 (unverified)", "0.741", "n/a (not computed)"]
    assert "A_1: It did not learn." in table_render.notes(table) and "A_1: Data: toy, test split." in " ".join(
        table_render.notes(table)
    )
    line = next(csv.DictReader(io.StringIO(table_render.csv(table))))
    assert (float(line["value"]), float(line["published"]), line["low"]) == (26.14, 30.5, "n/a")
    several = filled(["generated/psnr"], made(psnr=26.0), made(psnr=27.0), made(psnr=31.0))
    assert table_render.grid(several)[1][0][1] == "28.0 ± 2.6 (3 seeds)"
    assert table_render.grid(filled(["video/auroc"], made(psnr=26.0)))[1][0][1] == "n/a (no videos)"
    assert table_render.grid(filled(["generated/psnr"], report(0)))[1][0][1] == "n/a (not generated)"


def test_figures_of_a_generator_are_those_of_its_folder(tmp_path):
    (tmp_path / ".hydra").mkdir()
    config = {"name": "faceswap/x", "seed": 3, "data": {"name": "two"}, "module": {"_target_": "unmask.modules.X"}}
    (tmp_path / ".hydra/config.yaml").write_text(json.dumps(config))
    test = {"psnr": 26.5, "ssim": None}
    (tmp_path / "metrics.json").write_text(json.dumps({"kind": "swapper", "remarks": ["Few."], "test": test}))
    found = gather_generated(Run(tmp_path))
    assert found.figures["psnr"] == 26.5 and np.isnan(found.figures["ssim"]) and not found.lacks(["psnr", "ssim"])
    assert found.protocol == {"Data": "two, test split", "Seed": "3"} and found.remarks == ["Few."]
    assert found.lacks(["fid"]) and found.command == f"unmask evaluate run={tmp_path}"
    table = filled(["generated/fid"], found)
    assert table_render.missing(table) == [("A_1", found.command)]

    entry = {
        "demo": True,
        "swap": {"psnr": 9.0, "fid": 12.5, "faces": 3},
        "random": {"inception_score": "not run: why"},
    }
    (tmp_path / "generation.json").write_text(json.dumps({"two/test": entry, "other/test": {"swap": {"kid": 1.0}}}))
    found = gather_generated(Run(tmp_path))
    assert (found.figures["psnr"], found.figures["fid"]) == (26.5, 12.5), "those of the training come first"
    assert not found.lacks(["fid", "inception_score"]) and found.lacks(["kid"]), "another data set does not count"
    assert found.remarks == ["Few.", "Inception Score: not run: why"]


def test_what_a_training_does_not_measure_is_evaluated_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(jobs, "call", lambda *words: calls.append(words) or 0)
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/config.yaml").write_text(json.dumps({"data": {"name": "two"}, "module": {}}))
    (tmp_path / "metrics.json").write_text(json.dumps({"kind": "swapper", "test": {"psnr": 26.5}}))
    assert needs.measure(tmp_path, ["psnr"]) is None and not calls
    assert needs.measure(tmp_path, ["psnr", "inception_score"]) is None
    assert calls == [("evaluate", f"run='{tmp_path}'")]
    entry = {"two/test": {"random": {"inception_score": "not run: no weights"}}}
    (tmp_path / "generation.json").write_text(json.dumps(entry))
    needs.measure(tmp_path, ["psnr", "inception_score"])
    assert len(calls) == 1, "what cannot be computed is not tried again"


# -- the verb


def test_arguments_that_are_not_keys_of_the_report_are_for_the_rows(tmp_path):
    keys = set(yaml.safe_load((CONF / "report.yaml").read_text())) - {"defaults", "hydra"} | {"table"}
    assert set(REPORT) == keys
    typed = ["table=demo", "run=true", "resamples=50", "trainer.max_epochs=1", "data.root=/a b", "~augment"]
    passed = parse("report", typed)
    assert passed[:3] == ["table=demo", "run='true'", "resamples=50"] and len(passed) == 4
    given = OverridesParser.create().parse_override(passed[3])
    listed = given.value()
    assert (given.key_or_group, listed) == ("overrides", ["trainer.max_epochs=1", "data.root=/a b", "~augment"])
    assert parse("report", ["run=a", "seed=1"]) == ["run='a'", "seed=1"], "without a table, there are no rows"
    with pytest.raises(UsageError, match="seed=1: give overrides of the rows either in"):
        parse("report", ["table=demo", "overrides=[]", "seed=1"])
    done = unmask("report", "table=demo", "trainer.max_epochs=1", "data.root=x", "seed=0,7", cwd=tmp_path)
    commands = [line.strip() for line in done.stdout.splitlines() if line.startswith("  unmask train")]
    row = "unmask train experiment=demo_celebdf/{} seed={} trainer.max_epochs=1 data.root=x"
    assert commands == [row.format(name, seed) for name in ("meso4", "cnn_lstm") for seed in (0, 7)]
    assert "seed=a: expected whole numbers" in unmask("report", "table=demo", "seed=a", cwd=tmp_path, expect=1).stderr


@pytest.fixture
def place(workplace, tmp_path):
    """A folder of its own with the prepared demo data."""
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/prepared").symlink_to(workplace / "outputs/prepared")
    return tmp_path


@pytest.fixture(scope="module")
def extra(demo_root) -> list[str]:
    return [f"data.root={demo_root}", *TINY, "trainer=smoke", "data.batch_size=8"]


def ask(extra: list[str], *more: str) -> list[str]:
    listed = ",".join(f"'{one}'" for one in extra)
    return ["report", "table=demo", f"overrides=[{listed}]", "resamples=50", *more]


def starter(place: Path, calls: list[tuple[str, str]], fails: str = "nothing"):
    """What starts verbs in this process, keeps a list of them, and lets one experiment fail."""

    def call(name: str, *arguments: str) -> int:
        calls.append((name, arguments[0].removeprefix("experiment=")))
        if fails in arguments[0]:
            return 1
        unmask(name, *arguments, cwd=place)
        return 0

    return call


@pytest.mark.slow
def test_missing_rows_are_run_once_and_the_table_shows_what_scikit_learn_finds(place, extra, monkeypatch):
    calls: list[tuple[str, str]] = []
    monkeypatch.setattr(jobs, "call", starter(place, calls, fails="cnn_lstm"))
    done = unmask(*ask(extra, "run=true"), cwd=place, expect=1)
    assert "CNN + LSTM, seed 0: unmask train ended with exit code 1" in done.stderr
    assert "1 of its steps failed" in done.stderr
    assert calls == [("train", "demo_celebdf/meso4"), ("train", "demo_celebdf/cnn_lstm")]

    (folder,) = (place / "outputs/demo_celebdf/meso4").iterdir()
    table = Run(folder).predictions("test")
    prob = 1 / (1 + np.exp(-table["logit"]))
    videos = table.assign(prob=prob).groupby("item").agg({"label": "first", "prob": "mean"})
    frame, video = roc_auc_score(table["label"], prob), roc_auc_score(videos["label"], videos["prob"])

    shown = (place / "outputs/tables/demo.md").read_text()
    (line,) = [line for line in shown.splitlines() if line.startswith("| Meso4 ")]
    few = "(too few for an interval)"
    assert line.startswith(f"| Meso4 | {frame:.3f} {few} | {video:.3f} {few} |") and line.endswith("| 100 % |")
    assert "| CNN + LSTM | not run | not run | - | - |" in shown and "rendered demo data" in shown
    assert f"{frame:.3f} {few}" in (place / "outputs/tables/demo.tex").read_text()
    with (place / "outputs/tables/demo.csv").open() as file:
        rows = {(row["row"], row["level"]): row for row in csv.DictReader(file)}
    assert float(rows["Meso4", "video"]["value"]) == pytest.approx(video, abs=1e-9)
    assert float(rows["Meso4", "frame"]["value"]) == pytest.approx(frame, abs=1e-9)
    assert rows["CNN + LSTM", "video"]["state"] == "not run" and rows["CNN + LSTM", "video"]["value"] == "n/a"

    # the command that is named runs the row, and the table then finds it
    typed = ["unmask", "train", "experiment=demo_celebdf/cnn_lstm", "seed=0", *extra]
    command = shlex.join(typed)
    assert command in shown and command in done.stdout and rows["CNN + LSTM", "video"]["command"] == command
    calls.clear()
    monkeypatch.setattr(jobs, "call", starter(place, calls))
    unmask(*ask(extra, "run=true"), cwd=place)
    assert calls == [("train", "demo_celebdf/cnn_lstm")], "the finished row is not repeated"
    shown = (place / "outputs/tables/demo.md").read_text()
    assert "not run" not in shown.lower() and line in shown
    unmask(*ask(extra, "run=true"), cwd=place)
    unmask(*shlex.split(command)[1:], cwd=place)
    assert len(calls) == 1 and len(list((place / "outputs/demo_celebdf").glob("*/*"))) == 2


@pytest.mark.slow
def test_a_killed_call_goes_on_with_the_row_that_it_was_at(place, extra, monkeypatch):
    calls: list[tuple[str, str]] = []
    run = starter(place, calls)

    def killed(name: str, *arguments: str) -> int:
        if "cnn_lstm" in arguments[0]:
            raise KeyboardInterrupt
        return run(name, *arguments)

    monkeypatch.setattr(jobs, "call", killed)
    assert "interrupted" in unmask(*ask(extra, "run=true"), cwd=place, expect=130).stderr
    monkeypatch.setattr(jobs, "call", starter(place, calls, fails="cnn_lstm"))
    unmask(*ask(extra, "run=true"), cwd=place, expect=1)
    assert calls == [("train", "demo_celebdf/meso4"), ("train", "demo_celebdf/cnn_lstm")]


def test_data_that_is_missing_is_rendered_and_prepared_first(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        jobs, "call", lambda name, *arguments: calls.append((name, arguments)) or int(name == "prepare")
    )
    done = unmask("report", "table=demo", "run=true", cwd=tmp_path, expect=1)
    place = "data.root='outputs/demo/data/demo_celebdf'"
    assert calls[:2] == [
        ("demo", ("render_only=true", "root='outputs/demo/data/demo_celebdf'")),
        ("prepare", ("experiment=demo_celebdf/meso4", place, "seed=0")),
    ]
    assert "train" not in {name for name, _ in calls} and len(calls) == 4
    assert "2 of its steps failed" in done.stderr and "unmask prepare ended with exit code 1" in done.stderr


def test_a_run_that_a_row_needs_is_trained_first(place, extra, monkeypatch):
    """The second training is given the folder of the first one; until there is one, the first command is named."""
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(jobs, "call", lambda *words: calls.append(words) or 1)
    monkeypatch.chdir(place)
    cfg = compose("report", ["table=demo", "run=true", f"overrides=[{','.join(repr(one) for one in extra)}]"])
    OmegaConf.set_struct(cfg, False)
    row = {"name": "B", "experiment": "demo_celebdf/meso4", "runs": {"name": "demo_celebdf/meso3d"}}
    cfg.table = {**given(), "rows": [row]}
    with pytest.raises(SystemExit, match="2 of its steps failed"):
        tables.make(cfg)
    assert [words[:2] for words in calls] == [
        ("train", "experiment=demo_celebdf/meso3d"),
        ("train", "experiment=demo_celebdf/meso4"),
    ]
    folder = jobs.run_folder("train", list(calls[0][1:]))
    assert folder.parent == Path("outputs/demo_celebdf/meso3d") and f"name={folder}" in calls[1]
    shown = (place / "outputs/tables/t.md").read_text()
    assert "unmask train experiment=demo_celebdf/meso3d" in shown and "experiment=demo_celebdf/meso4" not in shown
    (folder / "metrics.json").parent.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    cfg.run = None
    tables.make(cfg)
    assert f"name={folder}" in (place / "outputs/tables/t.md").read_text()


class Launched:
    """A launcher that notes what it is to train; what `fails` names fails, all else has finished at once."""

    def __init__(self, fails: str = "nothing"):
        self.calls, self.fails = [], fails

    def __call__(self, trainings: list[list[str]]) -> list[str | None]:
        self.calls.append(trainings)
        for arguments in trainings:
            if self.fails not in arguments[0]:
                folder = jobs.run_folder("train", list(map(quote, arguments)))
                folder.mkdir(parents=True)
                (folder / "metrics.json").write_text("{}")
        return ["this job failed\nunmask: why" if self.fails in arguments[0] else None for arguments in trainings]


def study(extra: list[str], **changes) -> DictConfig:
    cfg = compose("report", ["table=demo", "run=true", f"overrides=[{','.join(repr(one) for one in extra)}]"])
    OmegaConf.set_struct(cfg, False)
    cfg.table = {**given(), **changes}
    return cfg


def test_a_launcher_starts_all_rows_at_once_after_what_they_need(place, extra, monkeypatch):
    """Generators, then trainings whose runs are arguments of rows, then the rows; what is equal is started once."""
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(jobs, "call", lambda *words: calls.append(words) or 1)
    monkeypatch.setattr(tables, "_outcomes", lambda *_: [])
    monkeypatch.chdir(place)
    first, *others = ("demo_celebdf/meso3d", "demo_celebdf/meso4", "demo_celebdf/cnn_lstm", "demo_celebdf/meso4")
    rows = [{"name": f"row {n}", "experiment": one, "runs": {"name": first}} for n, one in enumerate(others)]
    cfg, launch = study(extra, rows=rows), Launched(fails="cnn_lstm")
    with pytest.raises(SystemExit) as stop:
        tables.make(cfg, launch)
    assert not calls, "the data is prepared, and no training is started here"
    assert [[words[0] for words in call] for call in launch.calls] == [
        [f"experiment={first}"],
        ["experiment=demo_celebdf/meso4", "experiment=demo_celebdf/cnn_lstm"],
    ]
    assert "1 of its steps failed" in str(stop.value)
    assert str(stop.value).endswith("\n  row 1, seed 0: this job failed\n    unmask: why")
    again = Launched()
    tables.make(cfg, again)
    assert [[words[0] for words in call] for call in again.calls] == [["experiment=demo_celebdf/cnn_lstm"]]


def test_a_launcher_trains_generators_before_they_sample(tmp_path, monkeypatch):
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(jobs, "call", lambda *words: calls.append(words) or 0)
    monkeypatch.setattr(needs, "prepare", lambda config, arguments: None)
    monkeypatch.chdir(tmp_path)
    need = table_spec.Need("GAN", "celeba/dcgan", "outputs/made", 3, ("data=demo_celeba",))
    table, launch = replace(table_spec.read(given()), needs=(need,)), Launched()
    assert needs.make(table, [], launch) == []
    assert len(launch.calls) == 1 and [words[0] for words in calls] == ["sample"]
    launch = Launched(fails="dcgan")
    assert needs.make(table, ["seed=1"], launch) == ["GAN: this job failed\nunmask: why"]
    assert len(calls) == 1, "nothing is sampled from what was not trained"


def test_trainings_of_another_size_are_another_launch(monkeypatch):
    """The launcher is fake, the configs and the groups are Hydra's."""
    launched = []

    class Launcher:
        def launch(self, jobs: list[list[str]], initial_job_idx: int) -> list[JobReturn]:
            launched[-1] += jobs
            return [JobReturn(status=JobStatus.COMPLETED) for _ in jobs]

    def instantiate(self, context, task, config) -> Launcher:
        launched.append([config.hydra.launcher.nodes])
        return Launcher()

    monkeypatch.setattr(Plugins, "instantiate_launcher", instantiate)
    launch = Launch(len, ["hydra/launcher=slurm"])
    names = [f"experiment=demo_celebdf/{name}" for name in ("meso4", "cnn_lstm", "meso3d")]
    sizes = ["trainer.num_nodes=1", "trainer.num_nodes=2", "trainer.num_nodes=1"]
    assert launch([[name, "trainer=slurm", size] for name, size in zip(names, sizes, strict=True)]) == [None] * 3
    assert [[call[0], *(job[0] for job in call[1:])] for call in launched] == [[1, names[0], names[2]], [2, names[1]]]

    def broken(self, jobs: list[list[str]], initial_job_idx: int) -> list[JobReturn]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Launcher, "launch", broken)
    (failed,) = launch([[names[0], "trainer=slurm"]])
    assert failed == "the launcher failed: RuntimeError: out of memory"


@pytest.mark.slow
def test_rows_are_trained_through_a_launcher(place, extra, monkeypatch):
    """Two rows as two jobs at once; then with an argument that one of them refuses, and that the other one has."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs pip install 'unmask[launchers]'")
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    quick = [*extra, "report=false", "seed=0"]
    done = unmask(*ask(quick, "run=true", *joblib), cwd=place)
    assert "starting 2 trainings with JoblibLauncher" in done.stdout
    runs = {path.parents[1].name: path for path in (place / "outputs/demo_celebdf").glob("*/*/metrics.json")}
    assert runs.keys() == {"meso4", "cnn_lstm"} and "not run" not in (place / "outputs/tables/demo.md").read_text()
    before = runs["meso4"].stat().st_mtime_ns

    done = unmask(*ask([*quick, "++module.network.norm_momentum=0.1"], "run=true", *joblib), cwd=place, expect=1)
    assert "starting 1 training with JoblibLauncher" in done.stdout
    assert runs["meso4"].stat().st_mtime_ns == before
    assert "1 of its steps failed" in done.stderr and "CNN + LSTM, seed 0: this job failed" in done.stderr
    assert "has no argument 'norm_momentum'" in done.stderr and "Traceback" not in done.stderr
    assert "| CNN + LSTM | not run |" in (place / "outputs/tables/demo.md").read_text()
    assert len(list((place / "outputs/demo_celebdf/cnn_lstm").iterdir())) == 1, "a refused job leaves no folder"


def test_what_cannot_be_reported_says_so(tmp_path):
    assert "pass run=DIR" in unmask("report", cwd=tmp_path, expect=1).stderr
    assert "pass run=DIR" in unmask("report", "run=true", cwd=tmp_path, expect=1).stderr
    assert (
        "set run=true to train missing ones" in unmask("report", "table=demo", "run=x", cwd=tmp_path, expect=1).stderr
    )
    wrong = unmask("report", "table=demo", "overrides=[nothing.of=this]".replace("[n", "['n").replace("s]", "s']"),
                   cwd=tmp_path, expect=1)  # fmt: skip
    assert "row Meso4: its config cannot be composed" in wrong.stderr and "Traceback" not in wrong.stderr


def test_a_starter_is_a_process_of_the_verb():
    assert jobs.command("train", "a=b")[1:] == ["-m", "unmask", "train", "a=b"]


def test_an_argument_replaces_the_same_key_of_what_a_table_needs(monkeypatch):
    """`unmask train` refuses a key that is given twice."""
    given = []
    monkeypatch.setattr(needs, "_load", lambda verb, arguments: given.append(arguments))
    monkeypatch.setattr(needs, "trained", lambda table, trainings, launch: ["not started"] * len(trainings))
    table = table_spec.read(plain_table("loop"))
    assert len(needs.make(table, ["trainer.max_epochs=2"])) == len(table.needs) == len(given) > 0
    for arguments in given:
        assert [text for text in parse("train", arguments) if "max_epochs" in text] == ["++trainer.max_epochs=2"]


def test_csv_is_read_back_as_it_was():
    table = filled(["frame/auroc"], report(1))
    (row,) = csv.DictReader(io.StringIO(table_render.csv(table)))
    assert float(row["value"]) == roc_auc_score(*scores(table.rows[0].outcomes[0].report, "frame"))


def test_what_the_demo_trained_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo, rows = compose("demo", []), table_spec.read(plain_table("demo")).rows
    by_demo = {name: [f"experiment={name}", f"data.root='{demo.root}'"] for name in demo.experiments}
    by_table = {row.experiment: [f"experiment={row.experiment}", *map(quote, row.overrides), "seed=0"] for row in rows}
    for name, arguments in by_demo.items():
        assert jobs.run_folder("train", arguments) == jobs.run_folder("train", by_table[name])
