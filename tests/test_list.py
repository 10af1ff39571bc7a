"""`unmask list`: what is on the disk, described without loading anything heavy."""

import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import unmask
from unmask.commands.list import about
from unmask.config import conf_dir

CONF = Path(conf_dir())


def make_run(folder: Path, metrics: dict | None) -> None:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/config.yaml").write_text(
        "name: a/b\nseed: 7\ndata: {name: films}\n"
        "module: {monitor: val/video_auroc, x: '${y}', network: {_target_: unmask.networks.meso.Meso4}}\n"
    )
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.mark.parametrize(
    ("kind", "folder", "chosen"),
    [
        ("networks", "module/network", "module/network=NAME"),
        ("network", "module/network", "module/network=NAME"),
        ("losses", "module/loss", "module/loss=NAME"),
        ("data", "data", "data=NAME"),
        ("experiments", "experiment", "experiment=NAME"),
        ("augments", "augment", "augment@data.augment=NAME"),
    ],
)
def test_every_option_on_the_disk_is_listed_and_how_to_choose_it(tmp_path, kind, folder, chosen):
    printed = unmask("list", kind, cwd=tmp_path).stdout
    paths = (CONF / folder).glob("*/*.yaml" if kind == "experiments" else "*.yaml")
    names = {path.relative_to(CONF / folder).with_suffix("").as_posix() for path in paths if path.name[0] != "_"}
    listed = {line.split()[0] for line in printed.splitlines()[2:] if line[:1].strip() and "NAME" not in line}
    assert listed == names and len(names) >= 2
    assert chosen in printed
    assert not list(tmp_path.iterdir()), "a listing leaves nothing behind"


def test_an_option_is_described_by_its_file_or_its_class(tmp_path):
    assert "arXiv 1809.00888" in unmask("list", "networks", cwd=tmp_path).stdout
    assert "Binary cross-entropy" in unmask("list", "losses", cwd=tmp_path).stdout
    assert "torch.optim.AdamW" in unmask("list", "optimizers", cwd=tmp_path).stdout


def test_a_description_is_the_whole_first_sentence(tmp_path):
    path = tmp_path / "any.yaml"
    text = "# @package _global_\n# A network (arXiv 1.2) of 0.5, CLIP, ... in\n# two lines. Not this.\n\n# Nor this.\n"
    path.write_text(text)
    assert about(path) == "A network (arXiv 1.2) of 0.5, CLIP, ... in two lines."
    path.write_text("# A folder of\n# pictures:\n#   unmask train data=any\n")
    assert about(path) == "A folder of pictures", "commands are not part of it"


def test_runs_with_their_state_and_scores(tmp_path):
    out = tmp_path / "outputs"
    done = {"monitor": "val/video_auroc", "score": 0.875, "test": {"video_auroc": 0.6254}}
    make_run(out / "a/b/0123456789", done)
    make_run(out / "a/b/0123456789/inside", done)
    make_run(out / "a/b/abcdef0123", None)
    make_run(out / "a/b/ffffffffff", {**done, "score": float("nan"), "test": {}})
    date = datetime.date.today().isoformat()
    assert unmask("list", "runs", cwd=tmp_path).stdout.splitlines() == [
        "outputs/a/b/0123456789",
        f"  Meso4, films, seed 7, {date}, test AUC 0.625",
        "outputs/a/b/abcdef0123",
        "  Meso4, films, seed 7  unfinished",
        "outputs/a/b/ffffffffff",
        f"  Meso4, films, seed 7, {date}, val/video_auroc n/a",
    ]
    (tmp_path / "else where").mkdir()
    (out / "a/b/abcdef0123").rename(tmp_path / "else where/one")
    assert "else where/one" in unmask("list", "runs", "else where", cwd=tmp_path).stdout


def test_what_is_not_there_says_so(tmp_path):
    assert "no runs in outputs" in unmask("list", "runs", cwd=tmp_path).stdout
    done = unmask("list", "netwoks", cwd=tmp_path, expect=1)
    assert "unknown kind 'netwoks'; did you mean unmask list networks?" in done.stderr
    assert "networks" in unmask("list", "xyz", cwd=tmp_path, expect=1).stderr
    assert "unmask list experiments" in unmask("list", "presets", cwd=tmp_path, expect=1).stderr
    assert "unmask list runs ." in unmask("list", ".", cwd=tmp_path, expect=1).stderr
    assert "nowhere: no such folder" in unmask("list", "runs", "nowhere", cwd=tmp_path, expect=1).stderr
    assert "experiments" in unmask("list", cwd=tmp_path).stdout


def test_nothing_heavy_is_imported():
    heavy = ("torch", "pytorch_lightning", "pandas", "hydra")
    code = f"import sys, unmask.commands.list; print([n for n in {heavy} if n in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
