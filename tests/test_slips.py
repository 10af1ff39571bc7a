"""A slip in a key or an option of the command line is one line with the right spelling."""

import sys

import pytest

from unmask.application import verb

SLIPS = {
    ("celebdf/meso4",): "celebdf/meso4: expected key=value; did you mean experiment=celebdf/meso4?",
    ("meso4",): "expected key=value; did you mean experiment=celebdf/meso4, experiment=demo_celebdf/meso4 or "
    "experiment=stylegan2_vs_ffhq/meso4?",
    ("experiment=meso4",): "experiment=meso4: unknown option; did you mean celebdf/meso4, demo_celebdf/meso4 or "
    "stylegan2_vs_ffhq/meso4?",
    ("module/network=meso5",): "module/network=meso5: unknown option; did you mean meso4",
    ("augment@data.augment=jpegs",): "augment=jpegs: unknown option; expected one of",
    ("experiment=celebdf/meso4", "data.rot=x"): "data.rot: unknown key; did you mean data.root?",
    ("nonsense=1",): "nonsense: unknown key; expected one of name, seed,",
    ("module.network.nonsense=1",): "module.network.nonsense: unknown key; expected one of _target_,",
    ("augment@data.augment=null",): "a config group cannot be null; choose another option, or write ~GROUP",
    ("seed=[1",): "no viable alternative at input '[1'",
}


@pytest.mark.parametrize("typed", SLIPS, ids=" ".join)
def test_a_slip_is_one_line(
    typed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    began: list[object] = []
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    words = [word if "=" in word else f"path='{word}'" for word in typed]  # as `arguments.quote` passes a lone word on
    monkeypatch.setattr(sys, "argv", ["unmask", *words])
    with pytest.raises(SystemExit) as stopped:
        verb("train")(began.append)()
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 1
    assert not began
    assert len(lines) == 1
    assert lines[0].startswith("unmask: ")
    assert SLIPS[typed] in lines[0]


def test_a_user_who_asks_for_hydras_errors_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["unmask", "nonsense=1"])
    with pytest.raises(Exception, match="Could not override 'nonsense'"):
        verb("train")(lambda cfg: None)()
