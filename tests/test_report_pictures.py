"""If every item is one picture or one recording, a report says so and shows one level; videos have two levels."""

import io
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
import torch
from PIL import Image
from rich.console import Console

from unmask.data.dataset import Sampling
from unmask.data.loader import Loader
from unmask.inference import predict as verb
from unmask.media.pictures import WholePictures
from unmask.metrics import detection
from unmask.reporting import page, plots, tables
from unmask.reporting.run import RunReport

SHOWN = {"frame": 0.45, "video": 0.45}  # as probabilities
CUT = {level: float(np.log(0.45 / 0.55)) for level in SHOWN}


def predictions(seed: int = 0, number: int = 40, unscored: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = np.arange(number) % 2
    method = np.where(label == 0, "real", np.where(np.arange(number) % 4 == 1, "inpainting", "cutmix"))
    items = [f"art/{kind}/{index}" for index, kind in enumerate(method)]
    table = pd.DataFrame({"item": items, "track": 0, "frame": 0, "time": 0.0, "label": label, "method": method})
    table = table.assign(dataset="art", split="test", logit=rng.normal(2 * label - 1.0, 1.2))
    table.loc[: unscored - 1, ["logit", "time", "frame"]] = [np.nan, np.nan, -1]
    return table.astype({"frame": int})


def report(table: pd.DataFrame, name: str = "svm", **changes) -> RunReport:
    protocol = {"Data": "art, test split", "Samples": "each picture once"}
    summary = detection.summary(table, CUT, 50)
    return RunReport(name, table, CUT, summary, protocol, "unmask train", validation=table, **changes)


def strips(item: str, frames: list[int], track: int) -> list[np.ndarray]:
    return [np.full((32, 32, 3), 90, np.uint8) for _ in frames]


def words_of(path) -> str:
    html = re.sub(r"<style>.*?</style>", "", path.read_text(), flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def as_videos(table: pd.DataFrame) -> pd.DataFrame:
    """The same scores, as if each were a frame in the midst of a video."""
    return table.assign(frame=7, time=0.28)


@pytest.mark.parametrize(
    ("change", "unit"),
    [
        (lambda table: table, "image"),
        (lambda table: table.assign(time=np.nan), "image"),
        (as_videos, "video"),
        (lambda table: pd.concat([table, table.assign(frame=3)]), "video"),
        (lambda table: pd.concat([table, table.assign(track=1)]), "video"),
        (lambda table: table.assign(logit=np.nan), "video"),
        (lambda table: table.iloc[:0], "video"),
    ],
)
def test_what_an_item_is(change, unit):
    assert detection.unit(change(predictions())) == unit


def test_tables_show_one_level_and_it_is_what_scikit_learn_finds():
    run = report(predictions())
    scored = run.predictions.dropna(subset=["logit"])
    area = sk.roc_auc_score(scored["label"], scored["logit"])
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(tables.console([run]))
    lines = [line for line in tables.markdown([run]).splitlines() if "svm" in line]
    assert len(lines) == 1 and lines[0].startswith(f"| svm | image | {area:.3f} [")
    for text in (console.export_text(), tables.markdown([run]), tables.latex([run])):
        assert text.count("image") == 1 and not re.search("frame|video", text)
    assert run.figure("image", "all", "auroc") == run.figure("video", "all", "auroc")


def test_the_page_speaks_of_images(tmp_path):
    audit = {"auroc": 0.7, "low": 0.6, "high": 0.8, "num_real": 20, "num_fake": 20, "passed": False, "features": []}
    runs = [report(predictions(seed), name, audit=audit | {"note": ""}) for seed, name in ((0, "a"), (1, "b"))]
    text = words_of(page.write(tmp_path / "r.html", runs, "Art", strips, demo=True))
    assert not re.search(r"video|frame|face\b|clip", text, flags=re.I)
    assert "Example images" in text and "real image with the median score" in text
    assert "Test images 20 real, 20 fake; 39 scored" in text and "Image AUC" in text and "Image AP" in text
    html = (tmp_path / "r.html").read_text()
    assert 'class="video"' not in html and html.count('data-level="image"') == 2
    scored = runs[0].predictions.dropna(subset=["logit"])
    wrong = ((scored["logit"] > np.log(0.45 / 0.55)) != (scored["label"] == 1)).sum()
    assert f"{wrong} of 39 scored images are misclassified at the threshold 0.45" in text


def as_recordings(table: pd.DataFrame) -> pd.DataFrame:
    """The same scores, as if each were a window of a recording."""
    table = as_videos(table)
    table.attrs["protocol"] = {"Unit": "recording"}
    return table


def test_the_page_speaks_of_recordings(tmp_path):
    audit = {"auroc": 0.7, "low": 0.6, "high": 0.8, "num_real": 20, "num_fake": 20, "passed": False, "features": []}
    tables_of = [as_recordings(predictions(seed)) for seed in (0, 1)]
    runs = [report(table, name, audit=audit | {"note": ""}) for table, name in zip(tables_of, "ab", strict=True)]
    text = words_of(page.write(tmp_path / "r.html", runs, "Voices", strips, demo=True))
    text = text.replace("each picture once", "")  # from the protocol of `report`
    assert not re.search(r"video|frame|face\b|clip\b|clips\b|image|picture|seeing", text, flags=re.I)
    assert "Example recordings" in text and "real recording with the median score" in text
    assert "without hearing the sound" in text
    assert "Test recordings 20 real, 20 fake; 39 scored" in text and "Recording AUC" in text
    assert "| svm | recording | " in tables.markdown([report(as_recordings(predictions()))])


def test_videos_stay_videos_beside_pictures(tmp_path):
    runs = [report(predictions(), "pictures"), report(as_videos(predictions(1)), "films")]
    text = words_of(page.write(tmp_path / "r.html", runs, "Both", strips))
    assert "Scores over time" in text and "Example images" in text
    assert "Test images" in text and "Test videos" in text and "paired bootstrap over videos" in text
    levels = re.findall(r"^\| (\w+) \| (\w+) \|", tables.markdown(runs), flags=re.M)[1:]
    assert levels == [("pictures", "image"), ("films", "frame"), ("films", "video")]


@pytest.mark.parametrize(("logit", "colour"), [(2.0, (213, 94, 0)), (-2.0, (0, 114, 178))])
def test_a_picture_is_drawn_in_the_colour_of_its_call(logit, colour):
    rows = predictions(unscored=0).iloc[:1].assign(logit=logit)
    picture = plots.single(rows, strips, score_threshold=0.0)
    drawn = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3)
    shares = {name: np.mean((drawn == name).all(1)) for name in ((213, 94, 0), (0, 114, 178))}
    assert max(shares, key=shares.get) == colour and shares[colour] > 0.005
    assert np.mean((drawn == 90).all(1)) > 0.3, "the picture itself is there"


class Mean(torch.nn.Module):
    def forward(self, x):
        return 10 * (x.mean((1, 2, 3)) - 0.5)


def test_a_picture_is_asked_about(tmp_path, monkeypatch, capsys):
    """A run of pictures, in place of a folder: what it says of one picture is the mean of its pixels."""
    parts = {"data.recipe": WholePictures(32), "data.loader": Loader(32, 4), "data.sampling": Sampling(1)}
    config = {"data": {"name": "art", "sampling": {"frames": None}, "demo": False}}
    run = SimpleNamespace(
        thresholds=SHOWN, score_thresholds=CUT, config=config, name="svm", folder="outputs/svm", checkpoint="best.ckpt",
        network=Mean, kind="detector", summary="Mean, paintings, seed 0",
        build=parts.__getitem__, predictions=lambda split: predictions(),
        require_weights=lambda: None, calibration=lambda name: None, remarks=[], measured=None,
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((40, 50, 3), 178, np.uint8)).save("a painting.png")
    verb.Path("best.ckpt").write_bytes(b"weights")
    found = verb.predict(verb.Path("a painting.png"), run)
    assert found.score == pytest.approx(1 / (1 + np.exp(-10 * (178 / 255 - 0.5))), abs=1e-6)
    printed = capsys.readouterr().out
    assert "1 image scored with svm" in printed and "its test images" in printed and "20 and 19 images" in printed
    assert "the image looks more like the fakes" in printed and "Only the image was examined" in printed
    assert not re.search("video|frame|face", printed)
    assert Image.open("a painting-score.png").height > 400
