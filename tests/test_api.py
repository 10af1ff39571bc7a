"""The Python API: what `import unmask` costs, scores of files and arrays, composed configs, a script without Hydra."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningDataModule, LightningModule

import unmask
from conftest import ROOT, SCORED, TINY
from conftest import unmask as run_verb
from test_predict import fake_run
from unmask.config.build import build
from unmask.data.datamodule import build_data
from unmask.inference.score import Scorer
from unmask.media.encode import write_video
from unmask.media.kinds import MediaError
from unmask.media.pictures import WholePictures
from unmask.media.reader import open_media
from unmask.runs.errors import RunError
from unmask.runs.run import Run

TRAINING = (
    "experiment=demo_celebdf/meso4", "name=api", *TINY, "trainer=cpu", "trainer.max_epochs=2", "data.batch_size=8",
    "explain=0",
)  # fmt: skip
HEAVY = {"torch", "numpy", "pandas", "hydra", "omegaconf", "pytorch_lightning", "lightning", "yaml", "cv2"}


def imported(code: str) -> set[str]:
    """Which of the heavy packages a fresh process has imported after these statements."""
    lines = f"import sys\n{code}\nprint('IMPORTED', *{HEAVY} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_importing_unmask_imports_nothing_heavy():
    assert imported("import unmask; unmask.load, unmask.compose") == set()


@pytest.fixture(scope="module")
def run(workplace, demo_root) -> Run:
    """A finished training on the tiny prepared data."""
    run_verb("train", *TRAINING, f"data.root={demo_root}", cwd=workplace)
    (folder,) = (workplace / "outputs/api").iterdir()
    return Run(folder)


@pytest.fixture(scope="module")
def clip(run, demo_root):
    """A fake video of the test split, and its rows in the run's test predictions, which the Trainer wrote."""
    table = run.predictions("test")
    item = table.loc[table["label"] == 1, "item"].iloc[0]
    (path,) = demo_root.glob(f"Celeb-synthesis/{item.rpartition('/')[2]}.mp4")
    return path, table[table["item"] == item]


# ---- scores


@pytest.mark.slow
def test_a_test_video_gets_the_logits_that_the_trainer_wrote(run, clip):
    """Another way to the same numbers: prepared crops, a DataLoader and Lightning's test loop."""
    path, expected = clip
    found = unmask.load(str(run.folder)).score(str(path))
    assert found.predictions["frame"].tolist() == expected["frame"].tolist()
    assert found.predictions["time"].tolist() == pytest.approx(expected["time"].tolist())
    assert found.predictions["logit"].tolist() == pytest.approx(expected["logit"].tolist(), abs=1e-4)
    prob = float((1 / (1 + np.exp(-expected["logit"]))).mean())
    assert found.probability == pytest.approx(prob, abs=1e-5)
    assert found.logit == pytest.approx(np.log(prob / (1 - prob)), abs=1e-4)
    assert found.threshold == pytest.approx(run.metrics["thresholds"]["video"], abs=1e-9)
    assert found.above_threshold == (prob > found.threshold)


@pytest.mark.slow
def test_the_console_command_prints_the_same(run, clip, tmp_path):
    found = unmask.load(run.folder).score(clip[0])
    printed = run_verb("predict", str(clip[0]), f"run={run.folder}", cwd=tmp_path, expect=SCORED).stdout
    assert float(re.search(r"score (\d\.\d+) \(0: real, 1: fake\)", printed)[1]) == pytest.approx(
        found.probability, abs=0.00501
    )
    if (shown := re.search(r"calibrated: (0\.\d\d) \(platt", printed)) is not None:
        assert found.calibrated == pytest.approx(float(shown[1]), abs=0.00501)
    else:
        assert found.calibrated is None or not 0.01 <= found.calibrated <= 0.99
    assert unmask.load(run.folder).score(clip[0], calibration="none").calibrated is None


@pytest.mark.slow
def test_an_array_gets_the_scores_of_its_file(run, clip, tmp_path):
    scorer, reader = unmask.load(run.folder), open_media(clip[0])
    frames = reader.read(list(range(len(reader))))
    of_file, of_array = scorer.score(clip[0]), scorer.score(frames)
    assert of_array.predictions["logit"].tolist() == of_file.predictions["logit"].tolist()
    assert of_array.predictions["frame"].tolist() == of_file.predictions["frame"].tolist()
    assert of_array.predictions["time"].isna().all() and np.array_equal(of_array.crops.pixels, of_file.crops.pixels)
    Image.fromarray(frames[0]).save(tmp_path / "a.png")
    picture = scorer.score(tmp_path / "a.png")
    assert len(picture.predictions) == 1
    for same in (frames[0], frames[:1], Image.fromarray(frames[0])):
        assert scorer.score(same).logit == picture.logit


@pytest.mark.parametrize(("grey", "above"), [(20, True), (100, False)])
def test_a_score_is_that_of_the_network_by_hand(grey, above, tmp_path):
    """`Dark` gives 20 * (0.2 - mean); the threshold of the run in `test_predict` is a probability of `SHOWN`."""
    pixels = np.full((40, 50, 3), grey, np.uint8)
    scorer = Scorer(fake_run(WholePictures(32)))
    logit = 20 * (0.2 - grey / 255)
    write_video(tmp_path / "grey.mp4", [pixels] * 3, fps=25, crf=4)
    for media in (pixels, np.stack([pixels] * 3)):
        found = scorer.score(media)
        assert found.logit == pytest.approx(logit, abs=1e-4)
        assert found.probability == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)
        assert found.above_threshold is above and (found.probability > found.threshold) is above
    assert len(scorer.score(tmp_path / "grey.mp4").predictions) == 3
    assert "probability=" in repr(found) and "DataFrame" not in repr(found) and len(repr(found)) < 200


@pytest.mark.slow
def test_scoring_imports_neither_lightning_nor_hydra(run, clip):
    code = f"import unmask; print(unmask.load({str(run.folder)!r}).score({str(clip[0])!r}))"
    assert not imported(code) & {"pytorch_lightning", "lightning", "hydra", "omegaconf"}


# ---- errors


@pytest.mark.parametrize(
    ("pixels", "shown"),
    [
        (np.zeros((8, 8, 3), np.float32), r"float32 \[8, 8, 3\]"),
        (np.zeros((3, 8, 8), np.uint8), r"uint8 \[3, 8, 8\]"),
        (np.zeros((8, 8), np.uint8), r"uint8 \[8, 8\]"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"uint8 \[0, 8, 8, 3\]"),
        (np.zeros((2, 2, 8, 8, 3), np.uint8), r"uint8 \[2, 2, 8, 8, 3\]"),
        (torch.zeros(8, 8, 3), r"float32 \[8, 8, 3\]"),
        (None, r"object \[\]"),
    ],
)
def test_a_wrong_array_is_refused(pixels, shown):
    with pytest.raises(ValueError, match=f"cannot score an array of {shown}: expected uint8 .*\\[N, H, W, 3\\]"):
        Scorer(fake_run(WholePictures(32))).score(pixels)


@pytest.mark.slow
def test_an_unreadable_file_is_named(run, tmp_path):
    scorer = unmask.load(run.folder)
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.png").touch()
    for name, why in (("none.mp4", "no such file"), ("text.mp4", ""), ("empty.png", "is empty"), (".", "folder")):
        with pytest.raises(MediaError, match=rf"^{re.escape(str(tmp_path / name))}: .*{why}"):
            scorer.score(tmp_path / name)
    with pytest.raises(MediaError, match="no face found in 1 frame"):
        scorer.score(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="calibration=plat: expected one of none"):
        scorer.score(np.zeros((64, 64, 3), np.uint8), calibration="plat")


@pytest.mark.slow
def test_what_is_no_run_of_a_detector_is_refused(run, clip, tmp_path):
    with pytest.raises(RunError, match=r"not a run folder .* unmask list runs"):
        unmask.load(tmp_path / "none")
    with pytest.raises(RunError, match=rf"did you mean {run.folder}"):
        unmask.load(run.folder.parent)
    folder = tmp_path / "copy"
    shutil.copytree(run.folder, folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"kind": "generator"}))
    with pytest.raises(RunError, match=r"is a generator and has no scores; expected a run of a detector"):
        unmask.load(folder)
    (folder / "metrics.json").unlink()
    with pytest.raises(RunError, match=r"not finished"):
        unmask.load(folder)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "checkpoints/best.ckpt").write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"best\.ckpt"):
        unmask.load(folder).score(clip[0])


# ---- configs


def plain(node: object) -> bool:
    """Whether a tree holds nothing but plain mappings, lists and values without interpolations."""
    if type(node) is dict:
        return all(plain(value) for value in node.values())
    if type(node) is list:
        return all(plain(value) for value in node)
    return type(node) in (str, int, float, bool, type(None)) and "${" not in str(node)


@pytest.mark.slow
def test_a_composed_config_is_that_of_the_command(run, demo_root, workplace, monkeypatch):
    """The folder of the run is a hash of the config and the data, so it is the same only if both are."""
    monkeypatch.chdir(workplace)
    config = unmask.compose("train", [*TRAINING, f"data.root={demo_root}"])
    assert plain(config) and "hydra" not in config
    assert (workplace / config["paths"]["out"]).samefile(run.folder)
    assert {key: config[key] for key in ("name", "seed", "image_size")} == {"name": "api", "seed": 0, "image_size": 64}
    assert config["module"] == run.config["module"]
    module, data = build(config["module"]), build_data(config["data"])
    assert isinstance(module, LightningModule) and type(module.network).__name__ == "Meso4"
    assert isinstance(data, LightningDataModule)
    data.setup("fit")
    assert next(iter(data.train_dataloader()))["x"].shape[1:] == (3, 64, 64)


def test_values_and_paths_are_given_as_on_the_command_line(tmp_path):
    place = tmp_path / "a folder = 1"
    config = unmask.compose("train", [f"data.root={place}", "trainer.overfit_batches=2", "data.batch_size=5"])
    assert config["data"]["source"]["root"] == str(place) and config["data"]["loader"]["batch_size"] == 5
    assert config["trainer"]["overfit_batches"] == 2
    assert unmask.compose("predict", ["run=DIR"])["run"] == "DIR"
    assert unmask.compose("prepare", ["data.root=DIR"])["prepare"]["shard"] is None


@pytest.mark.parametrize(
    ("verb", "overrides", "said"),
    [
        ("tran", [], r"^tran: not a verb with a config; expected one of demo, evaluate, .*train"),
        ("train", ["experiment=celebdf/mso4"], r"^experiment=celebdf/mso4: unknown option; did you mean celebdf/meso4"),
        ("train", ["trainr.max_epochs=1"], r"trainr\.max_epochs: unknown key"),
        ("train", ["data.batch_size=0"], r"data\.batch_size=0: expected a whole number of 1 or more"),
        ("train", ["data.root=x", "+module.network.droput=0.5"], r"no argument 'droput'; did you mean 'dropout'\?"),
        ("evaluate", [], r"run: no value; pass run=\.\.\."),
    ],
)
def test_a_wrong_config_is_explained(verb, overrides, said):
    with pytest.raises(ValueError, match=said):
        unmask.compose(verb, overrides)


# ---- a script


@pytest.mark.slow
def test_the_script_without_hydra_trains_and_prints_its_figure(tmp_path):
    script = ROOT / "docs/train_in_python.py"
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith('"""')]
    assert len(lines) <= 25
    code = f"import runpy, sys; runpy.run_path({str(script)!r}); print('HYDRA', 'hydra' in sys.modules)"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HYDRA False"
    area = float(re.search(r"^AUC over test videos: (\d\.\d{3})$", done.stdout, re.M)[1])
    assert 0.6 < area <= 1, "above chance, although no single frame shows a third of the forgeries"
