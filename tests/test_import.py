"""Scores of other detectors and published weights become runs; a run's scores go out and come back the same."""

import gzip
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
import torch
from PIL import Image

from conftest import unmask
from test_evaluation import TRAIN, divided, prepared, trained
from unmask.evaluation.published import load_published
from unmask.evaluation.scores import COLUMNS, ScoresError, read_scores, write_scores
from unmask.inference.predict import predict
from unmask.metrics import detection
from unmask.networks.meso import Meso4
from unmask.reporting.gather import gather
from unmask.runs.checkpoints import load_weights
from unmask.runs.run import Run

NAMES = {name: name for name in COLUMNS if name != "logit"}


def file(folder: Path, text: str, name: str = "scores.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def imported(place: Path, *arguments: str) -> list[Run]:
    """The runs of an import, in the order of its columns."""
    printed = unmask("import", *arguments, cwd=place).stdout
    return [Run(place / found) for found in re.findall(r"^run: (.+)$", printed, re.M)]


def random_scores(items: int = 60, frames: int = 1, seed: int = 0) -> pd.DataFrame:
    """Random probabilities of items, the fakes' higher."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(items) % 2, frames)
    table = pd.DataFrame({"item": np.repeat([f"v{n:03d}" for n in range(items)], frames), "label": label})
    return table.assign(frame=np.tile(np.arange(frames), items), prob=rng.beta(2 + label, 3 - label))


# -- reading


def test_the_three_formats_hold_the_same(tmp_path):
    csv = "item,label,prob,method,frame,split\na,real,0.25,,0,val\nb,1,0.5,swap,0,test\nb,1,,swap,4,test\n"
    path = file(tmp_path, csv)
    whole = pd.read_csv(path).assign(label=["real", "1", "1"])
    whole.to_parquet(tmp_path / "scores.parquet")
    whole.to_json(tmp_path / "scores.jsonl", orient="records", lines=True)
    (first,) = read_scores(path, NAMES, dataset="d")
    table = first.table
    assert first.column == "prob" and first.words == "probabilities" and tuple(table) == COLUMNS
    assert table["label"].tolist() == [0, 1, 1] and table["method"].tolist() == ["real", "swap", "swap"]
    assert table["frame"].tolist() == [0, 0, 4] and table["split"].tolist() == ["val", "test", "test"]
    assert table["logit"].tolist() == pytest.approx([-np.log(3), 0.0, np.nan], nan_ok=True)
    for suffix in ("parquet", "jsonl"):
        (found,) = read_scores(tmp_path / f"scores.{suffix}", NAMES, dataset="d")
        pd.testing.assert_frame_equal(found.table, table)


def test_a_column_holds_logits_if_its_name_says_so(tmp_path):
    path = file(tmp_path, "item,label,logit_a,b\nx,0,-3.5,0.5\ny,1,120,0.75\n")
    logits, probabilities = read_scores(path, NAMES, ["*_a", "b"])
    assert logits.words == "logits" and logits.table["logit"].tolist() == [-3.5, 120]
    assert probabilities.words == "probabilities"
    assert probabilities.table["logit"].tolist() == pytest.approx([0, np.log(3)])


def test_probabilities_of_0_and_1_rank_beyond_all_others(tmp_path):
    """The neighbours are the smallest positive double, and the largest one below 1."""
    probs = [0.0, 5e-324, 1 - 2**-53, 1.0]
    text = "".join(f"v{number},{number % 2},{prob!r}\n" for number, prob in enumerate(probs))
    (found,) = read_scores(file(tmp_path, f"item,label,prob\n{text}"), NAMES)
    assert np.all(np.diff(found.table["logit"]) > 0)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        figures = detection.evaluate(found.table["logit"], [0, 0, 1, 1])
    assert figures["auroc"] == 1 and figures["log_loss"] < 1e-16


def test_an_item_that_was_not_scored_has_no_frame(tmp_path):
    (found,) = read_scores(file(tmp_path, "item,label,prob\nx,0,\ny,1,NaN\nz,1,0.5\n"), NAMES)
    assert found.table["frame"].tolist() == [-1, -1, 0] and found.table["logit"].isna().tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "item,label,prob\na,0,0.5\nb,1,1.5\n",
            "row 2, column prob: 1.5; expected a probability from 0 to 1. If these",
        ),
        ("item,label,prob\na,0,high\n", "row 1, column prob: 'high'; expected a finite number, or an empty cell"),
        ("item,label,logit\na,0,inf\n", "row 1, column logit: 'inf'; expected a finite number"),
        ("item,label,prob\na,2,0.5\n", "row 1, column label: '2'; expected 0 or real, 1 or fake"),
        ("item,label,prob\na,,0.5\n", "row 1, column label: ''; expected 0 or real, 1 or fake"),
        ("item,label,prob\n,0,0.5\n", "row 1, column item: the cell is empty; expected the name of the item"),
        (
            "item,label,prob\na,0,0.5\nb,0,0.5\na,0,0.6\n",
            "row 3, column item: 'a' repeats row 1; delete one of the two rows",
        ),
        (
            "item,label,prob,frame\na,0,0.5,7\na,0,0.5,8\na,0,0.6,8\n",
            "row 3, column item: 'a', track 0, frame 8 repeats row 2",
        ),
        ("item,label,prob,frame\na,0,0.5,1.5\n", "row 1, column frame: '1.5'; expected a whole number"),
        (
            "item,label,prob,frame\na,0,0.5,0\na,1,0.5,1\n",
            "row 2, column label: 1 for the item 'a', but an earlier row",
        ),
        ("item,label,prob,split\na,0,0.5,dev\n", "row 1, column split: 'dev'; expected train, val or test"),
        (
            "item,label,prob,split,frame\na,0,0.5,val,0\na,0,0.5,test,1\n",
            "row 2, column split: test for the item 'a', but an earlier row has val; an item belongs to one split",
        ),
        ("id,label,prob\na,0,0.5\n", "has no column item; it has id, label, prob. names.item=NAME sets"),
        (
            "item,label,x\na,0,0.5\n",
            "has none of the columns logit, score, prob; it has item, label, x. columns=[NAME]",
        ),
        ("item,label,prob,logit\na,0,0.5,0\n", "has the columns logit and prob; choose one with columns=[logit]"),
        ("item,label,prob,prob\na,0,0.5,1\n", "has several columns named prob"),
        ("item,label,prob\na,0\n", "row 1: 2 cells; expected 3, as in the header."),
        ("item,label,prob\n", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_a_bad_table_is_refused_with_its_row_and_column(tmp_path, text, said):
    with pytest.raises(ScoresError, match=re.escape(said)) as error:
        read_scores(file(tmp_path, text), NAMES)
    assert str(tmp_path / "scores.csv") in str(error.value) and "\n" not in str(error.value)


def test_a_file_of_another_kind_is_refused(tmp_path):
    for name, said in (("s.txt", "ending in .csv, .parquet, .jsonl"), ("s.csv", "there is no such file")):
        with pytest.raises(ScoresError, match=re.escape(said)):
            read_scores(tmp_path / name, NAMES)
    for name, said in (("s.parquet", "not a readable Parquet file"), ("s.jsonl", "row 1: expected one JSON object")):
        with pytest.raises(ScoresError, match=re.escape(said)):
            read_scores(file(tmp_path, "[1]\n", name), NAMES)


def test_names_are_safe_to_print(tmp_path):
    text = "item,label,prob,method\n\x1b[2Ja,1,0.5,\x1b[31mswap\n\x1b[2Ja,1,0.5,other\n"
    with pytest.raises(ScoresError, match="for the item") as error:
        read_scores(file(tmp_path, text), NAMES)
    assert "\x1b" not in str(error.value) and r"\x1b[2Ja" in str(error.value)
    (found,) = read_scores(file(tmp_path, text.rpartition("\n\x1b")[0] + "\n"), NAMES)
    assert found.table["method"].tolist() == [r"\x1b[31mswap"] and found.table["item"].tolist() == ["\x1b[2Ja"]


# -- runs of imported scores


def test_the_figures_are_those_of_the_scores(tmp_path):
    """Independent of our metrics: scikit-learn on the file."""
    table = random_scores()
    table.drop(columns="frame").to_csv(tmp_path / "other.csv", index=False)
    (run,) = imported(tmp_path, "scores=other.csv")
    assert run.folder.relative_to(tmp_path) == Path("outputs/other/prob") and run.name == "other"
    assert run.kind == "detector" and run.metrics["command"] == "unmask import scores=other.csv"
    assert run.metrics["test"]["video_auroc"] == pytest.approx(sk.roc_auc_score(table["label"], table["prob"]))
    assert run.metrics["test"]["video_ap"] == pytest.approx(sk.average_precision_score(table["label"], table["prob"]))
    protocol = run.predictions("test").attrs["protocol"]
    assert protocol["Scores"] == "Scores of other.csv, column prob (probabilities, converted to logits)"
    said = "0.5, not fitted, because no validation scores were imported"
    assert protocol["Threshold"] == said and run.thresholds == {"frame": 0.5, "video": 0.5}
    printed = " ".join(unmask("report", f"run={run.folder}", "resamples=50", cwd=tmp_path).stdout.split())
    assert said in printed and f"{run.metrics['test']['video_auroc']:.2f}" in printed
    page = (run.folder / "report.html").read_text()
    assert said in page and "Parameters" not in page and "<dt>Seed</dt>" not in page


@pytest.mark.parametrize("apart", [False, True])
def test_the_threshold_is_fitted_to_validation_rows(tmp_path, apart):
    """Between 0.6 and 0.8, the widest gap; the best cut of the test rows lies elsewhere."""
    val = "a,0,0.1,val\nb,0,0.6,val\nc,1,0.8,val\nd,1,0.9,val\n"
    test = "e,0,0.1,test\nf,1,0.2,test\ng,0,0.7,train\n"
    head = "item,label,prob,split\n"
    if apart:
        file(tmp_path, head.replace(",split", "") + val.replace(",val", ""), "val.csv")
    file(tmp_path, head + test + ("" if apart else val))
    (run,) = imported(tmp_path, "scores=scores.csv", *(["validation=val.csv"] if apart else []), "name=x")
    expected = (np.log(0.6 / 0.4) + np.log(0.8 / 0.2)) / 2
    assert run.score_thresholds["video"] == pytest.approx(expected)
    assert run.predictions("test")["item"].tolist() == ["e", "f"], "rows of the train split are left out"
    assert run.predictions("val")["item"].tolist() == ["a", "b", "c", "d"]
    assert "balanced accuracy" in run.predictions("test").attrs["protocol"]["Threshold"] and not run.metrics["remarks"]
    assert run.metrics["score"] == 1.0


def test_validation_items_must_not_be_test_items(tmp_path):
    file(tmp_path, "item,label,prob\na,0,0.5\nb,1,0.5\n")
    file(tmp_path, "item,label,prob\nc,0,0.5\nb,1,0.5\n", "val.csv")
    said = unmask("import", "scores=scores.csv", "validation=val.csv", cwd=tmp_path, expect=1).stderr
    assert "the item 'b' is also in scores.csv" in said and said.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


def test_several_detectors_are_runs_that_a_report_compares(tmp_path):
    table = random_scores(60).drop(columns="frame").rename(columns={"item": "id", "prob": "prob_a"})
    table["prob_b"] = table["prob_a"].where(table.index >= 15) ** 3
    table["prob_c"] = np.nan
    table["lat_a"] = 12.5
    table.to_csv(tmp_path / "all.csv", index=False)
    printed = unmask("import", "scores=all.csv", "columns=[prob_*]", "names.item=id", "name=bench", cwd=tmp_path).stdout
    assert "prob_c: no test item has a score; skipped" in printed
    runs = [Run(tmp_path / "outputs/bench" / name) for name in ("prob_a", "prob_b")]
    assert [run.name for run in runs] == ["prob_a", "prob_b"] and not (tmp_path / "outputs/bench/prob_c").exists()
    shown = gather(runs[1], 20)
    assert shown.figure("image", "all", "auroc").coverage == 0.75
    kept = table.dropna(subset=["prob_b"])
    assert shown.figure("image", "all", "auroc").value == pytest.approx(sk.roc_auc_score(kept["label"], kept["prob_b"]))
    listed = ",".join(str(run.folder) for run in runs)
    unmask("report", f"run=[{listed}]", "resamples=20", "out=both.html", cwd=tmp_path)
    assert "prob_a" in (tmp_path / "both.html").read_text()


def test_a_data_set_per_row_gives_a_figure_for_each(tmp_path):
    table = pd.concat(
        [random_scores(40, seed=seed).assign(modality=name) for seed, name in enumerate(["image", "audio"])]
    )
    table = table.assign(item=[f"i{number}" for number in range(80)])
    table.to_csv(tmp_path / "all.csv", index=False)
    (run,) = imported(tmp_path, "scores=all.csv", "names.dataset=modality")
    for name, rows in table.groupby("modality"):
        expected = sk.roc_auc_score(rows["label"], rows["prob"])
        assert run.metrics["test"][f"video_auroc/{name}"] == pytest.approx(expected)


def test_a_run_of_scores_scores_no_files(tmp_path):
    random_scores().to_csv(tmp_path / "other.csv", index=False)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    (run,) = imported(tmp_path, "scores=other.csv")
    for command in (("predict", "x.png"), ("evaluate", "trainer=cpu")):
        said = unmask(*command, f"run={run.folder}", cwd=tmp_path, expect=1).stderr
        assert "other holds imported scores and no weights, so it cannot score files" in said and said.count("\n") == 1


def test_an_import_replaces_an_import_and_nothing_else(tmp_path):
    random_scores().to_csv(tmp_path / "other.csv", index=False)
    (run,) = imported(tmp_path, "scores=other.csv")
    before = run.metrics["test"]
    unmask("report", f"run={run.folder}", "resamples=20", cwd=tmp_path)
    random_scores(seed=1).to_csv(tmp_path / "other.csv", index=False)
    (again,) = imported(tmp_path, "scores=other.csv")
    assert again.folder == run.folder and again.metrics["test"] != before
    assert not (run.folder / "report.html").exists(), "it shows the earlier scores"
    (tmp_path / "outputs/mine/prob").mkdir(parents=True)
    (tmp_path / "outputs/mine/prob/notes.txt").write_text("mine")
    said = unmask("import", "scores=other.csv", "name=mine", cwd=tmp_path, expect=1).stderr
    assert "is not empty and holds no imported scores; choose another name" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "expected either scores or weights"),
        (("scores=a.csv", "weights=b.pt"), "expected either scores or weights"),
        (("scores=a.csv",), "a.csv: there is no such file"),
        (("scores=a.csv", "image_size=32"), "image_size: has no effect on an import of scores"),
        (("weights=b.pt", "columns=[a]"), "columns: has no effect on an import of weights"),
        (("weights=b.pt",), "weights=b.pt: there is no such file"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path, arguments, said):
    found = unmask("import", *arguments, cwd=tmp_path, expect=1).stderr
    assert said in found and found.count("\n") == 1 and not (tmp_path / "outputs").exists()


# -- out and back


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    rng = np.random.default_rng(0)
    size = {"item": ['a "quoted", name', "line\nbreak", "ü"], "logit": [*rng.normal(0, 1e3, 2), np.nan]}
    table = pd.DataFrame(size).assign(track=[0, 3, 0], frame=[0, 12, -1], time=[np.nan, 1 / 3, np.nan], label=[0, 1, 1])
    table = table.assign(method=["real", "swap", "b c"], dataset="d", split=["val", "test", "test"])[list(COLUMNS)]
    write_scores(tmp_path / f"out.{suffix}", table)
    (found,) = read_scores(tmp_path / f"out.{suffix}", NAMES)
    assert found.words == "logits"
    pd.testing.assert_frame_equal(found.table, table, check_exact=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A working folder with a divided data set, prepared."""
    place = tmp_path_factory.mktemp("import")
    prepared(place, divided(place / "data", train=12, val=12, test=24))
    return place


@pytest.fixture(scope="module")
def run(place) -> Run:
    return trained(place, "run")[0]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_the_exported_scores_of_a_run_give_its_figures(place, run, suffix):
    unmask("report", f"run={run.folder}", f"scores=out.{suffix}", cwd=place)
    (back,) = imported(place, f"scores=out.{suffix}", f"name=back-{suffix}")
    assert back.score_thresholds == run.score_thresholds
    ours, theirs = gather(run, 50), gather(back, 50)
    pd.testing.assert_frame_equal(ours.summary, theirs.summary, check_exact=True)
    for split in ("val", "test"):
        same = ["item", "track", "frame", "time", "label", "method", "dataset", "split", "logit"]
        pd.testing.assert_frame_equal(back.predictions(split)[same], run.predictions(split)[same], check_exact=True)


def test_only_the_scores_of_one_run_are_exported(place, run):
    said = unmask("report", f"run=[{run.folder},{run.folder}]", "scores=out.csv", cwd=place, expect=1).stderr
    assert "expected one run" in said
    assert "ending in .csv" in unmask("report", f"run={run.folder}", "scores=out.xls", cwd=place, expect=1).stderr
    said = unmask("report", f"run={run.folder}", "scores=out.csv", "title=x", cwd=place, expect=1).stderr
    assert "title: has no effect when scores are written" in said


# -- published weights

WEIGHTS = tuple(text for text in TRAIN if not text.startswith(("trainer.max_epochs", "explain")))


def test_the_weights_of_a_run_give_its_figures(place, run):
    """As another project would publish them: the network alone, in a data-parallel wrapper."""
    state = load_weights(run.checkpoint)
    network = {name.replace("network.", "module.", 1): value for name, value in state.items() if "network." in name}
    torch.save(network, place / "theirs.pt")
    (found,) = imported(place, "weights=theirs.pt", *WEIGHTS, "name=theirs", "report=false")
    assert found.folder.parent == place / "outputs/theirs" and found.kind == "detector"
    assert found.score_thresholds == pytest.approx(run.score_thresholds, abs=1e-6)
    for split in ("val", "test"):
        ours, theirs = run.predictions(split), found.predictions(split)
        assert ours["item"].tolist() == theirs["item"].tolist()
        np.testing.assert_allclose(theirs["logit"], ours["logit"], atol=1e-6)
        assert found.metrics[split]["video_auroc"] == pytest.approx(run.metrics[split]["video_auroc"])
    protocol = found.predictions("test").attrs["protocol"]
    assert protocol["Weights"].startswith("published, from theirs.pt (SHA-256 ")
    assert protocol["Selection"].startswith("unknown")
    assert set(load_weights(found.checkpoint)) == set(state), "tensors only"
    again = unmask("import", "weights=theirs.pt", *WEIGHTS, "name=theirs", "report=false", cwd=place).stdout
    assert "already imported" in again
    unmask("evaluate", f"run={found.folder}", "trainer=cpu", cwd=place)
    unmask("report", f"run={found.folder}", "resamples=20", cwd=place)


def test_other_weights_are_another_run(place, run):
    state = Meso4(image_size=32).state_dict()
    torch.save(state, place / "w.pt")
    (first,) = imported(place, "weights=w.pt", *WEIGHTS, "name=w", "report=false")
    torch.save({name: value + 1 for name, value in state.items()}, place / "w.pt")
    (second,) = imported(place, "weights=w.pt", *WEIGHTS, "name=w", "report=false")
    assert first.folder != second.folder


def test_weights_that_do_not_fit_are_refused_and_leave_nothing(place):
    torch.save({"a": torch.zeros(2)}, place / "no.pt")
    said = unmask("import", "weights=no.pt", *WEIGHTS, "name=no", cwd=place, expect=1).stderr
    assert "no.pt does not fit Meso4" in said and not (place / "outputs/no").exists()
    (place / "no.h5").write_bytes(b"x")
    said = unmask("import", "weights=no.h5", *WEIGHTS, "module/network=cnn", "name=no", cwd=place, expect=1)
    assert "cannot read a Keras file; expected a state dict" in said.stderr


def test_a_common_prefix_is_dropped_and_other_tensors_are_named(tmp_path):
    source, target = Meso4(image_size=32), Meso4(image_size=32)
    state = {f"module.network.{name}": value for name, value in source.state_dict().items()}
    torch.save(state | {"module.network.old.bias": torch.zeros(1)}, tmp_path / "w.pt")
    assert load_published(target, tmp_path / "w.pt") == ["old.bias"]
    assert all(torch.equal(value, target.state_dict()[name]) for name, value in source.state_dict().items())


@pytest.mark.parametrize(("network", "name"), [("meso4", "Meso4_DF"), ("mesoinception4", "MesoInception_DF")])
def test_the_authors_weights_give_their_scores_through_predict(shared_data, tmp_path, network, name):
    """`expected.json` holds P(real) of the authors' own code, for pictures resized by nearest neighbour."""
    if not (shared_data / "mesonet").is_dir():
        pytest.skip(
            f"the MesoNet authors' weights are missing in {shared_data / 'mesonet'} (github.com/DariusAf/MesoNet)"
        )
    expected = json.loads((shared_data / "mesonet" / "expected.json").read_text())[name]["images"]
    divided(tmp_path / "data", val=2, test=2)
    data = ("data=folder", "data/recipe=pictures", "data.root=data", "image_size=256", f"module/network={network}")
    unmask("prepare", *data, "prepare.num_workers=0", cwd=tmp_path)
    weights = shared_data / "mesonet" / f"{name}.h5"
    (run,) = imported(tmp_path, f"weights={weights}", *data, "trainer=cpu", "report=false")
    for picture, real in expected.items():
        whole = Image.open(shared_data / "mesonet" / picture).convert("RGB")
        whole.resize((256, 256), Image.Resampling.NEAREST).save(tmp_path / "picture.png")
        fake = predict(tmp_path / "picture.png", run, tmp_path / "score.png").score
        assert 1 - fake == pytest.approx(real, abs=1e-4)


# -- a public matrix, if its package is installed


@pytest.mark.parametrize(("modality", "auc"), [("images", 0.9466), ("audio", 0.8290), ("video", 0.6694)])
def test_the_ensemble_of_deepsafe_bench(tmp_path, modality, auc):
    found = importlib.util.find_spec("deepsafe")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs pip install deepsafe-bench; it is not a dependency, because its licence is non-commercial")
    path = Path(found.submodule_search_locations[0]) / "assets/predictions_medium.csv.gz"
    with gzip.open(path, "rt") as stream:
        table = pd.read_csv(stream)
    table[table["modality"] == modality].to_csv(tmp_path / "matrix.csv", index=False)
    how = ("columns=[ensemble_score]", "names.item=id", "names.method=generator")
    (run,) = imported(tmp_path, "scores=matrix.csv", *how)
    assert gather(run, 10).figure("image", "all", "auroc").value == pytest.approx(auc, abs=5e-5)
