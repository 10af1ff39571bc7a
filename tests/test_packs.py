"""Packs: a published run gives the same scores, says nothing private, and a forged pack is refused by name."""

import hashlib
import json
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file, save_file

import unmask as unmask_package
from conftest import SCORED, unmask
from published import HOME, SIZE, run_folder
from unmask.config.build import build
from unmask.publishing.pack import Terms, publish
from unmask.reporting.gather import gather
from unmask.runs import pack
from unmask.runs.encoder import TrainedEncoder, network_of
from unmask.runs.errors import RunError
from unmask.runs.opening import open_run, writable
from unmask.runs.pack import PackError
from unmask.runs.run import Run
from unmask.web.loading import load_runs


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return Run(run_folder(tmp_path_factory.mktemp("run") / "films"))


@pytest.fixture(scope="module")
def published(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("published") / "pack"
    publish(run, out, Terms(licence="mit", cite="@misc{films}"), resamples=200)
    return out


@pytest.fixture
def forged(published, tmp_path) -> Path:
    """A copy of the pack that a test may forge."""
    shutil.copytree(published, tmp_path / "forged")
    return tmp_path / "forged"


def relist(folder: Path, **entries: dict) -> None:
    """Write checksums.json again, as a forger does, so that all hashes are right; `entries` are added."""
    about = json.loads((folder / "checksums.json").read_text())
    for name in about["files"]:
        content = (folder / name).read_bytes()
        about["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    about["files"] |= entries
    (folder / "checksums.json").write_text(json.dumps(about))


def picture(path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    return path


# ---- what is published


def test_a_pack_gives_the_scores_of_its_run(run, published, tmp_path):
    ours, theirs = run.network(), open_run(published).network()
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(ours(x), theirs(x))
    assert theirs.state_dict().keys() == ours.state_dict().keys() and not theirs.training
    there = open_run(published)
    assert there.score_thresholds == run.score_thresholds and there.name == run.name == "meso4"
    assert there.calibration("platt") == run.calibration("platt")
    assert there.measured == run.measured and there.measured is not None
    assert there.summary.finished == run.summary.finished


def test_the_files_are_listed_with_size_and_hash(published):
    about = json.loads((published / "checksums.json").read_text())
    there = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert there == {*about["files"], "checksums.json"} and "model.safetensors" in there
    for name, entry in about["files"].items():
        content = (published / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_nothing_private_is_published(published):
    for path in published.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert HOME.encode() not in content and b"anna" not in content.lower(), path.name
    tables = [pd.read_parquet(path) for path in published.rglob("*.parquet")]
    assert len(tables) == 4 and all(table["item"].str.fullmatch(r"films/\d\d").all() for table in tables)
    assert not [path for path in published.rglob("*") if path.suffix in (".png", ".jpg", ".html", ".ckpt")]
    command = json.loads((published / "metrics.json").read_text())["command"]
    assert command == "unmask train data=folder data.root=PATH name=films/meso4"


def test_an_item_has_one_number_in_all_tables(run, published):
    """Paired comparisons stay possible: the same item has the same scores under its number."""
    for name in ("predictions-test.parquet", "robustness/quick/jpeg-1.parquet"):
        before, after = pd.read_parquet(run.folder / name), pd.read_parquet(published / name)
        np.testing.assert_array_equal(before["logit"], after["logit"])
    clean, jpeg = (pd.read_parquet(published / f"robustness/quick/{name}.parquet") for name in ("clean-0", "jpeg-1"))
    assert clean["item"].tolist() == jpeg["item"].tolist() and clean["item"].is_unique


def test_paths_in_the_config_are_those_of_the_reader(published, monkeypatch):
    monkeypatch.setenv("UNMASK_DATA", "/elsewhere")
    data = open_run(published).config["data"]
    assert data["root"] == data["source"]["root"] == "/elsewhere/films" and "cache" not in data
    assert data["prepared"] == "outputs/prepared"


def test_a_path_elsewhere_in_the_config_is_refused(tmp_path):
    folder = run_folder(tmp_path / "run")
    config = yaml.safe_load((folder / ".hydra/config.yaml").read_text())
    config["data"]["source"]["group"] = "/home/anna/(.*)"
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(RunError, match=r"data\.source\.group=/home/anna/.*: this path or URL of"):
        publish(Run(folder), tmp_path / "pack", Terms(), 50)
    assert not (tmp_path / "pack").exists() and [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_card_states_the_metrics_with_intervals_and_the_robustness(run, published):
    text = (published / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["license"] == "mit" and about["library_name"] == "unmask"
    assert about["pipeline_tag"] == "image-classification"
    figure = gather(run, 200).figure("image", "all", "auroc")
    assert f"| AUC | {figure.value:.3f} | {figure.low:.3f} to {figure.high:.3f} | 20/20 | 100 % |" in body
    measured = {one["name"]: one["value"] for one in about["model-index"][0]["results"][0]["metrics"]}
    assert measured["AUC"] == round(figure.value, 4)
    assert "| saved as JPEG, quality 50 | 1 |" in body and "shorter side of the face or picture, px: 20 to 400" in body
    for heading in ("Intended use", "Training data", "Results", "Limits", "Licence", "How to cite"):
        assert f"\n## {heading}\n" in body
    read = ModelCard.load(published / "README.md").data  # the hub's own reader
    assert read.license == "mit" and {one.metric_type for one in read.eval_results} > {"roc_auc", "average_precision"}
    assert read.eval_results[0].metric_value == measured["AUC"] and read.eval_results[0].dataset_name.startswith(
        "films"
    )
    assert "@misc{films}" in body and "Demonstration only" not in body and "None" not in body


def test_metrics_json_has_the_published_figures(run, published):
    found = json.loads((published / "metrics.json").read_text())["published"]
    areas = [one for one in found["test"] if (one["metric"], one["method"], one["level"]) == ("auroc", "all", "video")]
    figure = gather(run, 200).figure("image", "all", "auroc")
    assert [(one["value"], one["low"], one["high"]) for one in areas] == [(figure.value, figure.low, figure.high)]
    assert [one["name"] for one in found["robustness"]["quick"]] == ["clean", "jpeg"]


def test_a_demo_run_is_a_demonstration(tmp_path):
    publish(Run(run_folder(tmp_path / "run", demo=True, robust=False)), tmp_path / "pack", Terms(), 50)
    text = (tmp_path / "pack/README.md").read_text()
    assert "**Demonstration only.**" in text and "model-index" not in text and "license: other" in text
    assert "suite=handling` was not run" in text and "did not state a licence" in text


def test_publishing_twice_gives_the_same_pack_and_replaces_only_it(run, tmp_path):
    out = tmp_path / "pack"
    first = publish(run, out, Terms(), 50)
    assert publish(run, out, Terms(), 50) == first == hashlib.sha256((out / "checksums.json").read_bytes()).hexdigest()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"was changed since it was written, and is not overwritten .*notes\.txt"):
        publish(run, out, Terms(), 50)
    assert (out / "notes.txt").read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == ["pack"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.txt").write_text("mine")
    with pytest.raises(RunError, match="exists and is not a pack; choose another folder"):
        publish(run, tmp_path / "other", Terms(), 50)


def test_a_swapper_is_not_published(tmp_path):
    folder = run_folder(tmp_path / "run")
    about = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(about | {"kind": "swapper"}))
    with pytest.raises(RunError, match="its weights contain the faces of the people"):
        publish(Run(folder), tmp_path / "pack", Terms(), 50)


# ---- where packs are accepted


def test_the_command_line_publishes_and_predicts(run, tmp_path):
    done = unmask("publish", f"run={run.folder}", "out=pack", "licence=mit", "resamples=50", cwd=tmp_path)
    digest = hashlib.sha256((tmp_path / "pack/checksums.json").read_bytes()).hexdigest()
    assert f"pack: pack (SHA-256 of checksums.json: {digest})" in done.stdout
    file = picture(tmp_path / "a.png")
    answers = []
    for place in (str(run.folder), "pack"):
        done = unmask("predict", str(file), f"run={place}", "format=jsonl", "trials=false", cwd=tmp_path, expect=SCORED)
        answers.append(json.loads(done.stdout)["models"][0])
    assert answers[0]["score"] == answers[1]["score"] and answers[0]["errors"] == answers[1]["errors"]
    assert answers[1]["weights"] == hashlib.sha256((tmp_path / "pack/model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["out=x"], "run missing: unmask publish run=DIR out=PACK"),
        (["run=.", "out=x"], "not a run folder"),
        (["run=x", "out=y", "push=owner/name"], "licence missing"),
        (["run=x", "out=y", "push=name", "licence=mit"], "push=name: expected owner/name"),
        (["run=x", "out=y", "names=maybe"], "names=maybe: expected true or false"),
    ],
)
def test_wrong_arguments_are_refused(arguments, said, tmp_path):
    done = unmask("publish", *arguments, cwd=tmp_path, expect=1)
    assert said in done.stderr and not list(tmp_path.iterdir())


def test_results_of_a_pack_go_to_a_run_folder(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = open_run(published)
    ours = writable(there)
    assert ours.folder == Path("outputs/packs/meso4") / pack.digest(published)[:10] and not ours.is_pack
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(ours.network()(x), there.network()(x))
    (ours.folder / "report.html").write_text("x")
    assert writable(there).folder == ours.folder and (ours.folder / "report.html").is_file(), "it is made once"
    assert writable(ours) is ours
    pack.verify(published)


def test_a_report_of_a_pack(published, tmp_path):
    unmask("report", f"run={published}", "out=page.html", "resamples=50", cwd=tmp_path)
    assert "meso4" in (tmp_path / "page.html").read_text()
    pack.verify(published)


def test_a_pack_is_an_encoder(run, published, tmp_path):
    network = build(network_of(str(published)))
    encoder = TrainedEncoder(network, str(published))
    x = torch.rand(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        assert torch.equal(encoder.eval()(x), run.network().encode(x))
    encoder.require_unseen(["other/fake/1", "other/real/2"])
    with pytest.raises(ValueError, match="the pack does not contain the names of its items, so it cannot be checked"):
        encoder.require_unseen(["films/real/anna_test_0"])
    publish(run, tmp_path / "named", Terms(names=True), 50)
    named = TrainedEncoder(network, str(tmp_path / "named"))
    named.require_unseen(["films/real/anna_test_0"])
    with pytest.raises(ValueError, match="were in the training or validation split of this run"):
        named.require_unseen(["films/real/anna_val_0"])
    assert "and no names of files" not in (tmp_path / "named/README.md").read_text()


def test_a_pack_is_served_and_loaded(published, tmp_path):
    loaded = load_runs([published], "platt", trials=False, explain=False)
    (card,) = loaded.models
    assert (
        card.name == "meso4"
        and card.weights == hashlib.sha256((published / "model.safetensors").read_bytes()).hexdigest()
    )
    file = picture(tmp_path / "a.png")
    score = unmask_package.load(str(published)).score(file)
    assert loaded.examiner.examine(file).models[0].score == score.probability


# ---- forged packs


def pickled(folder: Path) -> None:
    (folder / "extra.pkl").write_bytes(pickle.dumps({"a": 1}))


def pickle_listed(folder: Path) -> None:
    pickled(folder)
    relist(folder, **{"extra.pkl": {"bytes": 1, "sha256": "0" * 64}})


def checkpoint_renamed(folder: Path) -> None:
    torch.save({"a": torch.zeros(3)}, folder / "model.safetensors")
    relist(folder)


def pickle_renamed(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    relist(folder)


def header(folder: Path, size: int, about: bytes, data: bytes = b"") -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", size) + about + data)
    relist(folder)


def claims(folder: Path, shape: list[int], data: int, stored: int = 4) -> None:
    about = json.dumps({"network.a": {"dtype": "F32", "shape": shape, "data_offsets": [0, data]}}).encode()
    header(folder, len(about), about, bytes(stored))


def tensors(change: Callable[[dict], dict]) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
        relist(folder)

    return forge


def with_nan(state: dict) -> dict:
    first = next(name for name, value in state.items() if value.is_floating_point())
    state[first].view(-1)[0] = float("nan")
    return state


def other_shape(state: dict) -> dict:
    return {
        name: value.repeat(2, *[1] * (value.ndim - 1)) if value.ndim == 4 else value for name, value in state.items()
    }


def config(key: str, value: object) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        found = yaml.safe_load((folder / "config.yaml").read_text())
        *above, last = key.split(".")
        node = found
        for name in above:
            node = node[name]
        node[last] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(found))
        relist(folder)

    return forge


def metrics(**changes: object) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        found = json.loads((folder / "metrics.json").read_text())
        (folder / "metrics.json").write_text(json.dumps(found | changes))
        relist(folder)

    return forge


def entry(name: str) -> Callable[[Path], None]:
    return lambda folder: relist(folder, **{name: {"bytes": 3, "sha256": "0" * 64}})


def wrong_hash(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def linked(folder: Path) -> None:
    target = folder.parent / "secret.md"
    (folder / "README.md").rename(target)
    (folder / "README.md").symlink_to(target)


def linked_folder(folder: Path) -> None:
    (folder / "robustness").rename(folder.parent / "robustness")
    (folder / "robustness").symlink_to(folder.parent / "robustness")


def piped(folder: Path) -> None:
    (folder / "range.npz").unlink(missing_ok=True)
    os.mkfifo(folder / "range.npz")


def escaped(folder: Path) -> None:
    (folder / "README.md").write_text("# A card\x1b[2J\n")
    relist(folder)


def many_rows(folder: Path) -> None:
    """A table of few bytes that claims 10^9 rows: its values are all equal."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    part = pa.table({"a": pa.nulls(50_000_000)})
    with pq.ParquetWriter(folder / "predictions-test.parquet", part.schema) as writer:
        for _ in range(3):
            writer.write_table(part, row_group_size=50_000_000)
    relist(folder)


FORGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "pickle": (pickled, r"extra\.pkl: it is not in checksums\.json"),
    "pickle, listed": (pickle_listed, r"checksums\.json: it names 'extra\.pkl', which is not a file of a pack"),
    "checkpoint, renamed": (checkpoint_renamed, r"model\.safetensors is refused: it is a PyTorch file or a pickle"),
    "pickle, renamed": (pickle_renamed, r"model\.safetensors is refused: it is a PyTorch file or a pickle"),
    "path outside": (entry("../x"), r"it names '\.\./x', a path outside the pack"),
    "path outside, deep": (entry("robustness/../../x.parquet"), "a path outside the pack"),
    "absolute path": (entry("/etc/passwd"), "it names '/etc/passwd', a path outside the pack"),
    "path on Windows": (entry("C:\\x"), "a path outside the pack"),
    "escape in a name": (entry("\x1b[2J.md"), r"it names '\\x1b\[2J\.md', which is not a file of a pack"),
    "wrong hash": (wrong_hash, r"model\.safetensors: its SHA-256 is \w{12}\.\.\., but checksums\.json says"),
    "wrong size": (lambda folder: (folder / "README.md").write_text("x"), r"README\.md: it has 1 bytes, but"),
    "missing": (lambda folder: (folder / "metrics.json").unlink(), r"metrics\.json: it is missing"),
    "missing list": (lambda folder: (folder / "checksums.json").unlink(), r"checksums\.json: it is missing"),
    "damaged list": (lambda folder: (folder / "checksums.json").write_text("["), r"checksums\.json: it is damaged"),
    "additional": (lambda folder: (folder / "run.py").write_text("1"), r"run\.py: it is not in checksums\.json"),
    "additional run": (
        lambda folder: (folder / ".hydra").mkdir() or (folder / ".hydra/config.yaml").write_text("a: 1"),
        r"\.hydra/config\.yaml: it is not in checksums\.json",
    ),
    "header of 2^60": (lambda folder: header(folder, 2**60, b"{}"), "its header claims 1,152,921,504,606,846,976"),
    "header of 10 GB": (lambda folder: header(folder, 10**10, b"{}"), "its header claims 10,000,000,000 bytes"),
    "tensor of 10 GB": (lambda folder: claims(folder, [2_500_000_000], 10**10), "claim 10,000,000,000 bytes, but"),
    "tensor of 10 GB in 4 bytes": (lambda folder: claims(folder, [2_500_000_000], 4), "claims 2,500,000,000 values"),
    "huge shape": (lambda folder: claims(folder, [2**40, 2**40], 4), r"claims [\d,]{30,} values of 4 bytes"),
    "negative shape": (lambda folder: claims(folder, [-1], 4), "no valid dtype, shape and offsets"),
    "overlapping": (
        lambda folder: header(
            folder, 117,
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
            .ljust(117), bytes(4),
        ),
        "the tensor b does not begin where the one before it ends",
    ),
    "deep header": (lambda folder: header(folder, 100_000, b"[" * 100_000), "its header is not JSON"),
    "NaN": (tensors(with_nan), r"the tensor \S+: 1 of \d+ are not finite"),
    "other shape": (tensors(other_shape), r"model\.safetensors does not fit the module\.network of the config"),
    "other names": (tensors(lambda state: {"a": torch.zeros(2)}), "does not fit the module"),
    "target": (config("module.network", {"_target_": "os.system", "_args_": ["touch PWNED"]}), "not an allowed target"),
    "target of training": (
        config("module.network._target_", "unmask.training.callbacks.LastCheckpoint"), "is for training only",
    ),
    "larger network": (
        config("module.network", {"_target_": "torch.nn.Linear", "in_features": 900_000, "out_features": 900_000}),
        "much larger module than its checkpoint holds",
    ),
    "resolver": (config("data.root", "${oc.env:HOME}"), r"data\.root: '\$\{oc\.env:HOME\}' calls a resolver"),
    "output path": (config("module.loss.out", "/tmp/x"), "may not set output paths|no argument 'out'"),
    "name outside": (config("name", "../../x"), r"name: '\.\.' is not a valid name"),
    "escape in the card": (escaped, r"README\.md: it contains the control character \\x1b"),
    "escape in the metrics": (metrics(remarks=["\x1b[2J"]), r"metrics\.json: it contains the control character \\x1b"),
    "override in the metrics": (metrics(command="a\u202eb"), r"the control character \\u202e"),
    "kind": (metrics(kind="swapper"), "whose kind is one of detector, segmenter, generator"),
    "threshold": (metrics(thresholds={"frame": "x", "video": 0.5}), "thresholds: expected numbers by name"),
    "remarks": (metrics(remarks=[1]), "remarks: expected a list of texts"),
    "calibration": (metrics(calibration={"platt": 3}), r"calibration\.platt is damaged"),
    "many rows": (many_rows, r"predictions-test\.parquet: it claims 150,000,000 values"),
}  # fmt: skip
if sys.platform != "win32":
    FORGED |= {
        "symbolic link": (linked, r"README\.md: it is a symbolic link, which can point outside the pack"),
        "linked folder": (linked_folder, "robustness: it is a symbolic link"),
        "pipe": (piped, r"range\.npz: it is not a regular file \(a named pipe\)"),
    }


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_pack_is_refused_by_name(name, forged, monkeypatch):
    forge, said = FORGED[name]
    forge(forged)
    monkeypatch.chdir(forged.parent)
    monkeypatch.setenv("HOME", "/a-secret-home")
    with pytest.raises(ValueError, match=said) as refused:
        found = open_run(forged)
        _ = found.config, found.kind, found.measured
        found.network()
        found.module()
    assert "forged" in str(refused.value) or "module" in str(refused.value)
    assert "/a-secret-home" not in str(refused.value) and str(refused.value).replace("\n", "").isprintable()
    assert not (forged.parent / "PWNED").exists() and not list(forged.parent.rglob("PWNED"))


def test_a_link_to_a_pack_is_refused(published, tmp_path):
    (tmp_path / "link").symlink_to(published)
    with pytest.raises(PackError, match="it is a symbolic link; give the folder to which it points"):
        open_run(tmp_path / "link")


@pytest.mark.parametrize("verb", ["predict", "report", "evaluate", "sample"])
def test_every_verb_refuses_a_forged_pack_in_one_line(verb, forged, tmp_path):
    wrong_hash(forged)
    file = [str(picture(tmp_path / "a.png"))] if verb == "predict" else []
    done = unmask(verb, *file, f"run={forged}", cwd=tmp_path, expect=1)
    assert "model.safetensors: its SHA-256 is" in done.stderr and done.stderr.count("\n") <= 1
    assert not (tmp_path / "outputs").exists()
