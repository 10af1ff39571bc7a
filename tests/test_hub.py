"""Packs on the hub: downloaded only when asked for, checked before and after, and uploaded. The hub is a fake one."""

import json
import re
from pathlib import Path

import pytest

from conftest import unmask
from fake_hub import FakeHub, serving
from published import run_folder
from unmask.commands.serve import folders_of
from unmask.publishing.pack import Terms, publish
from unmask.publishing.push import push
from unmask.runs.address import HubError, folder_of, parse_address
from unmask.runs.encoder import network_of
from unmask.runs.errors import RunError
from unmask.runs.opening import open_run
from unmask.runs.pack import PackError
from unmask.runs.run import Run


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("hub")
    publish(Run(run_folder(place / "run")), place / "pack", Terms(licence="mit"), 50)
    return place / "pack"


@pytest.fixture
def hub(published, tmp_path, monkeypatch):
    """A hub with the pack at `anna/films`, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    with serving(monkeypatch) as found:
        files = {path.relative_to(published).as_posix(): path for path in published.rglob("*") if path.is_file()}
        found.repositories["anna/films"] = {name: path.read_bytes() for name, path in files.items()}
        found.repositories["anna/films"] |= {".gitattributes": b"x", "extra/photo.png": b"not a part of the pack"}
        yield found


def cached(tmp_path: Path) -> list[str]:
    """The files in the cache, without the lock files."""
    files = (path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(path.relative_to(tmp_path / "cache").as_posix() for path in files)


def test_a_pack_is_downloaded_once_and_its_commit_is_printed(hub, published, tmp_path, capsys):
    commit = hub.commit("anna/films")
    found = open_run("hf://anna/films@main")
    assert found.folder == tmp_path / "cache/unmask/packs/anna/films" / commit
    assert {path.name: path.read_bytes() for path in published.iterdir() if path.is_file()} == {
        path.name: path.read_bytes() for path in found.folder.iterdir() if path.is_file()
    }
    said = " ".join(capsys.readouterr().err.split())
    assert (
        f"hf://anna/films@main is the commit {commit}; to always get this version, use run=hf://anna/films@{commit}"
        in said
    )
    assert not [one for one in hub.asked if "photo.png" in one or ".gitattributes" in one]
    assert found.network() is not None and found.preset == "meso4"
    hub.asked.clear()
    assert open_run(f"hf://anna/films@{commit}").folder == found.folder
    assert hub.asked == [], "a commit in the cache needs no request"
    assert capsys.readouterr() == ("", "")


def test_a_path_that_swallowed_a_slash_is_understood(hub):
    assert open_run(Path(f"hf://anna/films@{hub.commit('anna/films')}")).preset == "meso4"


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (
            "hf://anna/films",
            r"the revision is missing; expected hf://OWNER/NAME@REVISION, .* such as hf://anna/films@main",
        ),
        ("hf://anna", "expected hf://OWNER/NAME@REVISION"),
        ("hf://anna/../x@main", "expected hf://OWNER/NAME@REVISION"),
        ("hf://anna/films@../../x", "expected hf://OWNER/NAME@REVISION"),
        ("hf://anna/films@a b", "expected hf://OWNER/NAME@REVISION"),
        ("hf://anna/\x1b[2J@main", r"run=hf://anna/\\x1b\[2J@main: expected"),
    ],
)
def test_wrong_addresses_are_refused_without_a_request(hub, run, said):
    with pytest.raises(HubError, match=said):
        folder_of(run)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("hf://anna/nothing@main", "no such repository, or it is private"),
        ("hf://anna/films@v9", "the repository has no such revision"),
        (f"hf://anna/films@{'0' * 40}", "the repository has no such revision"),
    ],
)
def test_what_the_hub_does_not_have(hub, run, said):
    with pytest.raises(HubError, match=said):
        folder_of(run)


def test_a_repository_without_a_pack_is_refused(hub):
    hub.repositories["anna/other"] = {"pytorch_model.bin": b"x", "README.md": b"x"}
    with pytest.raises(HubError, match=r"this repository has no checksums\.json of a valid size"):
        folder_of("hf://anna/other@main")
    assert not [one for one in hub.asked if "resolve" in one]


def test_nothing_but_the_list_is_downloaded_if_a_name_or_a_size_is_wrong(hub, tmp_path):
    files = hub.repositories["anna/films"]
    about = json.loads(files["checksums.json"])
    for change, error, said in (
        ({"../x": {"bytes": 1, "sha256": "0" * 64}}, PackError, r"it names '\.\./x', a path outside the pack"),
        ({"run.py": {"bytes": 1, "sha256": "0" * 64}}, PackError, r"it names 'run\.py', which is not a file of a pack"),
        ({"range.npz": {"bytes": 1, "sha256": "0" * 64}}, HubError, r"says 1 bytes, but the hub has no such file"),
        ({"README.md": {"bytes": 2**40, "sha256": "0" * 64}}, PackError, "it has 1,099,511,627,776 bytes, expected at"),
        ({"README.md": {"bytes": 1, "sha256": "0" * 64}}, HubError, r"README\.md: checksums\.json says 1 bytes, but"),
    ):
        files["checksums.json"] = json.dumps(about | {"files": about["files"] | change}).encode()
        hub.asked.clear()
        with pytest.raises(error, match=said):
            folder_of("hf://anna/films@main")
        asked = [one for one in hub.asked if "resolve" in one]
        assert asked and all(one.endswith("/checksums.json") for one in asked)
    assert cached(tmp_path) == [], "no part of it stays in the cache"


def test_a_changed_file_is_refused_after_the_download(hub, tmp_path):
    content = bytearray(hub.repositories["anna/films"]["model.safetensors"])
    content[-1] ^= 1
    hub.repositories["anna/films"]["model.safetensors"] = bytes(content)
    with pytest.raises(PackError, match=r"model\.safetensors: its SHA-256 is"):
        folder_of("hf://anna/films@main")
    assert cached(tmp_path) == []


def test_a_changed_file_in_the_cache_is_refused(hub):
    found = open_run("hf://anna/films@main")
    (found.folder / "README.md").write_text("x")
    with pytest.raises(PackError, match=r"README\.md: it has 1 bytes"):
        open_run(f"hf://anna/films@{found.folder.name}")


def test_a_hub_that_claims_another_size(hub, tmp_path):
    hub.sizes["checksums.json"] = 2**30
    with pytest.raises(HubError, match=r"no checksums\.json of a valid size"):
        folder_of("hf://anna/films@main")
    hub.sizes = {"model.safetensors": 3}
    with pytest.raises(HubError, match=r"model\.safetensors: checksums\.json says [\d,]+ bytes, but the hub has 3"):
        folder_of("hf://anna/films@main")
    assert cached(tmp_path) == []


def test_offline_nothing_is_asked(hub, monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set, and this pack is not in"):
        folder_of("hf://anna/films@main")
    assert hub.asked == []


def test_a_training_needs_a_commit(hub):
    with pytest.raises(HubError, match="a training needs a full commit"):
        network_of("hf://anna/films@main")
    assert hub.asked == []
    assert network_of(f"hf://anna/films@{hub.commit('anna/films')}")["_target_"] == "unmask.networks.meso.Meso4"


def test_a_foreign_config_downloads_nothing(hub, tmp_path):
    """A run's config may name another run as its encoder; the address is not followed."""
    import yaml

    folder = run_folder(tmp_path / "run")
    config = yaml.safe_load((folder / ".hydra/config.yaml").read_text())
    inner = config["module"]["network"]
    config["module"]["network"] = {
        "_target_": "unmask.networks.classifier.FrameClassifier",
        "encoder": {
            "_target_": "unmask.runs.encoder.TrainedEncoder", "run": "hf://anna/films@main", "network": inner,
        },
    }  # fmt: skip
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    assert Run(folder).config["module"]["network"]["encoder"]["run"] is None
    with pytest.raises(ValueError):
        Run(folder).network()
    assert hub.asked == []


def test_the_server_downloads_before_its_processes_are_confined(hub, tmp_path):
    (folder,) = folders_of("hf://anna/films@main")
    assert folder == tmp_path / "cache/unmask/packs/anna/films" / hub.commit("anna/films")


def test_push_and_fetch_again(hub, published):
    address = push(published, "owner/mine", private=True)
    assert re.fullmatch(r"hf://owner/mine@[0-9a-f]{40}", str(address)) and "visibility private" in hub.asked
    there = set(hub.repositories["owner/mine"]) - {".gitattributes"}
    assert there == {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert open_run(str(address)).weights().keys() == open_run(published).weights().keys()
    hub.repositories["owner/mine"]["predictions-old-test.parquet"] = b"of an earlier version"
    push(published, "owner/mine", private=True)
    assert "predictions-old-test.parquet" not in hub.repositories["owner/mine"]
    assert ".gitattributes" in hub.repositories["owner/mine"]


def test_push_changes_no_other_repository(hub, published):
    hub.repositories["owner/other"] = {"README.md": b"x", "weights.bin": b"x"}
    with pytest.raises(RunError, match=r"this repository contains weights\.bin and is not a pack"):
        push(published, "owner/other", private=True)
    assert hub.repositories["owner/other"] == {"README.md": b"x", "weights.bin": b"x"}


def test_the_command_line_pushes(hub: FakeHub, tmp_path):
    folder = run_folder(tmp_path / "run")
    arguments = [f"run={folder}", "out=pack", "licence=mit", "push=owner/films", "private=false", "resamples=50"]
    done = unmask("publish", *arguments, cwd=tmp_path)
    commit = hub.commit("owner/films")
    assert f"uploaded: use it with run=hf://owner/films@{commit}" in done.stdout
    assert "visibility public" in hub.asked


def test_addresses_are_parsed():
    found = parse_address("hf://some-owner/my.pack_2@refs/pr/1")
    assert found == ("some-owner/my.pack_2", "refs/pr/1") and str(found) == "hf://some-owner/my.pack_2@refs/pr/1"
