"""Quantization of exported files: what is quantized, what stays in float, and what the comparison says."""

import copy
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from unmask.export import quantize
from unmask.export.check import ExportError
from unmask.export.measure import Measured, paired_times
from unmask.export.onnx import export_onnx, session
from unmask.export.quantize import Quantized, logits_of, quantize_file
from unmask.export.wrapped import Parts, Wrapped
from unmask.metrics import delong


class Small(nn.Module):
    """Two convolutions and a linear layer; the weights are such that logits differ between pictures."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stages = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU()
        )
        self.classifier = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.stages(x).mean((2, 3))).squeeze(1) * 20


class Recurrent(nn.Module):
    """A frame-wise linear layer and an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.lstm, self.classifier = nn.Linear(3, 32), nn.LSTM(32, 32, batch_first=True), nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.lstm(self.embed(x.mean((3, 4))))
        return self.classifier(outputs[:, -1]).squeeze(1)


def pictures(count: int, side: int = 24) -> np.ndarray:
    """Pictures whose brightness and contrast differ."""
    random = np.random.default_rng(0)
    level, spread = random.integers(40, 200, (count, 3, 1, 1)), random.integers(2, 50, (count, 1, 1, 1))
    return np.clip(level + spread * random.standard_normal((count, 3, side, side)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    export_onnx(Wrapped(Small().eval(), Parts(24, 32)).eval(), path, {"licence": "MIT"})
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "clips.onnx"
    export_onnx(Wrapped(Recurrent().eval(), Parts(24, 24, frames=4)).eval(), path, {})
    return path


def weights(path: Path) -> dict[str, onnx.TensorProto]:
    return {value.name: value for value in onnx.load(path).graph.initializer}


def test_int8_stores_one_scale_per_channel_and_keeps_the_metadata(exported, tmp_path):
    found = quantize_file(exported, tmp_path / "q.onnx", "int8", pictures(32))
    assert found.how == "int8" and found.layers + len(found.kept) == 3 and found.change < quantize.TOLERANCE
    stored = weights(tmp_path / "q.onnx")
    kernels = {name: value for name, value in stored.items() if value.data_type == onnx.TensorProto.INT8}
    scales = [list(value.dims) for name, value in stored.items() if name.startswith("network.") and "scale" in name]
    assert [8] in scales and [16] in scales, (list(kernels), scales)
    model = onnx.load(tmp_path / "q.onnx")
    assert {prop.key: prop.value for prop in model.metadata_props}["licence"] == "MIT"
    assert [one.name for one in model.graph.output] == [one.name for one in onnx.load(exported).graph.output]
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_int8_is_close_on_other_pictures_but_not_equal(exported, tmp_path):
    quantize_file(exported, tmp_path / "q.onnx", "int8", pictures(64))
    other = pictures(96)[64:]
    one, two = logits_of(exported, other), logits_of(tmp_path / "q.onnx", other)
    assert 0 < np.sqrt(np.mean((one - two) ** 2)) < 2 * quantize.TOLERANCE * one.std()
    assert np.corrcoef(one, two)[0, 1] > 0.99 and len(np.unique(two)) == len(two), "the logit itself is not rounded"


def test_int8_does_not_change_the_mean_logit_of_the_calibration_crops(exported, tmp_path):
    values = pictures(64)
    quantize_file(exported, tmp_path / "q.onnx", "int8", values)
    one, two = (logits_of(path, values[:32]) for path in (exported, tmp_path / "q.onnx"))
    shift = float(onnx.numpy_helper.to_array(weights(tmp_path / "q.onnx")["logit_shift"]))
    assert abs(float((two - one).mean())) < 1e-5 < abs(shift)


def test_the_preprocessing_stays_in_float(exported, tmp_path):
    quantize_file(exported, tmp_path / "q.onnx", "int8", pictures(16))
    resize = [value for name, value in weights(tmp_path / "q.onnx").items() if name.startswith("resize")]
    assert resize and all(value.data_type == onnx.TensorProto.FLOAT for value in resize)


def test_a_sensitive_layer_stays_in_float(tmp_path, monkeypatch):
    """Between the convolutions, one huge channel leaves no steps of the 8-bit range for the other channels."""
    network = Small().eval()
    with torch.no_grad():
        network.stages[3].weight[:, 0] *= 1e-4
        network.stages[0].weight[0] *= 1e4  # a large output that the next layer ignores
        network.stages[0].bias[0] *= 1e4
    path, values = tmp_path / "hard.onnx", pictures(32)
    export_onnx(Wrapped(network, Parts(24, 24)).eval(), path, {})
    monkeypatch.setattr(quantize, "TOLERANCE", 1e-9)
    strict = quantize_file(path, tmp_path / "strict.onnx", "int8", values)
    monkeypatch.setattr(quantize, "TOLERANCE", 1e9)
    loose = quantize_file(path, tmp_path / "loose.onnx", "int8", values)
    assert len(strict.kept) == 1 and strict.layers == 2 and loose.kept == () and loose.layers == 3
    convolutions = {node.name.removeprefix("node_") for node in onnx.load(path).graph.node if node.op_type == "Conv"}
    assert set(strict.kept) <= convolutions, "not the linear layer, whose input and output have an ordinary range"
    held_out = values[16:]
    whole = logits_of(path, held_out)
    for name, found in (("strict", strict), ("loose", loose)):
        apart = logits_of(tmp_path / f"{name}.onnx", held_out) - whole
        assert found.change == pytest.approx(np.sqrt(np.mean(apart**2)) / whole.std(), rel=1e-4)


def test_dynamic_quantizes_lstm_and_linear_layers(clips, tmp_path):
    values = pictures(32)[:, None].repeat(4, axis=1)
    found = quantize_file(clips, tmp_path / "q.onnx", "dynamic", values)
    kinds = [node.op_type for node in onnx.load(tmp_path / "q.onnx").graph.node]
    assert found.layers >= 3 and "DynamicQuantizeLSTM" in kinds and "LSTM" not in kinds
    one, two = logits_of(clips, values), logits_of(tmp_path / "q.onnx", values)
    assert 0 < np.abs(one - two).max() < 0.1
    assert (tmp_path / "q.onnx").stat().st_size < clips.stat().st_size


@pytest.mark.parametrize(("how", "digits"), [("fp16", 2**-11), ("bf16", 2**-8)])
def test_short_weights_are_the_rounded_ones(exported, tmp_path, how, digits):
    found = quantize_file(exported, tmp_path / "q.onnx", how, pictures(2))
    network = copy.deepcopy(Small().eval())
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}[how]
    assert found.layers == 3
    stored = weights(tmp_path / "q.onnx")
    kernel = onnx.numpy_helper.to_array(stored[f"network.classifier.weight_{how}"]).astype(np.float32)
    expected = network.classifier.weight.detach().to(kind).float().numpy()
    np.testing.assert_array_equal(kernel, expected)
    one, two = logits_of(exported, pictures(16)), logits_of(tmp_path / "q.onnx", pictures(16))
    assert 0 < np.abs(one - two).max() < 100 * digits


def test_a_value_too_large_for_fp16_is_named(tmp_path):
    network = Small().eval()
    with torch.no_grad():
        network.classifier.weight[0, 0] = 1e6
    export_onnx(Wrapped(network, Parts(24, 24)).eval(), tmp_path / "a.onnx", {})
    with pytest.raises(
        ExportError, match=r"network\.classifier\.weight is too large for 16 bits; choose quantize=bf16"
    ):
        quantize_file(tmp_path / "a.onnx", tmp_path / "b.onnx", "fp16", pictures(2))
    with pytest.raises(ValueError, match="quantize=int4: expected one of int8, dynamic, fp16, bf16, or null"):
        quantize_file(tmp_path / "a.onnx", tmp_path / "b.onnx", "int4", pictures(2))


def test_the_words_of_a_comparison():
    label = np.repeat([0, 1], 20)
    first = np.arange(40.0) + np.tile([0, 15], 20)
    second = first + np.tile([3, 0, -3, 0], 10)
    areas = delong.auroc(first, label), delong.auroc(second, label)
    text = str(Measured(40, areas, delong.paired(second, first, label), (2.0, 1.0), (2.0, 1.9, 2.1), "a CPU"))
    assert "AUC on 40 test items 0." in text and "2.00 times as fast (quartiles 1.90 to 2.10)" in text
    text = str(Measured(0, None, None, (2.0, 1.0), (2.0, 1.9, 2.1), "a CPU"))
    assert "the accuracy was not measured" in text
    assert "2 kept in float (Conv_1, Conv_2)" in str(Quantized("int8", 3, ("Conv_1", "Conv_2"), 0.05))


def test_equal_files_are_equally_fast(exported):
    times = paired_times(exported, exported, pictures(1))
    assert times.shape == (30, 2) and 0.3 < np.median(times[:, 0] / times[:, 1]) < 3
    assert json.loads(json.dumps(times[0].tolist())) == times[0].tolist()
    assert len(session(exported)(pictures(1))) == 2
