"""Make an exported ONNX file smaller and faster: 8-bit integers, or weights of 16 bits.

`int8` computes convolutions and linear layers with 8-bit weights (one scale per channel) and 8-bit activations. The
ranges of the activations are measured on crops of the validation split. The file is in the QDQ format: pairs of
QuantizeLinear and DequantizeLinear around each layer, which a runtime fuses. The mean change of the logits is
subtracted at the end. Layers that lose too much stay in float: each layer is quantized alone to measure how far it
moves the logits, and the most sensitive ones are left out, one after the other, until the logits of the whole network
are close enough.

`dynamic` quantizes the weights of linear layers and LSTMs, and measures the ranges of activations at run time. It is
for LSTMs and transformers, and needs no crops. `fp16` and `bf16` only store the weights in 16 bits. They are
converted to float32 when the file is opened, so the file is half as large, but not faster.

What is computed before the network (conversion and resizing of pixels) and after it (calibration) stays in float.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unmask.export.check import ExportError
from unmask.export.inputs import Values
from unmask.export.onnx import session

if TYPE_CHECKING:
    import onnx

KINDS = ("int8", "dynamic", "fp16", "bf16")
# Largest root mean square change of the logits by int8, relative to their standard deviation. If the change is
# independent of the logits, and these are normal in each class, it lowers an AUC of 0.85 to 0.95 by less than 0.005.
TOLERANCE = 0.15
BATCH = 8  # crops per calibration step
STATIC = ("Conv", "ConvTranspose", "Gemm", "MatMul")
DYNAMIC = ("Gemm", "LSTM", "MatMul")
# Operators between layers that onnxruntime computes on 8-bit integers, so that activations need not be converted.
BETWEEN = ("Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "MaxPool", "Relu")
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Quantized:
    """What was quantized.

    Attributes:
        how: one of `KINDS`.
        layers: number of layers whose weights have fewer bits.
        kept: names of the layers that stay in float because of their sensitivity, the most sensitive first.
        change: root mean square change of the logits, whose mean is unchanged, relative to their standard deviation;
            None if it was not measured.
    """

    how: str
    layers: int
    kept: tuple[str, ...] = ()
    change: float | None = None

    def __str__(self) -> str:
        """Describe the result in one sentence."""
        kept = f", {len(self.kept)} kept in float ({', '.join(self.kept)})" if self.kept else ""
        change = f"; the logits change by {self.change:.1%} of their standard deviation" if self.change else ""
        return f"{self.how}: {self.layers} layers quantized{kept}{change}"


def quantize_file(source: Path, out: Path, how: str, pixels: Values) -> Quantized:
    """Quantize an exported ONNX file.

    Args:
        source: the file that `export_onnx` wrote.
        out: path of the quantized file; it has the same inputs, outputs and metadata.
        how: one of `KINDS`.
        pixels: uint8 crops [N, 3, S, S] or clips [N, T, 3, S, S] of the validation split. For int8, the first half
            gives the ranges of the activations, and the second half the changes of the logits.

    Raises:
        ExportError: the network has no layers of the kind that `how` quantizes.
        ValueError: `how` is not one of `KINDS`.
    """
    import onnx

    if how not in KINDS:
        raise ValueError(f"quantize={how}: expected one of {', '.join(KINDS)}, or null")
    model = onnx.load(source)
    if how in ("fp16", "bf16"):
        return _store_short(model, out, how)
    layers = _layers(model, STATIC if how == "int8" else DYNAMIC)
    if not layers:
        raise ExportError(f"quantize={how}: the network has no layers of the types {', '.join(STATIC)}")
    with TemporaryDirectory() as folder, _without_warnings():
        if how == "dynamic":
            _dynamic(source, out, layers)
            found = Quantized(how, _count(out))
        else:
            found = _Static(source, Path(folder), model, layers, pixels).quantize(out)
    written = onnx.load(out)
    onnx.helper.set_model_props(written, {prop.key: prop.value for prop in model.metadata_props})
    out.write_bytes(written.SerializeToString())
    return found


class _Static:
    """Static quantization of one file, whose ranges of activations are measured once."""

    def __init__(
        self, source: Path, folder: Path, model: "onnx.ModelProto", layers: Sequence[str], pixels: Values
    ) -> None:
        self.source, self.folder, self.layers = source, folder, list(layers)
        self.input = model.graph.input[0].name
        self.between = [node.name for node in _of_network(model) if node.op_type in BETWEEN]
        self.activations = _activations(model, layers)
        half = max(1, len(pixels) // 2)
        self.calibration, self.held_out = pixels[:half], pixels[half:] if len(pixels) > 1 else pixels
        self.expected = [logits_of(source, part) for part in (self.calibration, self.held_out)]

    def quantize(self, out: Path) -> Quantized:
        """Write the file; keep as few layers in float as `TOLERANCE` allows, at most half of them."""
        kept: list[str] = []
        change, shift = self._without(kept, out)
        if change > TOLERANCE:
            ordered = self._by_sensitivity()
            while change > TOLERANCE and len(kept) < len(ordered) // 2:
                kept = ordered[: len(kept) + 1]
                change, shift = self._without(kept, out)
        _add_to_logit(out, -shift)
        return Quantized("int8", _count(out), tuple(map(_short, kept)), change)

    def _by_sensitivity(self) -> list[str]:
        """Return the layers, the one that changes the logits most when it alone is quantized first."""
        alone = self.folder / "alone.onnx"
        changes = {name: self._quantize([name, *self.activations[name]], alone)[0] for name in self.layers}
        return sorted(self.layers, key=lambda name: -changes[name])

    def _without(self, kept: Sequence[str], out: Path) -> tuple[float, float]:
        """Quantize all layers but `kept`, and what is between them; see `_quantize`."""
        return self._quantize([*(name for name in self.layers if name not in kept), *self.between], out)

    def _quantize(self, names: list[str], out: Path) -> tuple[float, float]:
        """Quantize some nodes; return how much the logits of held-out crops change, and the mean change.

        The mean change is measured on the calibration crops and does not count, because `quantize` subtracts it from
        all logits (arXiv 1906.04721, section 4.2, corrects the mean of each layer in this way).
        """
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        quantize_static(
            self.source,
            out,
            _Reader(self.calibration, self.input),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*STATIC, *BETWEEN],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=names,
            # The last linear layer gives the logit, which 8 bits would round to 256 values.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
            calibration_cache_path=self.folder / "ranges.json",
        )
        shift = float(np.mean(logits_of(out, self.calibration) - self.expected[0]))
        apart = logits_of(out, self.held_out) - shift - self.expected[1]
        return float(np.sqrt(np.mean(apart**2)) / max(float(self.expected[1].std()), 1e-9)), shift


class _Reader:
    """Calibration crops, in batches."""

    def __init__(self, pixels: Values, name: str) -> None:
        self.name = name  # of the model's input
        self.batches = iter(np.array_split(pixels, -(-len(pixels) // BATCH)))

    def get_next(self) -> dict[str, Values] | None:
        """Return the next batch; None after the last one."""
        found = next(self.batches, None)
        return None if found is None else {self.name: np.ascontiguousarray(found)}

    def __iter__(self) -> Iterator[dict[str, Values]]:
        """Return an iterator over the batches."""
        return iter(self.get_next, None)


def logits_of(path: Path, pixels: Values) -> Logits:
    """Return the logits [N] that an exported file computes for crops or clips, in batches of 16."""
    run = session(path)
    parts = [run(np.ascontiguousarray(pixels[at : at + 16]))[0] for at in range(0, len(pixels), 16)]
    return np.concatenate(parts)


def _of_network(model: "onnx.ModelProto") -> list["onnx.NodeProto"]:
    """Return the nodes that compute the network; PyTorch's exporter records the module of each node."""
    return [node for node in model.graph.node if _scope(node).startswith("network")]


def _scope(node: "onnx.NodeProto") -> str:
    """Return the name of the outermost module that computes a node, such as `network.encoder`."""
    texts = [prop.value for prop in node.metadata_props if prop.key.endswith("name_scopes")]
    names = [part.strip(" '\"[]") for text in texts for part in text.split(",")]
    return next((name for name in names if name), "")


def _layers(model: "onnx.ModelProto", types: Sequence[str]) -> list[str]:
    """Return the names of the network's nodes of these types that have stored weights."""
    stored = {value.name for value in model.graph.initializer}
    nodes = [node for node in _of_network(model) if node.op_type in types]
    return [node.name for node in nodes if any(name in stored for name in list(node.input)[1:2])]


def _activations(model: "onnx.ModelProto", layers: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of the activations behind each layer, which share the range of their output with the layer."""
    found: dict[str, list[str]] = {name: [] for name in layers}
    outputs = {node.output[0]: node.name for node in model.graph.node if node.name in found}
    for node in model.graph.node:
        if node.op_type in ("Clip", "Relu") and node.input[0] in outputs:
            found[outputs[node.input[0]]].append(node.name)
    return found


def _add_to_logit(path: Path, value: float) -> None:
    """Add a number to the logit that a file computes, which is its first output."""
    import onnx

    model = onnx.load(path)
    logit = model.graph.output[0].name
    at, last = next((at, node) for at, node in enumerate(model.graph.node) if logit in node.output)
    last.output[:] = ["logit_before_shift" if name == logit else name for name in last.output]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, np.float32), "logit_shift"))
    model.graph.node.insert(at + 1, onnx.helper.make_node("Add", ["logit_before_shift", "logit_shift"], [logit]))
    path.write_bytes(model.SerializeToString())


def _dynamic(source: Path, out: Path, layers: Sequence[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # The quantizer replaces a node of the type Gemm by a MatMul with another name.
    names = [name for layer in layers for name in (layer, f"{layer}_MatMul")]
    quantize_dynamic(
        source, out, op_types_to_quantize=list(DYNAMIC), per_channel=True, weight_type=QuantType.QInt8,
        nodes_to_quantize=names,
    )  # fmt: skip


def _count(path: Path) -> int:
    """Return the number of weights, not biases, that a quantized file stores as 8-bit integers."""
    import onnx

    kinds = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    return sum(value.data_type in kinds and len(value.dims) > 1 for value in onnx.load(path).graph.initializer)


def _store_short(model: "onnx.ModelProto", out: Path, how: str) -> Quantized:
    """Store the float32 weights of the network in 16 bits, each followed by a conversion to float32."""
    import ml_dtypes
    import onnx

    kinds = {"fp16": (np.float16, onnx.TensorProto.FLOAT16), "bf16": (ml_dtypes.bfloat16, onnx.TensorProto.BFLOAT16)}
    kind, number = kinds[how]
    converted = []
    for value in model.graph.initializer:
        if value.data_type != onnx.TensorProto.FLOAT or not value.name.startswith("network."):
            continue
        array, name = onnx.numpy_helper.to_array(value), value.name
        with np.errstate(over="ignore"):  # checked below
            short = array.astype(kind)
        if not np.isfinite(short.astype(np.float32)).all():
            raise ExportError(f"quantize={how}: a value of {name} is too large for 16 bits; choose quantize=bf16")
        value.CopyFrom(onnx.helper.make_tensor(f"{name}_{how}", number, array.shape, short.tobytes(), raw=True))
        widen = onnx.helper.make_node("Cast", [f"{name}_{how}"], [name], f"cast_{name}", to=onnx.TensorProto.FLOAT)
        converted.append((array.ndim > 1, widen))
    nodes = [*(node for _, node in converted), *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    out.write_bytes(model.SerializeToString())
    return Quantized(how, sum(weight for weight, _ in converted))


def _short(name: str) -> str:
    return name.removeprefix("node_")


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress log messages of onnxruntime's quantizer, such as a hint at an optional step."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
