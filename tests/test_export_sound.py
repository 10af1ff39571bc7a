"""Detectors of sound as exported files: every network on disk, on rendered voices, and the same answers as the run."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import SCORED, unmask
from sounds import RATE, save, tone
from test_export_networks import CONF, OTHERS
from test_exported import BLOCKED
from test_sound_networks import SOUND, network_of
from unmask.export.check import BATCHES, TOLERANCE, ExportError
from unmask.export.onnx import export_onnx, session
from unmask.export.pixels import COUNT, Pixels
from unmask.export.record import parts_of
from unmask.export.safetensors import export_weights
from unmask.export.torch_export import export_program
from unmask.export.wrapped import SoundParts, Wrapped
from unmask.media.pcm import to_float32
from unmask.media.recordings import Recordings
from unmask.metrics.calibrate import Platt
from unmask.metrics.measured import Cloud
from unmask.networks.graphs import GraphPool

SECOND = 16_000
WIDTHS = {"lcnn": ["module.network.width=4"], "wav2vec2": []}
FEATURES = sorted(path.stem for path in CONF.glob("module/network/features/*.yaml"))
SMALL = ["hidden=32", "layers=2", "heads=2", "channels=16"]
NETWORKS = {
    **{f"lcnn {name}": ("lcnn", "module.network.width=4", f"module/network/features={name}")
       for name in FEATURES},
    "aasist": ("aasist", "module.network.filters=24", "module.network.channels=[8,8,12,12]",
               "module.network.pre_emphasis=true"),
    "wav2vec2 lcnn": ("wav2vec2", "module/network/sound_encoder@module.network.encoder=lcnn",
                      "module.network.encoder.width=4"),
    **{f"wav2vec2 {norm}": ("wav2vec2", *(f"module.network.encoder.{one}" for one in (*SMALL, f"norm={norm}")))
       for norm in ("group", "layer")},
}  # fmt: skip


@pytest.fixture(scope="module")
def windows(voices) -> Pixels:
    """64 windows of 1 s of rendered voices, float32 [64, 16000]."""
    read = [to_float32(Recordings()(path).sound) for path in sorted((voices[0] / "raw").rglob("*.flac"))]
    each = -(-COUNT // len(read))
    starts = [(wave, round(at)) for wave in read for at in np.linspace(0, len(wave) - SECOND, each)]
    found = np.stack([wave[at : at + SECOND] for wave, at in starts])[:COUNT]
    assert len(found) == COUNT and found.std(1).min() > 0
    return Pixels(found, "rendered voices")


def trained(name: str, x: torch.Tensor) -> nn.Module:
    """A network whose running statistics are those of the voices, so that its logits differ as after a training."""
    network = network_of(*NETWORKS[name]).train()
    norms = [one for one in network.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
    with torch.no_grad():
        for _ in range(3):
            network(x)
        network.eval()
        head = next(one for one in reversed(list(network.modules())) if isinstance(one, nn.Linear))
        head.weight /= network(x).std()
    return network


def test_all_networks_for_sound_are_tested():
    assert {given[0] for given in NETWORKS.values()} == set(SOUND) == OTHERS - {"trained", "av_fusion", "av_sync"}
    assert {path.stem for path in CONF.glob("module/network/sound_encoder/*.yaml")} == {"lcnn", "wav2vec2"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_equals_pytorch(name, windows, tmp_path):
    x = torch.from_numpy(windows.values[::4])
    network = trained(name, x)
    with torch.no_grad():
        cloud = Cloud.fit(network.encode(torch.from_numpy(windows.values)).numpy())
    model = Wrapped(network, SoundParts(SECOND, Platt(1.3, -0.2), cloud)).eval()
    assert model.names == ["logit", "probability", "features", "distance"]
    checked = export_onnx(model, tmp_path / "a.onnx", {}, windows)
    print(name, checked)
    assert set(BATCHES) <= set(checked.batches) and checked.lengths == (SECOND, 20_000) and not checked.fixed
    run = session(tmp_path / "a.onnx")
    longer = np.resize(windows.values.reshape(-1), (3, 3 * SECOND + 1))
    for wave in (windows.values, longer, longer[:, : SECOND - 77]):
        with torch.inference_mode():
            wanted = [one.numpy() for one in model(torch.from_numpy(wave))]
        for found, right in zip(run(wave), wanted, strict=True):
            assert np.abs(found - right).max() <= TOLERANCE * max(1, np.abs(right).max())
        assert np.abs(run(wave)[1] - wanted[1]).max() <= TOLERANCE, "the probability"
    with torch.inference_mode():
        assert model(x)[0].std() > 0.5, "the voices make a difference that is far above the tolerance"


class Level(nn.Module):
    """The logarithm of the power, with a floor that is too small for PyTorch's exporter to ONNX."""

    def forward(self, x):
        return (x.square().mean(1) + 1e-8).log()


class Half(nn.Module):
    """The mean of the first half; an exporter computes its length once."""

    def forward(self, x):
        return 10 * x[:, : int(x.shape[1] * 0.5)].abs().mean(1)


class Fixed(nn.Module):
    """One weight per sample."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 400))

    def forward(self, x):
        return (x * self.weight).sum(1)


def of(network: nn.Module) -> Wrapped:
    return Wrapped(network, SoundParts(400)).eval()


def test_silence_is_compared(tmp_path):
    """The exporter takes 1e-8 for 0: only silence shows it."""
    with pytest.raises(ExportError, match=r"for an input of \[3, 400\], its logit differs from PyTorch's by inf"):
        export_onnx(of(Level()), tmp_path / "a.onnx", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("network", [Half, Fixed])
@pytest.mark.parametrize("export", [export_onnx, export_program])
def test_a_length_that_is_fixed_is_found_and_written(network, export, tmp_path):
    import onnx

    checked = export(of(network()), tmp_path / "a.onnx", {})
    assert checked.fixed and str(checked).endswith("windows of 400 samples). Takes windows of 400 samples only")
    if export is export_onnx:
        found = onnx.load(tmp_path / "a.onnx")
        assert {prop.key: prop.value for prop in found.metadata_props}["lengths"] == "400"
        axes = found.graph.input[0].type.tensor_type.shape.dim
        assert found.graph.input[0].name == "sound" and axes[0].dim_param and axes[1].dim_value == 400


@pytest.mark.parametrize("share", [0.3, 0.4, 0.5, 0.7])
def test_a_pooling_keeps_the_published_number_of_nodes(share):
    """As the authors' max(1, int(N * share)), whose rounding is only wrong for some larger graphs, such as N = 90."""
    pool = GraphPool(2, share)
    assert [pool(torch.zeros(1, n, 2)).shape[1] for n in range(1, 90)] == [max(1, int(n * share)) for n in range(1, 90)]


@pytest.mark.parametrize("name", ["lcnn lfcc", pytest.param("aasist", marks=pytest.mark.slow)])
@pytest.mark.parametrize("export", [export_program, export_weights])
def test_other_formats(name, export, windows, tmp_path):
    model = Wrapped(network_of(*NETWORKS[name]).eval(), SoundParts(SECOND)).eval()
    checked = export(model, tmp_path / "a", {}, Pixels(windows.values[:20], windows.source))
    fixed = (export, name) == (export_program, "aasist")  # torch.export guards whether a pooling drops the last steps
    assert max(checked.difference.values()) < TOLERANCE
    assert checked.lengths == ((SECOND,) if fixed else (SECOND, 20_000)) and checked.fixed is fixed
    if export is export_weights and name == "lcnn lfcc":
        from safetensors import safe_open

        with safe_open(tmp_path / "a", "pt") as file:
            bands = file.get_tensor("network.encoder.features.bands")
        assert torch.equal(bands, model.network.encoder.features.bands), "computed from settings, and stored, too"


def test_detectors_of_clips_with_sound_are_refused():
    recipe = SimpleNamespace(sees=True, hears=True)
    run = SimpleNamespace(build=lambda part: recipe, measured=None, name="av_fusion")
    with pytest.raises(ValueError, match=r"av_fusion is a detector of clips with sound; only detectors of pictures"):
        parts_of(run, None)


# ---- a trained run ----


@pytest.fixture(scope="module")
def exported(voices, tmp_path_factory):
    """A finished run on rendered voices, the ONNX file, what the export printed, and a recording."""
    place, here = voices
    small = ["trainer=cpu", "trainer.max_epochs=2", "data.batch_size=6", "module.network.width=4", "name=heard"]
    unmask("train", "experiment=demo_voices/lcnn", *here, *small, "handling=false", cwd=place)
    (run,) = (place / "outputs/heard").iterdir()
    out = tmp_path_factory.mktemp("models") / "lcnn.onnx"
    said = unmask("export", f"run={run}", f"out={out}", "licence=MIT", cwd=place).stdout
    return run, out, said


@pytest.fixture(scope="module")
def recordings(voices, tmp_path_factory):
    """A recording of two windows as WAV with 44.1 kHz, and one that is shorter than a window."""
    folder = tmp_path_factory.mktemp("recordings")
    (path, *_) = sorted((voices[0] / "raw").rglob("*.flac"))
    wave = to_float32(Recordings()(path).sound)
    return save(folder / "long.wav", np.resize(wave, 5 * SECOND), 44_100), save(folder / "short.wav", wave[:9000], RATE)


def examined(place, *arguments) -> dict:
    unmask("predict", *map(str, arguments), f"out={place}", cwd=place.parent, expect=SCORED)
    (found,) = place.glob("*.json")
    return json.loads(found.read_text())


@pytest.mark.slow
def test_the_file_says_what_it_is(exported):
    import onnx

    run, out, said = exported
    assert re.search(
        r"lcnn.onnx: \d+ kB, equals PyTorch within \S+ on \d+ windows of the run's validation split \(batches of "
        r".*, windows of 48000 and 60000 samples\)\n",
        said,
    ), said
    assert [path.name for path in out.parent.iterdir()] == ["lcnn.onnx"]
    found = onnx.load(out)
    stored = {prop.key: prop.value for prop in found.metadata_props}
    assert json.loads(stored["input"]) == {
        "name": "sound", "type": "float32", "rate": 16000, "channels": 1, "range": [-1, 1], "axes": ["batch", "sample"],
    }  # fmt: skip
    assert (stored["level"], stored["samples"], stored["lengths"]) == ("sound", "48000", "any")
    assert json.loads(stored["outputs"]) == [one.name for one in found.graph.output]
    assert json.loads(stored["outputs"])[:3] == ["logit", "probability", "features"]
    assert str(run.parents[1]) not in json.dumps(stored), "no path of the machine"


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1], ids=["long", "short"])
def test_both_give_the_same_examination(exported, recordings, number, tmp_path):
    of_run = examined(tmp_path / "run", recordings[number], f"run={exported[0]}")
    of_file = examined(tmp_path / "file", recordings[number], f"model={exported[1]}")
    assert of_file["answer"] == of_run["answer"] and of_file["caveats"] == of_run["caveats"]
    for name in ("score", "calibrated", "threshold"):
        assert of_file["models"][0][name] == pytest.approx(of_run["models"][0][name], abs=TOLERANCE)
    for name in ("name", "errors", "summary", "sees", "items", "scored", "calibration", "above_threshold"):
        assert of_file["models"][0][name] == of_run["models"][0][name]
    for one, other in zip(of_file["sound_trials"], of_run["sound_trials"], strict=True):
        assert one["name"] == other["name"] and one["score"] == pytest.approx(other["score"], abs=TOLERANCE)
    assert "onnxruntime" in of_file["versions"] and "torch" not in of_file["versions"]


WITHOUT = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
"""  # SciPy, which resamples sound, looks for "torch" among the imported modules; so None may not stand there


@pytest.mark.slow
def test_no_pytorch_is_needed(exported, recordings, tmp_path):
    """With the imports blocked, in a process of its own."""
    of_run = examined(tmp_path / "run", recordings[0], f"run={exported[0]}")
    code = f"{WITHOUT}\nfrom unmask.cli import main\nmain()"
    given = ("predict", str(recordings[0]), f"model={exported[1]}", f"out={tmp_path / 'file'}")
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode in SCORED, done.stderr
    (found,) = (tmp_path / "file").glob("*.json")
    score = json.loads(found.read_text())["models"][0]["score"]
    assert score == pytest.approx(of_run["models"][0]["score"], abs=TOLERANCE)
    assert len(list((tmp_path / "file").glob("*.html"))) == 1


@pytest.mark.slow
def test_a_server_scores_sound_without_pytorch(exported, recordings):
    """What a child process of `unmask serve` does, with the imports blocked."""
    code = f"""{WITHOUT}
import json
from pathlib import Path
from unmask.web.limits import Limits
from unmask.web.loading import load_runs, read_by
model = Path({str(exported[1])!r})
read, _, imports = read_by([model], Limits())
loaded = load_runs([model], "platt", True, True)
found = loaded.examiner.examine(Path({str(recordings[0])!r}))
page = loaded.report(found)
print(json.dumps([found.people[0].sees, found.models[0].score, list(imports), len(read), "The sound</h2>" in page]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sees, score, imports, read, heard = json.loads(done.stdout)
    assert (sees, imports, read, heard) == ("sound", ["onnxruntime"], 1, True) and 0 < score < 1


@pytest.mark.slow
def test_an_array_is_scored_like_the_run(exported):
    import unmask as package

    sound = tone(220, 2.0).astype(np.float32)
    scores = [package.load(path).score(sound) for path in exported[:2]]
    assert scores[0].logit == pytest.approx(scores[1].logit, abs=TOLERANCE)
    assert (scores[0].distance is None) is (scores[1].distance is None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torch_export", "safetensors"])
def test_other_formats_of_a_run(exported, voices, kind, tmp_path):
    out = tmp_path / {"torch_export": "a.pt2", "safetensors": "a.safetensors"}[kind]
    said = unmask("export", f"run={exported[0]}", f"format={kind}", f"out={out}", cwd=voices[0]).stdout
    assert "windows of the run's validation split" in said and [*tmp_path.iterdir()] == [out]


@pytest.mark.slow
@pytest.mark.parametrize("given", ["quantize=int8", "quantize=fp16", "score=true"])
def test_what_needs_pictures_is_refused_by_name(exported, given, tmp_path):
    done = unmask("export", f"run={exported[0]}", given, cwd=tmp_path, expect=1)
    assert f"{given} is for detectors of pictures and videos, but" in done.stderr
    assert "is a detector of sound" in done.stderr and not list(tmp_path.iterdir())
