"""What `predict` prints for a terminal, for a pipe whose reader goes away, and in an encoding without umlauts."""

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from rich.console import Console

from test_predict import fake_run, run  # noqa: F401  # a fixture
from test_report_pictures import predictions
from unmask.console import READER_GONE
from unmask.inference import batch, progress, verdict
from unmask.inference.examination import Answer, Examination, Facts, Model, Reason
from unmask.inference.examine import Examiner
from unmask.inference.table import shortened, table_of
from unmask.media.pictures import WholePictures

LONG = "holiday/2026/18_0_0_20170105183259439.jpg.chip.jpg"
CODES = ("size_outside", "blur_outside", "compression_outside", "features_outside", "unstable")


def scored(answer: Answer, *codes: str) -> Examination:
    model = Model("r", "n", "w", 0.31, None, "none", 0.5, False)
    return Examination(answer, tuple(Reason(code, code) for code in codes), Facts("x"), (model,))


ROWS = [
    (LONG, scored(Answer.INCONCLUSIVE, *CODES)),
    ("a.png", scored(Answer.SIGNS)),
    ("sub/b.mp4", Examination(Answer.CANNOT_ANALYSE, (Reason("no_face", "no face"),), Facts("b.mp4"))),
]


def lines(rows: list[tuple[str, Examination]], width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system=None).print(table_of(rows, width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


# ---- the table


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_word_of_the_table_is_broken(width):
    found = lines(ROWS, width)
    assert max(map(len, found)) <= width
    words = " ".join(found).replace(";", " ").split()
    for code in (*CODES, "no_face", "signs", "manipulation", "inconclusive", "a.png", "sub/b.mp4"):
        assert code in words, found
    column = [line[: found[0].index("answer")].strip() for line in found[1:]]
    assert "".join(column) == "".join(name for name, _ in ROWS), "no name is shortened"
    assert all(re.fullmatch(r"|.*[._/]|.*\.(jpg|png|mp4)", part) for part in column), column
    assert width < 200 or LONG in column


def test_a_pipe_gets_names_in_full(capsys):
    printer = batch.Printer("table")
    for name, found in ROWS:
        printer.add(batch.Wanted(Path(name), name), found)
    printer.close()
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split()[0] == LONG and "; ".join(CODES) in printed[1]
    assert printed[4] == "1 signs of manipulation, 1 inconclusive, 1 cannot analyse"


@pytest.mark.parametrize(
    ("name", "width", "expected"),
    [
        ("a/b/c.jpg", 9, "a/b/c.jpg"),
        ("folder/sub/c.jpg", 12, ".../c.jpg"),
        ("abcdefghijklmnop.jpg", 13, "abcde...p.jpg"),
        ("sub/abcdefghijklmnop.jpg", 13, "abcde...p.jpg"),
        ("字字字字字字字字.jpg", 13, "字字....jpg"),
    ],
)
def test_shortened_names(name, width, expected):
    assert shortened(name, width) == expected


# ---- progress


def test_progress_is_one_line_of_the_terminal(monkeypatch):
    """Whatever the file is called; what Rich would read as markup is shown as it is."""
    out = io.StringIO()
    terminal = Console(file=out, width=80, force_terminal=True, color_system=None, _environ={"TERM": "xterm"})
    monkeypatch.setattr(progress, "console", terminal)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True, flush=lambda: None, write=out.write))
    with progress.shown(time.monotonic() - 75) as moved:
        for name in ("a.png", "[/red] [bold]x.png", "x" * 200):
            moved(0.5, f"12 of 40, {name}: scoring again after small changes")
            time.sleep(0.15)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    drawn = [part.rstrip() for part in re.split(r"[\r\n]+", plain) if part.strip()]
    assert all(len(part) <= 80 for part in drawn) and "0:01:15" in drawn[0]
    said = " ".join(drawn)
    assert "12 of 40, a.png: scoring again" in said and "[/red] [bold]x.png: scoring" in said and "xxx…" in said


def test_the_answer_is_wrapped_between_words():
    text = "\nLimits:\n  - A score is not proof, see the documentation.\n" + "x" * 40 + " end"
    found = verdict.wrapped(text, 24)
    assert found == "\nLimits:\n  - A score is not\n    proof, see the\n    documentation.\n" + "x" * 40 + "\n  end"
    assert verdict.wrapped("  a  b", 80) == "  a  b"


def test_without_a_terminal_there_is_no_progress(capsys):
    with progress.shown() as moved:
        moved(0.5, "scoring")
    assert capsys.readouterr() == ("", "")


# ---- pipes and encodings


def python(code: str, *, encoding: str = "utf-8", reads: int | None = None) -> tuple[int, str, str]:
    """Run code as a program; with `reads`, its output is closed after this many lines. Return code, output, errors."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    if reads is None:
        out, error = process.communicate()
    else:
        out = b"".join(process.stdout.readline() for _ in range(reads))
        process.stdout.close()
        error = process.stderr.read()
        process.wait()
        process.stderr.close()
    return process.returncode, out.decode(), error.decode()


VERB = """
from unmask.cli import run
import unmask.cli, unmask.failures
@unmask.failures.fail_clearly
def verb():
    from unmask.console import say, write_line
    for number in range(20_000):
        {print}(f"line {{number}} caf\\u00e9 " + "x" * 80)
unmask.cli.main = verb
run()
"""


@pytest.mark.parametrize("printed", ["say", "write_line"])
def test_a_program_whose_reader_has_gone_ends_quietly(printed):
    """As `| head -1` does; the code is that of a program that SIGPIPE ended."""
    code, out, error = python(VERB.format(print=printed), reads=1)
    assert out.startswith("line 0 café x") and error == "" and code == READER_GONE == 141


@pytest.mark.parametrize("printed", ["say", "write_line"])
def test_what_the_encoding_lacks_is_escaped(printed):
    code, out, error = python(VERB.format(print=printed).replace("20_000", "1"), encoding="ascii")
    assert (code, error) == (0, "") and out.startswith(r"line 0 caf\xe9 x")


def test_json_lines_are_json_in_every_encoding(tmp_path, monkeypatch):
    Image.new("RGB", (64, 64), (20, 20, 20)).save(tmp_path / "café.png")
    (one,) = batch.find([str(tmp_path)])
    found = Examiner([fake_run(WholePictures(32), predictions())], "none", False, False).examine(one.path)
    for encoding in ("ascii", "latin-1", "utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding, "strict")
        monkeypatch.setattr(sys, "stdout", stream)
        printer = batch.Printer("jsonl")
        printer.add(one, found)
        stream.flush()
        raw = stream.buffer.getvalue()
        assert json.loads(raw.decode())["file"] == "café.png" and raw.isascii() == (encoding != "utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["format=table"], ["format=csv"], ["format=jsonl"]])
def test_predict_in_an_ascii_terminal(run, tmp_path, arguments):  # noqa: F811
    Image.new("RGB", (64, 64), (20, 20, 20)).save(tmp_path / "café 字.png")
    done = subprocess.run(
        [sys.executable, "-m", "unmask", "predict", "café 字.png", f"run={run.folder.absolute()}", *arguments],
        cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False,
    )  # fmt: skip
    assert done.returncode == 30 and done.stderr == b"" and b"cannot analyse" in done.stdout
    assert done.stdout.isascii()


@pytest.mark.slow
def test_predict_piped_into_head(run, tmp_path):  # noqa: F811
    for number in range(200):
        Image.new("RGB", (16, 16)).save(tmp_path / f"{number:03}-{'x' * 200}.png")
    program = f"'{sys.executable}' -m unmask predict . 'run={run.folder.absolute()}' format=jsonl"
    script = f"set -o pipefail; {program} | head -n 1"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == READER_GONE and done.stderr == "" and len(done.stdout.splitlines()) == 1
