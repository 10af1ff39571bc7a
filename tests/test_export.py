"""Pieces of an export against independent references, and files that are refused."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.ops import nms

from unmask.data.pixels import to_float
from unmask.export.check import ExportError, compare, second_length
from unmask.export.onnx import export_onnx, session
from unmask.export.pixels import Pixels, random_pixels
from unmask.export.safetensors import export_weights
from unmask.export.torch_export import export_program
from unmask.export.wrapped import Distance, Parts, Wrapped, calibrator
from unmask.media.mtcnn import _area, suppress
from unmask.metrics.calibrate import Isotonic, Platt, Temperature
from unmask.metrics.measured import Cloud
from unmask.runs.errors import RunError
from unmask.runs.exported import ExportedRun, open_run


class Brightness(nn.Module):
    """A frame detector with one feature: the mean of each channel."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[2.0, -1.0, 3.0]]))
            self.layer.bias.fill_(-0.5)

    def encode(self, x):
        return x.mean((2, 3))

    def head(self, features):
        return self.layer(features).squeeze(1)

    def forward(self, x):
        return self.head(self.encode(x))


class Fixed(nn.Module):
    """A clip detector with one weight per frame, so that it takes one length only."""

    def __init__(self, frames):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, frames))

    def forward(self, x):
        return (x.mean((2, 3, 4)) * self.weight).sum(1)


def small(network=None, **more) -> Wrapped:
    return Wrapped(network or Brightness(), Parts(**{"crop_size": 12, "image_size": 8, **more})).eval()


def test_the_resize_is_that_of_the_training():
    pixels = torch.randint(0, 256, (3, 3, 37, 37), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    for size in (16, 37, 50):
        resized = small(crop_size=37, image_size=size).resize(pixels.float() / 255)
        assert torch.allclose(resized, to_float(pixels, size), atol=1e-6)


@pytest.mark.parametrize(
    "calibration",
    [
        Platt(1.7, -0.4), Temperature(2.5), Isotonic((-2.0, -0.5, -0.49, 3.0), (0.1, 0.2, 0.8, 0.95)),
        Isotonic((1.0,), (0.3,)),
    ],
)  # fmt: skip
def test_calibrated_probabilities_are_those_of_the_map(calibration):
    logit = np.concatenate([np.linspace(-6, 6, 101), [-0.5, -0.495, -0.49]]).astype(np.float32)
    found = calibrator(calibration)(torch.from_numpy(logit)).numpy()
    assert np.abs(found - calibration(logit)).max() < 1e-5


def test_without_a_calibration_the_probability_is_the_sigmoid():
    assert calibrator(None)(torch.tensor([0.0, 2.0])).tolist() == pytest.approx([0.5, 1 / (1 + np.exp(-2))])


@pytest.mark.parametrize("samples", [6, 200])
def test_the_distance_is_that_of_the_cloud(samples):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(samples, 5)) @ rng.normal(size=(5, 5))
    cloud = Cloud.fit(features)
    asked = rng.normal(size=(9, 5)).astype(np.float32) * 3
    found = Distance(cloud)(torch.from_numpy(asked)).numpy()
    assert found == pytest.approx(cloud.distance(asked), rel=1e-4)


@pytest.mark.slow
def test_an_onnx_file_gives_the_outputs_by_name_for_any_batch(tmp_path):
    cloud = Cloud.fit(np.random.default_rng(0).uniform(size=(40, 3)))
    model = small(calibration=Platt(2.0, 0.1), cloud=cloud)
    assert model.names == ["logit", "probability", "features", "distance"]
    out = tmp_path / "a.onnx"
    checked = export_onnx(model, out, {"labels": "[]"})
    assert set(checked.difference) == set(model.names) and max(checked.difference.values()) < 1e-4
    assert checked.batches == (1, 3, 12, 16) and not checked.fixed and checked.lengths == ()
    pixels = random_pixels(model.parts, 5).values
    mean = (pixels / 255).mean((2, 3))  # resizing keeps the mean, up to the borders
    logit, probability, features, distance = session(out)(pixels)
    assert np.abs(features - mean).max() < 0.05
    assert logit == pytest.approx(features @ [2.0, -1.0, 3.0] - 0.5, abs=1e-5)
    assert probability == pytest.approx(Platt(2.0, 0.1)(logit), abs=1e-6)
    assert distance == pytest.approx(cloud.distance(features), rel=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"], "weights and metadata are in one file"


@pytest.mark.slow
def test_a_fixed_length_is_found_and_written(tmp_path):
    import onnx

    model = small(Fixed(4), frames=4)
    assert second_length(model) is None
    checked = export_onnx(model, tmp_path / "a.onnx", {})
    assert checked.fixed and checked.lengths == (4,)
    assert "Takes clips of 4 frames only" in str(checked)
    found = onnx.load(tmp_path / "a.onnx")
    assert {prop.key: prop.value for prop in found.metadata_props}["lengths"] == "4"
    axes = found.graph.input[0].type.tensor_type.shape.dim
    assert axes[0].dim_param and axes[1].dim_value == 4


def test_a_length_that_the_exporter_fixes_in_silence_is_found():
    """The runtime answers for a clip of any length, but always with the first four frames."""
    model = small(lambda_net(), frames=4)
    pixels = random_pixels(model.parts, 20)
    assert second_length(model) == 6

    def fixed(values):
        with torch.inference_mode():
            return [one.numpy() for one in model(torch.from_numpy(values[:, :4]))]

    with pytest.raises(ExportError, match=r"for an input of \[2, 6, 3, 12, 12\], its logit differs from PyTorch's"):
        compare(fixed, model, pixels, 6, "a.onnx")


def lambda_net() -> nn.Module:
    class Last(nn.Module):
        def forward(self, x):
            return x[:, -1].mean((1, 2, 3)) * 10

    return Last()


@pytest.mark.slow
def test_a_wrong_file_is_not_written(tmp_path, monkeypatch):
    out = tmp_path / "a.onnx"
    out.write_bytes(b"the old file")
    monkeypatch.setattr("unmask.export.onnx.session", lambda path: lambda x: [np.zeros(len(x), np.float32)] * 3)
    with pytest.raises(ExportError, match=r"its logit differs from PyTorch's by .*expected at most 0.0001"):
        export_onnx(small(), out, {})
    assert out.read_bytes() == b"the old file" and len(list(tmp_path.iterdir())) == 1


def test_few_samples_are_repeated_for_the_large_batch():
    model = small()
    seen = []

    def run(values):
        seen.append(len(values))
        with torch.inference_mode():
            return [one.numpy() for one in model(torch.from_numpy(values))]

    compare(run, model, Pixels(random_pixels(model.parts, 5).values, "five"), None, "a.onnx")
    assert seen == [1, 3, 1, 16]


@pytest.mark.parametrize("kind", ["torch_export", "safetensors"])
def test_other_formats_give_the_same_outputs_and_keep_the_metadata(kind, tmp_path):
    model, out = small(calibration=Platt(2.0, 0.1)), tmp_path / "a"
    export = {"torch_export": export_program, "safetensors": export_weights}[kind]
    assert max(export(model, out, {"labels": '["real", "fake"]'}).difference.values()) < 1e-4
    if kind == "torch_export":
        extra = {"metadata": ""}
        program = torch.export.load(out, extra_files=extra).module()
        pixels = torch.from_numpy(random_pixels(model.parts, 7).values)
        assert torch.allclose(program(pixels)[1], model(pixels)[1], atol=1e-6)
        assert json.loads(extra["metadata"])["labels"] == '["real", "fake"]'
    else:
        from safetensors import safe_open

        with safe_open(out, "pt") as file:
            assert file.metadata()["labels"] == '["real", "fake"]'
            assert torch.equal(file.get_tensor("network.layer.weight"), model.network.layer.weight)


def test_areas_and_suppression_are_those_of_pytorch():
    import cv2

    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (57, 43, 3), np.uint8)
    summed = cv2.integral(picture)
    for box, size in (((0, 0, 43, 57), (20, 31)), ((5, 7, 40, 30), (24, 24)), ((3, 3, 9, 11), (48, 48))):
        left, top, right, bottom = box
        part = torch.from_numpy(picture[top:bottom, left:right].astype(np.float32)).permute(2, 0, 1)
        expected = adaptive_avg_pool2d(part, size).permute(1, 2, 0).numpy()
        assert np.abs(_area(summed, box, size) - expected).max() < 1e-3
    corner = rng.uniform(0, 60, (200, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + rng.uniform(5, 30, (200, 2)).astype(np.float32)], 1)
    score = rng.uniform(size=200).astype(np.float32)
    expected = nms(torch.from_numpy(boxes), torch.from_numpy(score), 0.5).tolist()
    assert suppress(boxes, score, 0.5).tolist() == expected and 5 < len(expected) < 200


GOOD = {
    "format": "1",
    "config": json.dumps(
        {
            "name": "a",
            "data": {
                "name": "films",
                "demo": False,
                "recipe": {"_target_": "unmask.media.pictures.WholePictures", "crop_size": 12},
                "sampling": {"_target_": "unmask.data.dataset.Sampling", "frames": None},
                "loader": {"_target_": "unmask.data.loader.Loader", "image_size": 8},
            },
        }
    ),
    "metrics": json.dumps(
        {
            "kind": "detector",
            "thresholds": {"frame": 0.5, "video": 0.5},
            "about": {"errors": "unknown", "item": "image", "summary": "none"},
        }
    ),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """An exported file with a record, and a function that writes it again with another record."""
    import onnx

    place = tmp_path_factory.mktemp("forged")
    export_onnx(small(), place / "good.onnx", GOOD)

    def forged(**record):
        model = onnx.load(place / "good.onnx")
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {key: value for key, value in (GOOD | record).items() if value is not None})
        onnx.save(model, place / "forged.onnx")
        return place / "forged.onnx"

    return place / "good.onnx", forged


@pytest.mark.slow
def test_a_good_file_is_opened(file):
    run = open_run(file[0])
    assert isinstance(run, ExportedRun) and run.kind == "detector" and run.score_thresholds == {"frame": 0, "video": 0}
    assert (run.errors, run.item, str(run.summary), run.measured) == ("unknown", "image", "none", None)
    with pytest.raises(RunError, match="this needs the run folder"):
        run.network()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"format": "2"}, "not a file that this version of unmask export wrote"),
        ({"config": None}, "not a file that this version"),
        ({"metrics": "{}"}, "its metrics are damaged"),
        ({"metrics": "[1"}, "its metrics are damaged"),
        ({"metrics": GOOD["metrics"].replace("0.5", '"high"')}, "a threshold is not a number"),
        ({"config": '{"data": {"name": "films"}}'}, "its config has no recipe or sampling or loader"),
        ({"config": "[]"}, "is refused: it is not a config"),
        ({"config": "{" * 50}, "is refused: it is nested"),
        ({"config": GOOD["config"].replace("unmask.media.pictures.WholePictures", "os.system")}, "recipe"),
        ({"config": GOOD["config"].replace('"crop_size": 12', '"crop_size": 999999')}, "999999 is out of bounds"),
    ],
    ids=["format", "without config", "metrics", "json", "threshold", "parts", "list", "nested", "target", "huge"],
)  # fmt: skip
def test_a_forged_record_is_refused_by_name(file, record, message):
    from unmask.inference.score import Scorer

    path = file[1](**record)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        run = ExportedRun(path)
        _ = run.config, run.metrics
        Scorer(run)
    assert len(str(error.value)) < 600


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "a.onnx"
    with pytest.raises(RunError, match="no such file"):
        ExportedRun(path)
    path.write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(RunError, match="it is damaged, or not an ONNX model"):
        ExportedRun(path)
