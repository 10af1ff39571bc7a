"""The report says where it comes from: its date, version and commit, and the data, network and folder of each run."""

import json
import os
import re
import subprocess
from datetime import datetime
from importlib.metadata import version

import pytest

from test_report import small
from unmask.reporting import about, page
from unmask.runs.run import Run
from unmask.runs.summary import network

ABOUT = {"Written": "2026-01-02 03:04:05+01:00", "Version": "unmask 0.1.0", "Git commit": "0123456789ab"}
RUN = {"Data set": "toy", "Data root": "data/toy", "Network": "Meso4", "Seed": "7", "Run folder": "outputs/a/1"}


def about_block(path):
    block = re.search(r'<section id="about".*?</section>', path.read_text(), flags=re.S)[0]
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", block)
    return [(key, value.replace("<wbr>", "")) for key, value in pairs], block


@pytest.mark.slow
def test_the_page_says_where_it_comes_from(tmp_path):
    one = small(about=RUN, protocol={"Data": "toy", "Seed": "7"})
    shown, block = about_block(page.write(tmp_path / "r.html", [one], "t", about=ABOUT))
    assert shown == [*ABOUT.items(), *RUN.items()] and one.command in block
    assert (tmp_path / "r.html").read_text().count("<dt>Seed</dt>") == 1
    runs = [one, small(name="b", about={"Data root": "<script>", "Network": "Unet"})]
    shown, block = about_block(page.write(tmp_path / "r.html", runs, "t", about=ABOUT))
    assert shown == [*ABOUT.items(), *RUN.items(), ("Data root", "&lt;script&gt;"), ("Network", "Unet")]
    assert block.count("unmask evaluate run=") == 2 and "<h3>b</h3>" in block


def test_facts_of_a_run_are_those_of_its_folder(tmp_path):
    text = {
        "name": "toy/net", "seed": 3, "module": {"network": {"_target_": "unmask.networks.meso.Meso4"}},
        "data": {"name": "toy", "root": "somewhere/toy"},
    }  # fmt: skip
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/config.yaml").write_text(json.dumps(text))
    (tmp_path / "metrics.json").write_text("{}")
    os.utime(tmp_path / "metrics.json", (0, 86400))
    found = about.of_run(Run(tmp_path))
    date = found.pop("Run finished").removesuffix(" (date of metrics.json)")
    assert datetime.fromisoformat(date).timestamp() == 86400
    assert found == {
        "Data set": "toy", "Data root": "somewhere/toy", "Network": "Meso4", "Seed": "3", "Run folder": str(tmp_path)
    }  # fmt: skip
    parts = {name: {"name": name, "root": f"data/{name}"} for name in "ab"}
    (tmp_path / ".hydra/config.yaml").write_text(json.dumps({"data": {"name": None, "root": None, "parts": parts}}))
    found = about.of_run(Run(tmp_path))
    assert (found["Data set"], found["Data root"]) == ("a + b", "data/a, data/b")
    assert "Network" not in found and "Seed" not in found, "what is not known is left out"


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ({"_target_": "unmask.networks.meso.Meso4"}, "Meso4"),
        ({"_target_": "a.VideoResNet", "name": "r3d_18"}, "VideoResNet (r3d_18)"),
        ({"_target_": "a.UNet", "encoder": {"_target_": "a.TimmEncoder", "name": "resnet18"}}, "UNet (resnet18)"),
        ({"_target_": "a.CnnLstm", "encoder": {"_target_": "a.SmallEncoder"}}, "CnnLstm (SmallEncoder)"),
        ({"_target_": "a.CnnLstm", "encoder": "text"}, "CnnLstm"),
        ({}, ""),
    ],
)
def test_networks_have_names(node, name):
    assert network(node) == name


def test_the_commit_is_that_of_the_checkout_which_tracks_the_code(tmp_path):
    def git(*words):
        given = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(given, check=True, capture_output=True, text=True).stdout.strip()

    code = tmp_path / "env" / "unmask"
    code.mkdir(parents=True)
    (code / "__init__.py").write_text("")
    assert about._commit(code) == "", "no checkout"
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "other files")
    assert about._commit(code) == "", "a checkout that does not track the code"
    git("add", ".")
    git("commit", "-q", "-m", "code")
    git("tag", "v1")
    head = git("rev-parse", "HEAD")
    assert about._commit(code) == head[:12]
    (code / "__init__.py").write_text("changed = True")
    assert about._commit(code) == f"{head[:12]}, with uncommitted changes"
    facts = about.of_report(datetime(2026, 1, 2, 3, 4, 5))
    assert facts["Written"].startswith("2026-01-02 03:04:05") and facts["Version"] == f"unmask {version('unmask')}"
    assert datetime.fromisoformat(facts["Written"]).tzinfo is not None
