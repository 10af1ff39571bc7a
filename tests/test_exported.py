"""A run and the file that it was exported to give the same answers; the file needs no PyTorch."""

import json
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from conftest import SCORED, TINY, unmask
from test_faces import panels
from unmask.media.encode import write_video
from unmask.media.find import FaceFinder
from unmask.media.mtcnn import FILES, Mtcnn
from unmask.media.reader import open_media

BLOCKED = (
    "torch", "torchvision", "timm", "lightning", "pytorch_lightning", "hydra", "omegaconf", "transformers", "diffusers",
    "facenet_pytorch", "sklearn", "torchmetrics", "h5py", "wandb", "decord", "torchcodec", "onnx",
    "onnxscript", "fsspec", "safetensors", "pyarrow",
)  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(workplace, demo_root, tmp_path_factory):
    """A finished training, the ONNX file, and what the export printed."""
    training = ("experiment=demo_celebdf/meso4", "name=travels", f"data.root={demo_root}", *TINY, "trainer=cpu")
    unmask("train", *training, "trainer.max_epochs=2", "data.batch_size=8", cwd=workplace)
    (run,) = (workplace / "outputs/travels").iterdir()
    out = tmp_path_factory.mktemp("models") / "meso4.onnx"
    done = unmask("export", f"run={run}", f"out={out}", "licence=MIT", cwd=workplace)
    return run, out, done.stdout


@pytest.fixture(scope="module")
def media(demo_root, tmp_path_factory):
    """A video and a picture of two rendered people."""
    place = tmp_path_factory.mktemp("media")
    left, right = panels(demo_root)
    frames = np.concatenate([left, right // 2], axis=2)
    write_video(place / "two.mp4", list(frames), fps=25, crf=4)
    Image.fromarray(frames[0]).save(place / "two.png")
    return place / "two.mp4", place / "two.png"


def examined(place, *arguments) -> dict:
    unmask("predict", *map(str, arguments), f"out={place}", cwd=place.parent, expect=SCORED)
    (found,) = place.glob("*.json")
    return json.loads(found.read_text())


def test_the_export_is_compared_on_validation_crops_and_says_what_it_is(exported):
    import onnx

    run, out, printed = exported
    assert re.search(
        r"meso4.onnx: \d+ kB, equals PyTorch within \S+ on \d+ frames of the run's validation split", printed
    )
    assert sorted(path.name for path in out.parent.iterdir()) == ["meso4.onnx", "mtcnn"]
    stored = {prop.key: prop.value for prop in onnx.load(out).metadata_props}
    assert json.loads(stored["labels"]) == ["real", "fake"] and stored["licence"] == "MIT"
    assert json.loads(stored["input"])["side"] == 64 and stored["level"] == "image"
    metrics = json.loads((run / "metrics.json").read_text())
    assert json.loads(stored["threshold"]) == pytest.approx(metrics["score_thresholds"])
    assert json.loads(stored["recipe"])["crop_size"] == 64 and stored["training_data"] == "demo_celebdf"
    assert str(run.parents[1]) not in json.dumps(stored), "no path of the machine"


@pytest.mark.parametrize("kind", [0, 1], ids=["video", "picture"])
def test_both_give_the_same_examination(exported, media, kind, tmp_path):
    run, out, _ = exported
    of_run = examined(tmp_path / "run", media[kind], f"run={run}")
    of_file = examined(tmp_path / "file", media[kind], f"model={out}")
    assert of_file["answer"] == of_run["answer"]
    assert [reason["code"] for reason in of_file["reasons"]] == [reason["code"] for reason in of_run["reasons"]]
    # A box that is 1e-4 px elsewhere changes some pixels of a crop by 1.
    for name, apart in (("score", 2e-3), ("calibrated", 2e-3), ("threshold", 1e-9)):
        assert of_file["models"][0][name] == pytest.approx(of_run["models"][0][name], abs=apart)
    for name in ("name", "errors", "summary", "sees", "items", "scored", "calibration", "above_threshold"):
        assert of_file["models"][0][name] == of_run["models"][0][name]
    assert len(of_file["people"]) == len(of_run["people"]) == 2
    for one, other in zip(of_file["people"], of_run["people"], strict=True):
        assert one["box"] == pytest.approx(other["box"], abs=0.1) and one["answer"] == other["answer"]
    for one, other in zip(of_file["trials"], of_run["trials"], strict=True):
        assert one["name"] == other["name"] and one["score"] == pytest.approx(other["score"], abs=2e-3)
    assert any("Heat maps are not available" in caveat for caveat in of_file["caveats"])
    assert "onnxruntime" in of_file["versions"] and "torch" not in of_file["versions"]


@pytest.mark.parametrize("kind", [0, 1], ids=["video", "picture"])
def test_no_pytorch_is_needed(exported, media, kind, tmp_path):
    """With the imports blocked, in a process of its own."""
    code = f"import sys\nfor name in {BLOCKED!r}: sys.modules[name] = None\nfrom unmask.cli import main\nmain()"
    given = ("predict", str(media[kind]), f"model={exported[1]}", f"out={tmp_path}")
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode in SCORED, done.stderr
    assert "2 faces found and scored" in done.stdout
    assert len(list(tmp_path.glob("*.html"))) == len(list(tmp_path.glob("*.png"))) == 1


def test_a_missing_face_detector_is_named(exported, media, tmp_path):
    shutil.copy(exported[1], tmp_path / "alone.onnx")
    done = unmask("predict", str(media[1]), "model=alone.onnx", cwd=tmp_path, expect=1)
    assert "pnet.onnx is missing: a model finds faces with the networks in the folder mtcnn next to it" in done.stderr


def test_wrong_arguments_are_named(exported, tmp_path):
    run, out, _ = exported
    for given, message in (
        (["export"], "run missing"),
        (["export", f"run={run}", "format=tflite"], "expected one of onnx, torch_export, safetensors"),
        (["export", f"run={run}", "out=a.pt2"], "expected the path of a file that ends in .onnx"),
        (["predict", str(out), f"run={run}", f"model={out}"], "run and model are both given"),
    ):
        assert message in unmask(*given, cwd=tmp_path, expect=1).stderr


def small(frames: np.ndarray, side: int = 480) -> np.ndarray:
    scale = min(1.0, side / max(frames.shape[1:3]))
    size = (round(frames.shape[2] * scale), round(frames.shape[1] * scale))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def same_faces(folder, frames: np.ndarray) -> int:
    """Compare the faces of both detectors; return how many there are."""
    of_torch, of_onnx = FaceFinder()(frames), FaceFinder(detector=Mtcnn(folder))(frames)
    for one, other in zip(of_torch, of_onnx, strict=True):
        assert one.boxes.shape == other.boxes.shape
        assert np.allclose(one.boxes, other.boxes, atol=1) and np.allclose(one.landmarks, other.landmarks, atol=1)
        assert np.allclose(one.probs, other.probs, atol=1e-3)
    return sum(len(one.boxes) for one in of_torch)


def test_faces_of_rendered_people_are_the_same(exported, media):
    assert all((exported[1].parent / "mtcnn" / name).is_file() for name in FILES)
    for path in media:
        reader = open_media(path, "auto")
        frames = reader.read(list(range(min(len(reader), 4))))
        assert same_faces(exported[1].parent / "mtcnn", frames) >= 2
    assert same_faces(exported[1].parent / "mtcnn", np.full((1, 100, 100, 3), 90, np.uint8)) == 0


def test_faces_in_photographs_and_clips_are_the_same(exported, shared_data):
    found = 0
    photos = sorted((shared_data / "face_photos").iterdir())
    for path in [*photos, *sorted((shared_data / "celebdf_layout").rglob("*.mp4"))]:
        reader = open_media(path, "auto")
        frames = small(reader.read(sorted({0, len(reader) // 2})))
        found += same_faces(exported[1].parent / "mtcnn", frames)
    assert found >= len(photos)
