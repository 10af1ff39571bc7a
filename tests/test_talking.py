"""Demo clips of people who talk: the mouth moves with the words, and in the forgeries with other words."""

import csv
from pathlib import Path

import av
import numpy as np
import pytest

from unmask.datasets.fakeavceleb import FakeAVCeleb
from unmask.demo.people import Pose
from unmask.demo.speech import RATE, draw_speaker
from unmask.demo.talking import FPS, METHODS, Clip, clips, joined, mouths, render_talking, words_for
from unmask.media.reader import open_media
from unmask.media.waveform import read_beside


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def loudness(sound: np.ndarray, frames: int) -> np.ndarray:
    """Level of the sound during each frame of a clip."""
    step = round(RATE / FPS)
    return np.sqrt(np.mean(sound[: frames * step].reshape(frames, step) ** 2, axis=1))


def still(count: int) -> list[Pose]:
    return [Pose(np.zeros(3), np.ones(3), 128, 120, 1, 0, 0, 0, 1, 0.9, 0)] * count


def test_a_mouth_moves_with_its_words_and_not_with_others():
    speaker = draw_speaker(rng(1))
    matched, apart = [], []
    for number in range(12):
        speech, sound = words_for(speaker, 3 * RATE, rng(2, number))
        other, _ = words_for(speaker, 3 * RATE, rng(3, number))
        level = np.log(loudness(sound, 75) + 0.01)
        for said, found in ((speech, matched), (other, apart)):
            found.append(np.corrcoef([pose.mouth for pose in mouths(still(75), said)], level)[0, 1])
    assert np.mean(matched) > 0.6 and np.mean(apart) < 0.35, "both begin with a pause"
    assert np.min(matched) > np.mean(apart) + 2 * np.std(apart) / np.sqrt(12)


def test_utterances_are_joined_until_they_are_long_enough():
    speaker = draw_speaker(rng(1))
    speech, sound = words_for(speaker, 8 * RATE, rng(4))
    assert len(sound) == speech.samples >= 8 * RATE
    twice = joined(speech, speech)
    assert twice.samples == 2 * speech.samples and len(twice.words) == 2 * len(speech.words)
    assert twice.words[len(speech.words)][0] == speech.words[0][0] + len(speech.pitch)
    assert np.array_equal(twice.formants[len(speech.pitch) :], speech.formants)


def test_each_forgery_pairs_a_clip_with_words_of_no_real_clip():
    every = clips(6, 4)
    real = {(one.person, one.heard) for one in every if one.method == "real"}
    assert all(one.heard == one.mouthed == one.number for one in every if one.method == "real") and len(real) == 24
    for one in every:
        if one.method == "other_sound":
            assert (one.person, one.heard) not in real and one.mouthed == one.number
        if one.method == "other_mouth":
            assert (one.person, one.mouthed) not in real and one.heard == one.number
    methods = [one.method for one in every]
    assert methods.count("other_sound") == methods.count("other_mouth") == 12 and len({one.path for one in every}) == 48
    assert Clip(3, 1, 1, 1).path == "RealVideo-RealAudio/demo/demo/id00003/00001.mp4"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("talking") / "demo_talking"
    render_talking(root, people=2, each=1, frames=12, workers=1)
    return root


def test_clips_have_marks_and_sound_of_their_length_and_are_read_by_the_source(small):
    items = FakeAVCeleb("demo_talking", small, "either", demo=True).find_items()
    assert [item.label for item in items] == [0, 1, 0, 1] and {item.method for item in items} == {"real", *METHODS}
    assert FakeAVCeleb("demo_talking", small, demo=True).published(None) == {}
    for item in items:
        path = small / item.path
        assert len(open_media(path)) == 12 and len(read_beside(path).sound) == round(12 / FPS * RATE)
        with av.open(str(path)) as container:
            assert "synthetic" in container.metadata["comment"]
    with (small / "meta_data.csv").open() as file:
        assert file.readline().startswith("source,target1,target2,method,category,type,race,gender,path,")
        assert len(list(csv.reader(file))) == 4
    assert not list(small.rglob("*.tmp"))


def test_what_was_rendered_is_kept_and_wrong_arguments_are_named(small):
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*.mp4")}
    render_talking(small, people=2, each=1, frames=12, workers=1)
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*.mp4")} == before
    with pytest.raises(ValueError, match="people=1: expected at least 2"):
        render_talking(small, people=1)
    with pytest.raises(ValueError, match="frames: expected 20, found 12"):
        render_talking(small, people=2, each=1, frames=20, workers=1)
