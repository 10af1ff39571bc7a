"""The sound of a file in `predict` and `serve`: its own answer beside that of the pictures."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import SCORED, TINY, unmask
from sounds import RATE, clip, hostile, save, tone
from unmask.demo.talking import render_talking
from unmask.inference.examination import Answer, Examination, Facts, Model, Moment, Person, Reason, Trial
from unmask.inference.join import joined
from unmask.inference.listen import CHANGES, Heard
from unmask.media.kinds import sound_format
from unmask.web.uploads import UnsupportedError, suffix

FACE = Model("run", "meso4", "", 0.2, None, "none", 0.5, False)
VOICE = replace(FACE, name="lcnn", sees="sound", items="recordings")
LANE = Person(1, Answer.NO_SIGNS, 0.2, None, (0, 0, 0, 0), 0.0, (Moment(0.0, 0, 0.2),), sees="sound")
SEEN = Examination(
    Answer.NO_SIGNS, (), Facts("a.mp4", kind="video"), (FACE,), (replace(LANE, sees="face"),), caveats=("one",)
)
LOST = Examination(Answer.CANNOT_ANALYSE, (Reason("no_face", "no face found"),), Facts("a.mp4", kind="video"))
MUTE = Reason("no_sound", "the file has no sound")
UNSTABLE = Reason("unstable", "it flips")


def heard(answer: Answer = Answer.NO_SIGNS, reasons=(), **more) -> Heard:
    lane = replace(LANE, answer=answer, reasons=tuple(reasons))
    return Heard(SimpleNamespace(), VOICE, lane, (Trial("quiet", 0.3, False),), ("two",), 2.5, **more)


def seen(answer: Answer, *reasons: Reason) -> Examination:
    return replace(SEEN, answer=answer, reasons=reasons)


@pytest.mark.parametrize(
    ("pictures", "sound", "expected", "codes"),
    [
        (Answer.NO_SIGNS, Answer.NO_SIGNS, Answer.NO_SIGNS, []),
        (Answer.NO_SIGNS, Answer.SIGNS, Answer.SIGNS, ["signs_in_sound"]),
        (Answer.SIGNS, Answer.NO_SIGNS, Answer.SIGNS, ["signs_in_pictures"]),
        (Answer.SIGNS, Answer.SIGNS, Answer.SIGNS, []),
        (Answer.INCONCLUSIVE, Answer.SIGNS, Answer.SIGNS, ["signs_in_sound"]),
        (Answer.NO_SIGNS, Answer.INCONCLUSIVE, Answer.INCONCLUSIVE, ["unstable"]),
        (Answer.INCONCLUSIVE, Answer.NO_SIGNS, Answer.INCONCLUSIVE, ["runs_disagree"]),
    ],
)
def test_pictures_and_sound_have_one_answer(pictures, sound, expected, codes):
    doubts = [Reason("runs_disagree", "they differ")] if pictures is Answer.INCONCLUSIVE else []
    found = joined(seen(pictures, *doubts), [heard(sound, [UNSTABLE] if sound is Answer.INCONCLUSIVE else [])])
    assert found.answer is expected and [reason.code for reason in found.reasons] == codes
    assert [person.number for person in found.people] == [1, 2] and [person.model for person in found.people] == [0, 1]
    assert found.faces[0].sees == "face" and found.voices[0].sees == "sound" and found.models == (FACE, VOICE)
    assert found.caveats == ("one", "two") and found.sound_trials[0].name == "quiet"
    if sound is Answer.INCONCLUSIVE:
        assert found.reasons[0].text == "sound: it flips"


def test_a_part_that_cannot_be_examined_is_named():
    silent = Heard(SimpleNamespace(), failure=MUTE)
    found = joined(SEEN, [silent])
    assert found.answer is Answer.NO_SIGNS and found.people == SEEN.people
    assert found.caveats == ("one", "The sound of the file could not be examined: the file has no sound.")
    found = joined(LOST, [heard(Answer.SIGNS)])
    assert found.answer is Answer.SIGNS and found.models == (VOICE,) and found.people[0].model == 0
    assert "The pictures of the file could not be examined: no face found." in found.caveats
    found = joined(LOST, [silent])
    assert found.answer is Answer.CANNOT_ANALYSE and [reason.code for reason in found.reasons] == [
        "no_face",
        "no_sound",
    ]
    assert joined(SEEN, []) is SEEN


def test_a_file_of_sound_alone_says_what_it_is():
    nothing = Examination(Answer.CANNOT_ANALYSE, (), Facts("a.wav"))
    found = joined(nothing, [heard(details={"codec": "pcm_s16le"})])
    assert found.answer is Answer.NO_SIGNS and found.facts.kind == "sound" and found.facts.duration == 2.5
    assert found.facts.details == {"codec": "pcm_s16le"} and found.score == 0.2


def test_small_changes_keep_what_is_said():
    """After each change, the waveform is the old one up to its level, its start and the noise of a codec."""
    x = (tone(300, 1.0, size=0.2) * (1 + tone(3, 1.0))).astype(np.float32)
    for name, change in CHANGES:
        found = change(x)
        lost = len(x) - len(found)
        assert 0 <= lost <= 0.03 * RATE, name
        assert np.corrcoef(found, x[lost:])[0, 1] > 0.99, name
        assert not np.array_equal(found, x), name


@pytest.mark.parametrize(
    ("codec", "form", "expected"),
    [
        ("pcm_s16le", "wav", "wav"),
        ("flac", "flac", "flac"),
        ("libmp3lame", "mp3", "mp3"),
        ("aac", "adts", "aac"),
        ("pcm_s16be", "aiff", "aiff"),
    ],
)
def test_a_sound_file_is_known_by_its_first_bytes(tmp_path, codec, form, expected):
    path = save(tmp_path / "upload.part", tone(200, 0.5), RATE, codec, form)
    assert sound_format(path) == expected and suffix(path) == f".{expected}"


def test_other_files_are_no_sound(tmp_path):
    assert sound_format(clip(tmp_path / "a.mp4", np.zeros(16_000))) is None
    (tmp_path / "b.part").write_bytes(b"RIFF\0\0\0\0AVI LIST")
    assert sound_format(tmp_path / "b.part") is None
    (tmp_path / "c.part").write_bytes(b"#EXTM3U\nhttp://127.0.0.1/a.ts\n")
    with pytest.raises(UnsupportedError, match="neither a picture, a video nor a sound file"):
        suffix(tmp_path / "c.part")


@pytest.fixture(scope="module")
def voice(voices):
    """A finished run on a few rendered voices, and the folder of the voices."""
    place, here = voices
    small = ["trainer=cpu", "trainer.max_epochs=1", "data.batch_size=6", "module.network.width=4", "name=voice"]
    unmask("train", "experiment=demo_voices/lcnn", *here, *small, "handling=false", cwd=place)
    (run,) = (place / "outputs/voice").iterdir()
    return run, place / "raw"


@pytest.mark.slow
def test_a_recording_is_examined_without_pictures(voice, tmp_path):
    run, voices = voice
    (wave, *_) = sorted(voices.rglob("*.flac"))
    found, page = examined(tmp_path, wave, f"run={run}")
    assert found["facts"]["kind"] == "sound" and [one["sees"] for one in found["people"]] == ["sound"]
    assert [one["name"] for one in found["sound_trials"]] == [name for name, _ in CHANGES] and not found["trials"]
    assert any("synthetic" in mark for mark in found["marks"])
    assert "The sound</h2>" in page and "Spectrogram with score" in page and "The face</h2>" not in page


@pytest.mark.slow
def test_a_clip_is_examined_with_its_faces_and_its_sound(voice, workplace, demo_root, tmp_path):
    unmask(
        "train", "experiment=demo_celebdf/meso4", f"data.root={demo_root}", *TINY, "trainer=cpu", "name=seen",
        "trainer.max_epochs=1", "data.batch_size=8", cwd=workplace,
    )  # fmt: skip
    (face,) = (workplace / "outputs/seen").iterdir()
    render_talking(tmp_path / "talking", people=2, each=1, frames=25, workers=1)
    (talk, _) = (tmp_path / "talking/RealVideo-RealAudio").rglob("*.mp4")
    found, page = examined(tmp_path, talk, f"run=[{face},{voice[0]}]")
    assert [(one["sees"], one["model"]) for one in found["people"]] == [("face", 0), ("sound", 1)]
    assert len(found["trials"]) == 3 and len(found["sound_trials"]) == 3
    assert "not the sound" not in " ".join(found["caveats"])
    assert "The face</h2>" in page and "The sound</h2>" in page
    alone, _ = examined(tmp_path / "alone", talk, f"run={face}")
    assert "not the sound" in " ".join(alone["caveats"])
    assert alone["people"][0]["score"] == found["people"][0]["score"]


def examined(place, path, run: str) -> tuple[dict, str]:
    """The JSON and the page that `predict` writes."""
    place.mkdir(exist_ok=True)
    unmask("predict", str(path), run, f"out={place / 'out'}", cwd=place, expect=SCORED)
    (file,) = (place / "out").glob("*.json")
    return json.loads(file.read_text()), file.with_suffix(".html").read_text()


@pytest.mark.slow
def test_an_array_is_scored_like_its_file(voice, tmp_path):
    import unmask as package

    run, _ = voice
    sound = tone(220, 2.0).astype(np.float32)
    file = save(tmp_path / "a.wav", sound, RATE, "pcm_f32le")
    scorer = package.load(run)
    assert scorer.score(file).logit == pytest.approx(scorer.score(sound).logit, abs=1e-3)
    with pytest.raises(ValueError, match=r"expected a waveform \[S\] of finite float numbers"):
        scorer.score(np.zeros((3, 4), np.uint8))


@pytest.mark.slow
def test_hostile_recordings_are_examined_or_refused_in_words(voice, tmp_path):
    """40 files that are damaged or lie: each has an answer or a reason, and playlists are not followed."""
    made = hostile(tmp_path, 40, seed=7)
    given = ("predict", str(tmp_path / "hostile"), f"run={voice[0]}", "format=jsonl")
    lines = unmask(*given, cwd=tmp_path, expect=(*SCORED, 30)).stdout.splitlines()
    found = {one["file"]: one for one in map(json.loads, lines)}
    assert len(found) == 40 and not [one for one in found.values() if "failed" in str(one["reasons"])]
    refused = {name for name, one in found.items() if one["answer"] == "cannot analyse"}
    assert {path.name for path, is_list in made if is_list} <= refused and 15 < len(refused) < 40
