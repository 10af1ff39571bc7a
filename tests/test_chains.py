"""Chains of verbs: one after another, side by side, stopped by the first that fails."""

import sys
import time
from functools import partial
from pathlib import Path

import pytest

from unmask.studies.chains import Chain, run_chains


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def chain(name: str, place: Path, *codes: str) -> Chain:
    return Chain(name, [partial(python, code) for code in codes], place / f"{name}.log", lambda number: (0.5, "on"))


def test_a_chain_runs_its_verbs_in_order_and_makes_each_line_when_it_starts(tmp_path):
    path, seen = tmp_path / "a.txt", []

    def second() -> list[str]:
        seen.append(path.read_text())
        return python("print('second')")

    write = partial(python, f"print('first'); open({str(path)!r}, 'w').write('made')")
    run_chains([Chain("one", [write, second], tmp_path / "new/one.log", lambda number: (0.0, ""))])
    assert seen == ["made"]
    assert (tmp_path / "new/one.log").read_text().split() == ["first", "second"]


def test_a_failure_ends_its_chain_alone_and_names_its_log(tmp_path):
    broken = chain("broken", tmp_path, "print('why'); raise SystemExit(3)", "print('never')")
    whole = chain("whole", tmp_path, "print(1)", "print(2)")
    with pytest.raises(SystemExit, match=rf"^broken failed, see {tmp_path}/broken.log; rerun the command to resume$"):
        run_chains([broken, whole])
    assert (tmp_path / "broken.log").read_text().split() == ["why"]
    assert (tmp_path / "whole.log").read_text().split() == ["1", "2"]


def test_no_more_chains_run_at_once_than_there_are_cores(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    code = "import time; print(time.monotonic()); time.sleep(0.3); print(time.monotonic())"
    run_chains([chain("a", tmp_path, code), chain("b", tmp_path, code)])
    spans = [tuple(map(float, (tmp_path / f"{name}.log").read_text().split())) for name in "ab"]
    (_, first_end), (second_begin, _) = sorted(spans)
    assert first_end <= second_begin < time.monotonic()
