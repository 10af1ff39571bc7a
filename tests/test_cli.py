"""The console command: paths as people type them, help for people, errors that help."""

import gc
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from conftest import TINY
from unmask.cli import describe, main, overview, quote, verbs
from unmask.commands._shell import fail_clearly


@pytest.mark.parametrize(
    "name",
    [
        "clip (1).mp4",
        "it's.mp4",
        "a,b.mp4",
        "[clip].mp4",
        "x{1}.mp4",
        "ünï cödé.mp4",
        "C:\\x\\y\\",
        "it's\\'.mp4",
        "a:b#c.mp4",
    ],
)
def test_any_file_name_reaches_hydra_as_it_is(name):
    parsed = OverridesParser.create().parse_override(quote(name))
    assert (parsed.key_or_group, parsed.value()) == ("path", name)
    parsed = OverridesParser.create().parse_override(quote(f"data.root={name}"))
    assert (parsed.key_or_group, parsed.value()) == ("data.root", name)


def test_a_file_with_an_equals_sign_is_a_path_if_it_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.mp4").write_text("")
    assert quote("a=b.mp4") == "path='a=b.mp4'"
    assert quote("seed=3") == "seed=3"


@pytest.mark.parametrize(
    "plain",
    ["experiment=celebdf/meso4", "-m", "--cfg", "run=[a,b]", "data=a,b", "+x.y=1", "~logger", "'image_size=???'"[1:-1]],
)
def test_other_arguments_are_left_alone(plain):
    assert quote(plain) == plain


def test_help_is_written_for_people():
    assert {"demo", "prepare", "train", "evaluate", "report", "predict"} <= set(verbs())
    for verb in verbs():
        assert f"  {verb}" in overview()
        assert len(describe(verb).splitlines()) > 3 and f"unmask {verb}" in describe(verb)


def test_no_garbage_is_looked_for_while_a_verb_is_imported(monkeypatch):
    found = []

    @fail_clearly
    def verb() -> None:
        found.append((gc.isenabled(), gc.get_freeze_count() > frozen))

    def import_and_run(*_, **__) -> None:
        found.append(gc.isenabled())
        verb()

    monkeypatch.setattr(runpy, "run_module", import_and_run)
    monkeypatch.setattr(sys, "argv", ["unmask", "train"])
    frozen = gc.get_freeze_count()
    main()
    assert found == [True, (True, False)], "all is imported already: nothing is changed"
    monkeypatch.setattr(sys, "argv", ["unmask", "train"])
    monkeypatch.delitem(sys.modules, "torch")
    try:
        main()
    finally:
        gc.enable()
        gc.unfreeze()
    assert found[2:] == [False, (True, True)]


def test_the_installed_command_prepares_in_processes(demo_root, workplace, tmp_path):
    """The console script itself, with two worker processes: the same bytes as in one process."""
    command = [str(Path(sys.executable).with_name("unmask")), "prepare", "data=demo_celebdf", f"data.root={demo_root}"]
    done = subprocess.run(
        [*command, "prepare.num_workers=2", *TINY], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "prepared, 0 rejected" in done.stdout
    for name in ("crops-00000.npy", "items.parquet", "crops.parquet"):
        (ours,) = tmp_path.glob(f"outputs/prepared/demo_celebdf/*/{name}")
        (other,) = workplace.glob(f"outputs/prepared/demo_celebdf/*/{name}")
        assert ours.read_bytes() == other.read_bytes(), name
