"""The whole way, through the console command: prepare, train, evaluate, report, predict; and what must be refused."""

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.metrics import average_precision_score, roc_auc_score

from conftest import SCORED, TINY, unmask
from unmask.modules.detector import Detector
from unmask.reporting import publish
from unmask.runs.checkpoints import load_weights
from unmask.runs.errors import RunError
from unmask.runs.predictions import read_predictions
from unmask.runs.run import Run
from unmask.studies import jobs

SMALL = (*TINY, "trainer=cpu", "trainer.max_epochs=2", "data.batch_size=8")


@pytest.fixture(scope="module")
def arguments(demo_root):
    return ["experiment=demo_celebdf/meso4", "name=verbs", f"data.root={demo_root}", *SMALL]


@pytest.fixture(scope="module")
def run(workplace, arguments) -> Run:
    """A finished training."""
    unmask("train", *arguments, cwd=workplace)
    (folder,) = (workplace / "outputs/verbs").iterdir()
    return Run(folder)


def test_a_run_folder_is_whole(run):
    names = {path.name for path in run.folder.iterdir()}
    assert {".hydra", "checkpoints", "predictions-val.parquet", "predictions-test.parquet", "metrics.json"} <= names
    assert {path.name for path in (run.folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    table = run.predictions("test")
    assert len(table) == 2 * table["item"].nunique() and table["logit"].notna().all()
    assert set(table["method"]) == {"real", "faceswap", "resynthesis", "temporal"}
    assert table.attrs["protocol"]["Split"].startswith("identity_disjoint")
    people = {name for item in table.loc[table["label"] == 1, "item"] for name in re.findall(r"id\d+", item)}
    assert people == {"id6", "id7", "id8"}, "the people of the test list, and none else"


def test_figures_are_those_of_the_predictions(run):
    """Independent of our metrics: scikit-learn on the table."""
    for split in ("val", "test"):
        table = run.predictions(split)
        prob = 1 / (1 + np.exp(-table["logit"]))
        assert run.metrics[split]["frame_auroc"] == pytest.approx(roc_auc_score(table["label"], prob), abs=1e-6)
        video = table.assign(prob=prob).groupby("item").agg(label=("label", "first"), prob=("prob", "mean"))
        assert run.metrics[split]["video_auroc"] == pytest.approx(
            roc_auc_score(video["label"], video["prob"]), abs=1e-6
        )
        assert run.metrics[split]["video_ap"] == pytest.approx(
            average_precision_score(video["label"], video["prob"]), abs=1e-6
        )


def test_the_best_checkpoint_is_chosen_on_validation(run):
    curve = pd.read_csv(run.folder / "metrics.csv")
    assert not [name for name in curve.columns if name.startswith("test/") and curve[name].notna().sum() > 1]
    best = curve["val/frame_auroc"].max()
    assert run.metrics["monitor"] == "val/frame_auroc" and run.metrics["score"] == pytest.approx(best, abs=1e-6)
    with pytest.raises(ValueError, match="expected a metric of the validation split"):
        Detector(torch.nn.Identity(), torch.nn.Identity(), None, None, monitor="test/video_auroc")


def test_the_schedule_steps_every_batch(run):
    """DeepfakeBench's scheduler.step() stands outside its loop: the rate never changes."""
    state = torch.load(run.folder / "checkpoints/last.ckpt", weights_only=True)
    assert state["lr_schedulers"][0]["_step_count"] == state["global_step"] + 1 > 3
    rate = pd.read_csv(run.folder / "metrics.csv").filter(like="lr-").stack()
    assert rate.nunique() > 1


def test_the_same_command_finds_the_same_run_and_does_not_repeat_it(run, workplace, arguments):
    before = (run.folder / "metrics.json").stat().st_mtime_ns
    assert "already finished" in unmask("train", *arguments, cwd=workplace).stdout
    assert (run.folder / "metrics.json").stat().st_mtime_ns == before
    assert len(list((workplace / "outputs/verbs").iterdir())) == 1


def test_identity_is_what_changes_the_result(workplace, arguments, monkeypatch):
    monkeypatch.chdir(workplace)

    def identity(*more: str) -> str:
        return jobs.run_folder("train", [*arguments, *more]).name

    base = identity()
    assert base == identity("logger=none", "rerun=true", "paths.out=x")
    others = ("seed=1", "module.optimizer.lr=1e-5", "trainer.max_epochs=3", "data.recipe.margin=0.5")
    assert len({base, *map(identity, others)}) == 5
    items = next(workplace.glob("outputs/prepared/demo_celebdf/*/items.parquet"))
    content = items.read_bytes()
    try:
        items.write_bytes(content + b"x")
        assert identity() != base, "other data, another run"
    finally:
        items.write_bytes(content)


def test_evaluate_gives_the_same_figures_and_takes_other_data(run, workplace, demo_root, arguments):
    before = run.predictions("test")
    printed = unmask("evaluate", f"run={run.folder}", "trainer=cpu", cwd=workplace).stdout
    assert "AUC, all" in printed
    pd.testing.assert_frame_equal(run.predictions("test"), before, check_exact=False, atol=1e-5)
    # another data set brings its own name and place; recipe and sampling stay the run's
    shutil.copytree(workplace / "outputs/prepared/demo_celebdf", workplace / "outputs/prepared/celebdf_v2")
    other = [
        f"run={run.folder}",
        "data=celebdf_v2",
        f"data.root={demo_root}",
        "data.split.protocol=official",
        "trainer=cpu",
    ]
    unmask("evaluate", *other, cwd=workplace)
    table = read_predictions(run.folder / "predictions-celebdf_v2-test.parquet")
    assert (table["dataset"] == "celebdf_v2").all() and table.attrs["protocol"]["Trained on"] == "demo_celebdf"
    np.testing.assert_allclose(table["logit"], before["logit"], atol=1e-5)
    lacking = unmask("evaluate", f"run={run.folder}", "data=celebdf_v1", "trainer=cpu", cwd=workplace, expect=1)
    assert "unmask prepare data=celebdf_v1" in lacking.stderr and "data.recipe.crop_size=64" in lacking.stderr


def test_the_report_is_one_page_with_the_protocol(run, workplace):
    printed = unmask("report", f"run={run.folder}", cwd=workplace).stdout
    page = (run.folder / "report.html").read_text()
    assert "report:" in printed and str(run.folder) in printed
    for words in ("Demo data", "identity_disjoint", "unmask train experiment=demo_celebdf/meso4", "scored once"):
        assert words in page
    assert not re.search(r"""(src|href)=["']https?:""", page)


@pytest.mark.slow
def test_a_training_ends_with_its_figures_its_folder_and_its_page(workplace, arguments):
    """The table that `unmask report` prints; the same where the run was finished before; a line an epoch in the log."""
    given = [*arguments, "name=ending", "seed=3", "report=true"]
    printed = unmask("train", *given, cwd=workplace).stdout
    (folder,) = (workplace / "outputs/ending").iterdir()
    page = (folder / "report.html").read_text()
    assert "unmask train experiment=demo_celebdf/meso4" in page
    assert " trainer.max_epochs=2" in page and "++trainer" not in page, "the command as it was typed"
    told = unmask("report", f"run={folder}", cwd=workplace).stdout
    assert "AUC, all" in told and printed.endswith(f"{told}run: {folder}\n")
    epochs = [line for line in printed.splitlines() if re.match(r"epoch \d", line)]
    assert len(epochs) == 2 and re.fullmatch(
        r"epoch 2 of 2: loss [\d.]+, val/loss [\d.]+, val/frame_auroc [\d.]+ \([\d.]+ s\)", epochs[1]
    )
    log = (folder / "train.log").read_text()
    assert all(line in log for line in (*epochs, f"training in {folder}", f"run: {folder}"))
    before = (folder / "report.html").stat().st_mtime_ns
    again = unmask("train", *given, cwd=workplace).stdout
    assert again == f"already finished: {folder} (rerun=true starts over)\n{told}run: {folder}\n"
    assert (folder / "report.html").stat().st_mtime_ns == before
    unmask("train", *given, "rerun=true", cwd=workplace)
    assert (folder / "train.log").read_text().count("epoch 2 of 2") == 1, "a run that starts over begins a new log"


def test_a_report_that_fails_is_one_line_and_loses_no_run(run, monkeypatch, capsys):
    monkeypatch.setattr(publish.page, "write", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(publish, "PAGE", "nowhere.html")
    publish.show(run.folder)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith(
        "the run is finished, but its report failed (ZeroDivisionError: division by zero). Retry: unmask report run="
    )
    assert lines[-1] == f"run: {run.folder}"


def test_one_file_is_asked_about(run, workplace, demo_root):
    shutil.copy(demo_root / "Celeb-real/id8_0000.mp4", workplace / "a clip (1)=x.mp4")
    printed = unmask("predict", "a clip (1)=x.mp4", f"run={run.folder}", cwd=workplace, expect=SCORED).stdout
    prob = float(re.search(r"score (\d\.\d\d) \(0: real, 1: fake\)", printed)[1])
    table = run.predictions("test")
    rows = table[table["item"] == "demo_celebdf/celeb/id8_0000"]
    assert prob == pytest.approx((1 / (1 + np.exp(-rows["logit"]))).mean(), abs=0.006), "the very path of evaluation"
    assert "rendered demo people" in printed and "A score is not proof" in printed
    assert "metadata: the file says it is synthetic" in printed, "as demo videos are marked"
    assert (workplace / "a clip (1)=x-timeline.png").read_bytes().startswith(b"\x89PNG")


BAD = [("no.mp4", None, "no such file", 1), ("empty.mp4", b"", "empty", 30), ("t.mp4", b"text" * 99, "not a", 30)]


@pytest.mark.parametrize(("name", "content", "reason", "code"), BAD)
def test_a_bad_file_gets_a_plain_answer(run, tmp_path, name, content, reason, code):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = unmask("predict", name, f"run={run.folder}", cwd=tmp_path, expect=code)
    said = done.stderr if code == 1 else done.stdout
    assert reason in said and name in said and "Traceback" not in said
    assert code == 1 or f"{name}: cannot analyse" in said


@pytest.mark.slow
def test_clips_train_too(workplace, demo_root):
    small = [*SMALL[:-3], "trainer=smoke", "frames=3", "data.sampling.frames_per_video=2", "data.batch_size=4"]
    unmask("train", "experiment=demo_celebdf/cnn_lstm", "name=clips", f"data.root={demo_root}", *small, cwd=workplace)
    (folder,) = (workplace / "outputs/clips").iterdir()
    run = Run(folder)
    assert run.metrics["parameters"] == sum(
        value.numel() for value in run.network().parameters() if value.requires_grad
    )
    assert set(run.predictions("test").groupby("item").size()) == {2}, "two clips of each video"
    printed = unmask("report", f"run=[{folder}]", "out=both.html", cwd=workplace).stdout
    assert "both.html" in printed


# -- what must be refused


class Trap:
    def __reduce__(self):
        return (os.system, ("touch pwned",))


def test_a_checkpoint_that_wants_unpickling_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"x": Trap()}}, tmp_path / "best.ckpt")
    with pytest.raises(RunError, match="is refused"):
        load_weights(tmp_path / "best.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps({"state_dict": Trap()}))
    with pytest.raises(RunError, match="is refused"):
        load_weights(tmp_path / "plain.ckpt")
    (tmp_path / "cut.ckpt").write_bytes(run.checkpoint.read_bytes()[:2000])
    with pytest.raises(RunError, match="is refused"):
        load_weights(tmp_path / "cut.ckpt")
    with pytest.raises(RunError, match="is missing"):
        load_weights(tmp_path / "none.ckpt")
    assert not (tmp_path / "pwned").exists()


def test_a_run_folder_from_elsewhere_cannot_run_code(run, workplace, tmp_path, demo_root):
    evil = tmp_path / "evil"
    shutil.copytree(run.folder, evil)
    cfg = OmegaConf.load(evil / ".hydra/config.yaml")
    cfg.module.network = {"_target_": "os.system", "command": f"touch {tmp_path / 'pwned'}"}
    OmegaConf.save(cfg, evil / ".hydra/config.yaml")
    clip = demo_root / "Celeb-real/id8_0000.mp4"
    done = unmask("predict", str(clip), f"run={evil}", cwd=workplace, expect=1)
    assert "module.network._target_: 'os.system' is not an allowed target" in done.stderr
    assert not (tmp_path / "pwned").exists()


def test_what_is_no_run_says_so(workplace, run, tmp_path):
    assert "not a run folder" in unmask("report", "run=nowhere", cwd=workplace, expect=1).stderr
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run.folder, unfinished, ignore=shutil.ignore_patterns("metrics.json"))
    assert "not finished" in unmask("evaluate", f"run={unfinished}", cwd=workplace, expect=1).stderr


def test_three_config_errors_at_once_and_no_run(workplace):
    wrong = ["experiment=celebdf/meso4", "+module.network.droput=0.5", "+module.optimizer.lrr=1", "image_size=???"]
    done = unmask("train", *wrong, cwd=workplace, expect=1)
    for name in ("module.network.droput", "module.optimizer.lrr", "image_size: no value"):
        assert name in done.stderr
    assert "3 problems" in done.stderr and "Traceback" not in done.stderr


def test_missing_data_names_the_command(tmp_path):
    done = unmask("train", "experiment=celebdf/meso4", cwd=tmp_path, expect=1)
    assert "unmask prepare data=celebdf_v2" in done.stderr
    done = unmask("prepare", "data=celebdf_v2", "check=true", cwd=tmp_path, expect=1)
    assert "List_of_testing_videos.txt" in done.stdout and "missing: data.root=" in done.stdout


# -- real videos


@pytest.mark.slow
def test_celebdf_layout_goes_the_whole_way(shared_data, tmp_path):
    root = f"data.root={shared_data / 'celebdf_layout'}"
    tiny = ["data.recipe.frames=4", "data.recipe.burst=1", "data.recipe.crop_size=128", "image_size=128"]
    printed = unmask("prepare", root, "prepare.num_workers=0", *tiny, cwd=tmp_path).stdout
    assert "7 items prepared, 0 rejected" in printed
    items = pd.read_parquet(next(tmp_path.glob("outputs/prepared/celebdf_v2/*/items.parquet"))).set_index("path")
    assert items["label"].to_dict() == {path: int("synthesis" in path) for path in items.index}
    assert items.loc["Celeb-synthesis/id1_id4_0000.mp4", "source"] == "celebdf_v2/celeb/id1_0000"
    assert list(items.loc["Celeb-synthesis/id1_id4_0000.mp4", "groups"]) == ["celebdf_v2/id1", "celebdf_v2/id4"]
    assert set(items.index[items["official_test"]]) == {"Celeb-real/id1_0000.mp4", "Celeb-synthesis/id1_id4_0000.mp4"}
    unmask("train", "experiment=celebdf/meso4", root, "trainer=smoke", *tiny, cwd=tmp_path)
    (folder,) = (tmp_path / "outputs/celebdf/meso4").iterdir()
    assert set(Run(folder).predictions("test")["item"]) == {
        "celebdf_v2/celeb/id1_0000",
        "celebdf_v2/celebdf/id1_id4_0000",
    }
    unmask("evaluate", f"run={folder}", "trainer=cpu", cwd=tmp_path)
    unmask("report", f"run={folder}", cwd=tmp_path)
    assert "Demo data" not in (folder / "report.html").read_text()
    clip = shared_data / "celebdf_layout/Celeb-synthesis/id1_id4_0000.mp4"
    assert "(0: real, 1: fake)" in unmask("predict", str(clip), f"run={folder}", cwd=tmp_path, expect=SCORED).stdout
    assert json.loads((folder / "metrics.json").read_text())["thresholds"].keys() == {"frame", "video"}


@pytest.mark.slow
def test_the_summary_of_a_run_is_read_without_its_data(run, workplace, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(run.folder, alone)
    (Path(tmp_path) / "elsewhere").mkdir()
    unmask("report", f"run={alone}", cwd=tmp_path / "elsewhere")
    page = (alone / "report.html").read_text()
    assert run.name in page and f"{run.metrics['test']['video_auroc']:.3f}" in page
