"""The console command: paths as people type them, help for people, errors that help."""

import contextlib
import gc
import io
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from conftest import TINY, unmask
from unmask.arguments import UsageError, parse, quote
from unmask.cli import describe, main, overview, verbs
from unmask.failures import fail_clearly


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


# -- flags


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        (["experiment=x", "--cfg", "job"], ["--cfg", "job", "experiment=x"]),
        (["--cfg=job"], ["--cfg", "job"]),
        (["-c", "all", "--resolve", "-p", "trainer"], ["-c", "all", "--resolve", "-p", "trainer"]),
        (["a=1", "-m", "b=1,2"], ["-m", "a=1", "b=1,2"]),
        (["--info", "defaults-tree", "a=1"], ["--info", "defaults-tree", "a=1"]),
        (["--info", "a=1"], ["--info", "all", "a=1"]),
        (["-i"], ["-i", "all"]),
        (["--config-dir", "my conf"], ["--config-dir", "my conf"]),
        (["a=1", "-cn", "train", "-cp", "p", "-cd=d"], ["-cn", "train", "-cp", "p", "-cd", "d", "a=1"]),
        (["--experimental-rerun", "config.pickle"], ["--experimental-rerun", "config.pickle"]),
        (["run=x", "--", "-clip.mp4"], ["run='x'", "path='./-clip.mp4'"]),
    ],
)  # fmt: skip
def test_flags_of_hydra_come_first_and_keep_their_values(typed, given):
    assert parse("train", typed) == given


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--foo"], "unknown flag --foo"),
        (["--seed=3"], "write keys without dashes: seed=3"),
        (["--cfg"], "--cfg needs a value: expected one of job, hydra, all"),
        (["--cfg", "jobs"], "--cfg jobs: expected one of job, hydra, all"),
        (["--info=nothing"], "--info nothing: expected one of all, config"),
        (["--config-name", "-m"], "--config-name needs a value"),
        (["--cfg", "job", "-m"], "-m and --cfg: use only one of these flags"),
        (["--resolve"], "--resolve has no effect without --cfg"),
        (["-p", "trainer"], "-p has no effect without --cfg"),
        (["seed=1", "+seed=2"], "seed is given 2 times (1, 2)"),
    ],
)
def test_a_wrong_flag_is_one_line(typed, told, tmp_path):
    with pytest.raises(UsageError) as error:
        parse("train", typed)
    assert told in str(error.value)
    with contextlib.chdir(tmp_path), contextlib.redirect_stderr(io.StringIO()) as err:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit, match="2"):
            patch.setattr(sys, "argv", ["unmask", "train", *typed])
            main()
    assert told in err.getvalue() and err.getvalue().count("\n") == 1


def test_every_argument_of_the_trainer_is_taken_with_and_without_a_plus_sign():
    for typed in ("trainer.fast_dev_run=true", "+trainer.fast_dev_run=true", "++trainer.fast_dev_run=true"):
        assert quote(typed) == "++trainer.fast_dev_run=true"


@pytest.mark.slow
def test_the_config_is_shown_as_the_readme_says(tmp_path):
    """All of Hydra's flags that show something, through the console command, with their values apart."""

    def shown(*arguments: str) -> str:
        return unmask(*arguments, cwd=tmp_path).stdout

    whole = yaml.safe_load(shown("train", "experiment=celebdf/meso4", "--cfg", "job"))
    assert whole["module"]["_target_"] == "unmask.modules.detector.Detector" and whole["name"] == "celebdf/meso4"
    assert yaml.safe_load(shown("train", "--cfg=job", "experiment=celebdf/meso4")) == whole
    part = shown("evaluate", "-c", "job", "--package", "trainer", "run=x", "trainer=cpu")
    assert yaml.safe_load(part)["accelerator"] == "cpu" and "max_epochs" in part and "resamples" not in part
    assert yaml.safe_load(shown("predict", "--cfg", "hydra"))["hydra"]["job"]["name"] == "predict"
    resolved = yaml.safe_load(shown("train", "experiment=celebdf/meso4", "-c", "job", "--resolve", "-p", "data"))
    assert resolved["loader"]["image_size"] == whole["image_size"]
    assert "conf" in shown("predict", "--info", "searchpath")
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/own.yaml").write_text("# @package _global_\nname: my own\n")
    own = shown("train", "--config-dir", "mine", "experiment=own", "--cfg", "job")
    assert yaml.safe_load(own)["name"] == "my own"
    assert "resamples" in shown("predict", "--config-name", "evaluate", "--cfg", "job")
    assert "--hydra-help" in shown("--hydra-help")
    for verb in verbs():
        assert f"unmask {verb}" in shown(verb, "--cfg", "job", "-h"), "our own help, whatever stands beside it"
    assert not list(tmp_path.glob("outputs")), "nothing was run"


def test_shells_complete_verbs_and_keys(tmp_path, monkeypatch):
    assert "complete" in unmask("-sc", "install=bash", cwd=tmp_path).stdout
    monkeypatch.setenv("COMP_LINE", "unmask pr")
    assert {"prepare", "predict"} <= set(unmask("-sc", "query=bash", cwd=tmp_path).stdout.split())
    monkeypatch.setenv("COMP_LINE", "unmask report ta")
    assert "table=" in unmask("-sc", "query=bash", cwd=tmp_path).stdout


def test_the_version_and_the_module(tmp_path):
    told = f"unmask {version('unmask')}\n"
    assert unmask("--version", cwd=tmp_path).stdout == told == unmask("train", "--version", cwd=tmp_path).stdout
    assert subprocess.run([sys.executable, "-m", "unmask", "--version"], capture_output=True, text=True).stdout == told
    first = unmask("--foo", cwd=tmp_path, expect=2)
    assert first.stderr.count("\n") == 1 and "expected a verb first" in first.stderr
    flagged = unmask("list", "--foo", cwd=tmp_path, expect=2)
    assert flagged.stderr.count("\n") == 1 and "--foo" in flagged.stderr


ENDS = """
import atexit, sys, threading, time
from unmask import cli

def main():
    threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()
    print("main")
    {end}

atexit.register(print, "at exit")
cli.main = main
cli.run()
"""


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("", 0, ""), ("sys.exit(143)", 143, ""), ("sys.exit(None)", 0, ""), ("sys.exit('why')", 1, "why"),
        ("raise KeyError('x')", 1, "KeyError: 'x'"),
    ],
)  # fmt: skip
def test_a_process_ends_as_python_does_but_sooner(end, code, said):
    """Threads are joined, exit functions called and output flushed, into a pipe too."""
    done = subprocess.run([sys.executable, "-c", ENDS.format(end=end)], capture_output=True, text=True)
    assert done.returncode == code and done.stdout.split("\n")[:-1] == ["main", "thread", "at exit"]
    assert done.stderr.strip().endswith(said) and bool(done.stderr) == bool(said)


@pytest.mark.slow
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


@pytest.mark.parametrize("words", [["train", "--cfg", "job"], ["train", "-c", "hydra"], ["predict", "--cfg", "job"]])
def test_showing_a_config_imports_neither_torch_nor_the_verb(words):
    never = {"torch", "pandas", f"unmask.commands.{words[0]}"}
    code = (
        f"import sys; sys.argv = {['unmask', *words]!r}; from unmask.cli import main; main(); "
        f"print('IMPORTED', *{never} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert len(printed.splitlines()) > 3
    assert printed.splitlines()[-1] == "IMPORTED"


@pytest.mark.parametrize(
    ("typed", "said", "code"),
    [
        (["train", "celebdf/meso4"], "did you mean experiment=celebdf/meso4?", 1),
        (["data=folder", "train"], "the verb comes first: unmask VERB data=folder", 2),
        (["detect", "a.mp4"], "did you mean unmask predict?", 2),
        (["version"], "did you mean unmask --version?", 2),
        (["clip.mp4"], "to examine a file, write: unmask predict clip.mp4 run=DIR", 2),
        (["predict", "--run", "outputs/x", "clip.mp4"], "--run: write run=DIR, without dashes", 2),
    ],
)
def test_a_slip_is_answered_before_anything_heavy_is_imported(typed, said, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["unmask", *typed])
    monkeypatch.setattr(runpy, "run_module", lambda *_, **__: pytest.fail("the verb was imported"))
    with pytest.raises(SystemExit) as stopped:
        main()
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == code and len(lines) == 1 and said in lines[0]
