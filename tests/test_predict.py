"""What `predict` says of one file: every face has its score, a score is a number, and every argument takes effect."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from conftest import SCORED, TINY, unmask
from test_faces import panels
from test_report_pictures import SHOWN, predictions
from unmask.arguments import UsageError, parse, quote, repeated
from unmask.data.dataset import Sampling
from unmask.data.loader import Loader
from unmask.files import printable
from unmask.inference import predict as verb
from unmask.inference.outputs import name_of
from unmask.media.encode import write_video
from unmask.media.pictures import WholePictures
from unmask.media.reader import open_media
from unmask.media.recipe import FaceCrops
from unmask.metrics.aggregate import logit
from unmask.runs.errors import RunError
from unmask.runs.figures import require_finite
from unmask.runs.run import Run

REAL, FAKE = (0, 114, 178), (213, 94, 0)  # the colours of the calls


class Dark(torch.nn.Module):
    """Dark crops are fake; with `weight`, which a test may break."""

    def __init__(self, weight: float = 20.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (0.2 - x.mean((1, 2, 3)))


# What a run in place of a folder lacks: imported scores, which cannot score files, calibration, and a measured range.
WITHOUT = {"require_weights": lambda: None, "calibration": lambda name: None, "remarks": [], "measured": None}
WEIGHTS = Path(tempfile.mkdtemp()) / "best.ckpt"  # its hash is part of an examination
WEIGHTS.write_bytes(b"weights")


def fake_run(recipe, table=None, module=Dark, thresholds=SHOWN) -> SimpleNamespace:
    """A run in place of a folder; `table` are its test predictions, None for none."""

    def tested(split: str) -> pd.DataFrame:
        if table is None:
            raise RunError("the run has not been evaluated on this split")
        return table

    parts = {"data.recipe": recipe, "data.loader": Loader(32, 3), "data.sampling": Sampling(frames_per_video=4)}
    config = {"data": {"name": "films", "sampling": {"frames": None}, "demo": False}}
    return SimpleNamespace(
        score_thresholds={level: float(logit(prob)) for level, prob in thresholds.items()}, config=config,
        name="dark", summary="Dark, films, seed 0",
        folder="outputs/dark", checkpoint=WEIGHTS, network=module,
        kind="detector", build=parts.__getitem__, predictions=tested, **WITHOUT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def couple(demo_root, tmp_path_factory) -> tuple[Path, Path]:
    """A video and a picture of two rendered people, the smaller one on the right in the dark."""
    place = tmp_path_factory.mktemp("couple")
    left, right = panels(demo_root)
    frames = np.concatenate([left, right // 4], axis=2)
    write_video(place / "two.mp4", list(frames), fps=25, crf=4)
    Image.fromarray(frames[0]).save(place / "two.png")
    return place / "two.mp4", place / "two.png"


def shares(path: Path) -> dict[tuple[int, int, int], float]:
    """How much of a drawn picture has the colour of each call."""
    drawn = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return {colour: float(np.mean((drawn == colour).all(1))) for colour in (REAL, FAKE)}


@pytest.mark.parametrize("kind", [0, 1])
def test_every_face_is_scored_and_the_highest_score_is_the_files(couple, kind, tmp_path, capsys):
    """Whatever the run's recipe says; against the crops, scored by hand."""
    path, recipe = couple[kind], FaceCrops(frames=4, burst=4, crop_size=32)
    crops = FaceCrops(frames=4, burst=4, crop_size=32, faces="all")(path)
    logit = 20 * (0.2 - crops.pixels.mean((1, 2, 3)) / 255)
    expected = [float((1 / (1 + np.exp(-logit[crops.track == track]))).mean()) for track in (0, 1)]
    assert expected[0] < SHOWN["video"] < expected[1]
    prob = verb.predict(path, fake_run(recipe, predictions()), tmp_path / "drawn.png").score
    assert prob == pytest.approx(expected[1], abs=1e-5)
    printed = capsys.readouterr().out
    assert "2 faces found and scored; the highest score is the score of the file:" in printed
    lines = re.findall(
        r"  face (\d): (\d\.\d\d), (\w+) the threshold; its centre is at \((\d+), (\d+)\) px(.*)", printed
    )
    assert [(line[0], line[2]) for line in lines] == [("1", "below"), ("2", "above")]
    assert [float(line[1]) for line in lines] == pytest.approx(expected, abs=0.006)
    centre = [(crops.box[crops.track == track, 0] + crops.box[crops.track == track, 2]).mean() / 2 for track in (0, 1)]
    assert [float(line[3]) for line in lines] == pytest.approx(centre, abs=0.51)
    assert all((", seen from 0.0" in line[5]) == (kind == 0) for line in lines)
    assert "the face with the highest score looks more like the fakes" in printed
    assert "The highest of 2 scores is above the threshold by mistake more often" in printed
    found = shares(tmp_path / "drawn.png")
    assert min(found.values()) > 0.001, "a lane or a box for each, in the colour of its call"


def test_one_face_is_counted_too(demo_root, tmp_path, capsys):
    path = sorted(demo_root.glob("Celeb-real/*.mp4"))[0]
    verb.predict(path, fake_run(FaceCrops(frames=4, burst=4, crop_size=32)), tmp_path / "drawn.png")
    printed = capsys.readouterr().out
    assert "1 face found" in printed and "face 1:" not in printed and "Only the face was examined" in printed
    assert "its error rates are unknown: the run has no test predictions" in printed


def test_a_group_photograph_has_a_box_for_each(shared_data, tmp_path, capsys):
    photo = shared_data / "face_photos/multiface.jpg"
    verb.predict(photo, fake_run(FaceCrops(crop_size=64), predictions()), tmp_path / "drawn.png")
    printed = capsys.readouterr().out
    assert "6 faces found" in printed and len(re.findall(r"^    face \d: ", printed, flags=re.M)) == 6


# ---- a verdict is a number


@pytest.fixture
def painting(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save("painting.png")
    return Path("painting.png")


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_give_no_verdict(painting, weight, capsys):
    run = fake_run(WholePictures(32), predictions(), lambda: Dark(weight))
    with pytest.raises(
        RunError, match=r"run=outputs/dark: 'weight' in the weights \S*best\.ckpt: 1 of 1 .*lower module\.opt"
    ):
        verb.predict(painting, run)
    assert not capsys.readouterr().out and not list(Path().glob("*score.png"))


def test_scores_that_are_no_numbers_give_no_verdict(painting):
    class Overflows(Dark):
        def forward(self, x):
            return super().forward(x) / 0.0

    with pytest.raises(
        RunError, match=r"run=outputs/dark: the scores of this file with the weights \S*best\.ckpt: 1 of 1"
    ):
        verb.predict(painting, fake_run(WholePictures(32), predictions(), Overflows))


def test_what_is_finite():
    for fine in ([0.0, 1e300], np.arange(3), torch.zeros(2, dtype=torch.bfloat16), []):
        require_finite(fine, "x", "y")
    with pytest.raises(RunError, match=r"^x: 2 of 3 are not finite \(NaN or infinite\); y$"):
        require_finite([np.nan, -np.inf, 1.0], "x", "y")


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (lambda table: table[table["label"] == 0], r"flags \d+% of the real ones \(20 images\); there are no fakes"),
        (lambda table: table[table["label"] == 1], r"flags \d+% of the fakes \(20 images\); there are no real ones"),
        (lambda table: table.iloc[:0], "its error rates are unknown: the run has no test predictions"),
        (lambda table: table.assign(logit=np.nan), "its error rates are unknown: the run has no test predictions"),
        (lambda table: table, r"flags \d+% of the fakes and \d+% of the real ones \(20 and 20 images\)"),
    ],
)
def test_errors_on_the_test_split_are_told_as_far_as_there_are_any(painting, keep, said, capsys):
    verb.predict(painting, fake_run(WholePictures(32), keep(predictions(unscored=0))))
    printed = capsys.readouterr().out
    assert re.search(said, printed) and "nan" not in printed


def test_a_score_beside_its_threshold_is_told_with_the_digits_that_tell_them_apart(painting, capsys):
    Image.fromarray(np.full((40, 50, 3), 51, np.uint8)).save(painting)  # a fifth of white: the logit is 0
    verb.predict(painting, fake_run(WholePictures(32), thresholds={"frame": 0.5, "video": 0.5003}))
    printed = capsys.readouterr().out
    assert "score 0.5000 (0: real, 1: fake)" in printed and "below this detector's threshold of 0.5003:" in printed


# ---- names and arguments


@pytest.mark.parametrize("name", ["x" * 246, "é" * 123, "字" * 82])
def test_a_picture_of_a_long_name_has_a_shortened_one(painting, name):
    assert len(os.fsencode(name)) == 246
    painting.rename(f"{name}.png")
    verb.predict(Path(f"{name}.png"), fake_run(WholePictures(32)))
    made = sorted(path.name for path in Path().iterdir() if path.name != f"{name}.png")
    assert all(len(os.fsencode(one)) <= 255 and one.startswith(name[:70]) for one in made)
    assert [one.rpartition("-")[2] for one in made] == ["report.html", "report.json", "score.png"]
    assert name_of(name, "score.png") == made[2] != name_of(name[:-1] + "y", "score.png")
    assert name_of("clip", "timeline.png") == "clip-timeline.png"


@pytest.mark.parametrize("name", ["a\nb\x1b[31m", os.fsdecode(b"caf\xe9")])
def test_a_name_cannot_write_to_the_terminal(painting, name, capsys):
    painting.rename(f"{name}.png")
    verb.predict(Path(f"{name}.png"), fake_run(WholePictures(32)))
    printed = capsys.readouterr().out
    assert printable(name) in printed and "\x1b" not in printed and printed.isascii()
    assert printable("a\nb\x1b[31m") == r"a\nb\x1b[31m" and printable("ünï 字") == "ünï 字"


def test_the_picture_goes_where_it_can(painting):
    run = fake_run(WholePictures(32))
    with pytest.raises(ValueError, match=r"out=score\.jpg: expected a folder, or a name ending in \.png"):
        verb.predict(painting, run, Path("score.jpg"))
    before = painting.read_bytes()
    with pytest.raises(ValueError, match=r"out=painting\.png: this is the input file"):
        verb.predict(painting, run, painting)
    with pytest.raises(ValueError, match=r"out=painting\.png/a\.\w+: cannot be written"):
        verb.predict(painting, run, painting / "a.png")
    assert painting.read_bytes() == before
    verb.predict(painting, run, Path("new/a.png"))
    assert Image.open("new/a.png").format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["A.jpg", "B.jpg"], r"path is given 2 times \('A.jpg', 'B.jpg'\), .* run the command once per file"),
        (["A.jpg", "path=B.jpg", "run=x"], r"path is given 2 times"),
        (["A.jpg", "run=x", "run=y"], r"run is given 2 times \('x', 'y'\), but takes one value$"),
        (["A.jpg", "run=x", "+out=a.png", "out=b.png"], "out is given 2 times"),
        (["A.jpg", "run=x", "out=b.png"], None),
        (["data=a", "seed=1", "+data.x=2", "-m"], None),
    ],
)
def test_a_key_is_given_once(arguments, said):
    found = repeated([quote(argument) for argument in arguments])
    assert (found is None) == (said is None) and re.search(said or "^$", found or "")


def test_predict_takes_several_paths():
    assert parse("predict", ["A.jpg", "path=B.jpg", "run=x"]) == ["path='A.jpg'", "path='B.jpg'", "run='x'"]
    for wrong in (["run=x", "run=y"], ["A.jpg", "out=a", "out=b"]):
        with pytest.raises(UsageError, match="is given 2 times"):
            parse("predict", wrong)
    with pytest.raises(UsageError, match="path is given 2 times"):
        parse("evaluate", ["A.jpg", "B.jpg"])


@pytest.fixture(scope="module")
def run(workplace, demo_root) -> Run:
    """A finished training: that of test_verbs, by the same command."""
    small = (*TINY, "trainer=cpu", "trainer.max_epochs=2", "data.batch_size=8")
    unmask("train", "experiment=demo_celebdf/meso4", "name=verbs", f"data.root={demo_root}", *small, cwd=workplace)
    (folder,) = (workplace / "outputs/verbs").iterdir()
    return Run(folder)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["A.jpg", "B.jpg", "run={run}"], 1, "B.jpg: no such file"),
        (["A.jpg", "run={run}", "trials=maybe"], 1, "trials=maybe: expected true or false"),
        (["A.jpg", "run={run}", "format=xml"], 1, "format=xml: expected one of table, jsonl, csv"),
        (["A.jpg"], 1, "run missing: unmask predict FILE run=DIR"),
        (["run={run}"], 1, "path missing: unmask predict FILE run=DIR"),
        (["A.jpg", "run={run}", "image_size=64"], 1, "image_size"),
        (
            ["A.jpg", "run={run}", "+image_size=64"],
            1,
            "image_size: not an argument of predict; expected one of path, run, model, out, calibration, trials, "
            "explain, format",
        ),
        (["A.jpg", "run={run}", "out=a.gif"], 1, "out=a.gif: expected a folder, or a name ending in .png"),
    ],
)
def test_every_argument_takes_effect_or_is_refused(run, tmp_path, arguments, code, said):
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "A.jpg")
    done = unmask("predict", *(text.format(run=run.folder) for text in arguments), cwd=tmp_path, expect=code)
    assert said in done.stderr and "Traceback" not in done.stderr and "probability" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["faces", "pictures"])
def test_nothing_that_trains_is_imported(run, demo_root, tmp_path, recipe):
    folder = tmp_path / "copy"
    shutil.copytree(run.folder, folder)
    if recipe == "pictures":
        config = yaml.safe_load((folder / ".hydra/config.yaml").read_text())
        config["data"]["recipe"] = {"_target_": "unmask.media.pictures.WholePictures", "crop_size": 64}
        (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    frame = open_media(sorted(demo_root.glob("Celeb-real/*.mp4"))[0]).read([0])[0]
    Image.fromarray(frame).save(tmp_path / "a.png")
    never = ["pytorch_lightning", "torchmetrics", "transformers", "diffusers", "timm", "wandb", "hydra", "h5py"]
    never += ["torchvision", "torch._dynamo"] if recipe == "pictures" else []
    lines = [
        f"import sys; sys.argv = ['unmask', 'predict', 'a.png', 'run={folder}', 'out=b.png']",
        "from unmask.cli import main",
        "from unmask.inference import predict",
        "draw = predict.draw",
        "predict.draw = lambda *a: (print('BEFORE', *{'matplotlib'} & set(sys.modules)), draw(*a))[1]",
        "try: main()",
        "except SystemExit as stop: assert stop.code in (10, 20), stop.code",
        f"print('IMPORTED', *set({never!r}) & set(sys.modules))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True)
    assert "(0: real, 1: fake)" in done.stdout, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith(("BEFORE", "IMPORTED"))] == [
        "BEFORE",
        "IMPORTED",
    ]


def test_a_diverged_run_and_an_unscored_one(run, demo_root, tmp_path):
    """Through the console command, on a copy of a real run's folder."""
    clip, folder = str(sorted(demo_root.glob("Celeb-real/*.mp4"))[0]), tmp_path / "copy"
    shutil.copytree(run.folder, folder)
    (folder / "predictions-test.parquet").unlink()
    printed = unmask("predict", clip, f"run={folder}", cwd=tmp_path, expect=SCORED).stdout
    assert "(0: real, 1: fake)" in printed and "the run has no test predictions" in printed
    checkpoint = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)
    name = next(name for name, value in checkpoint["state_dict"].items() if value.ndim == 4)
    checkpoint["state_dict"][name][0, 0, 0, 0] = float("nan")
    torch.save(checkpoint, folder / "checkpoints/best.ckpt")
    done = unmask("predict", clip, f"run={folder}", cwd=tmp_path, expect=1)
    assert (
        f"run={folder}: '{name.removeprefix('network.')}' in the weights" in done.stderr
        and "lower module.optimizer.lr" in done.stderr
    )
    assert "probability" not in done.stdout and len(done.stderr.splitlines()) == 1
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"thresholds": {"frame": 0.5, "video": None}}))
    done = unmask("predict", clip, f"run={folder}", cwd=tmp_path, expect=1)
    assert "the video threshold in metrics.json is nan; expected a finite number" in done.stderr
