"""The demo voices: speakers that differ, speech that is built as said, forgeries that leave traces and no shortcut."""

from pathlib import Path

import av
import numpy as np
import pytest
from scipy import signal
from scipy.ndimage import uniform_filter1d

from conftest import unmask
from unmask.data.store import CropStore
from unmask.datasets.asvspoof import ASVspoof2019
from unmask.demo.channels import LEVEL, at_level, draw_channel, record
from unmask.demo.speech import RATE, STEP, draw_speaker, speak
from unmask.demo.throat import per_sample, pulses, resonance, shape, synthesise
from unmask.demo.voice_forgeries import METHODS, convert, mel_bands, overlap_add, resynthesise, spectrum, splice
from unmask.demo.voices import SETS, part_of, render_voices, utterances
from unmask.files import read_json


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def said(number: int = 0):
    speaker = draw_speaker(rng(1, number))
    speech = speak(speaker, rng(2, number))
    return speaker, speech, synthesise(speaker, speech, rng(3, number))


# -- speech


def test_speakers_differ_and_a_seed_gives_one():
    speakers = [draw_speaker(rng(n)) for n in range(40)]
    assert speakers[3] == draw_speaker(rng(3)) and len({one.pitch for one in speakers}) == 40
    pitch = np.array([one.pitch for one in speakers])
    assert pitch.min() < 120 and pitch.max() > 190
    assert np.corrcoef(pitch, [one.tract for one in speakers])[0, 1] > 0.5, "high voices have short vocal tracts"


def test_an_utterance_has_words_pauses_and_a_mouth_that_opens():
    _, speech, wave = said()
    frames = len(speech.pitch)
    assert len(wave) == speech.samples == frames * STEP and 1 < frames * STEP / RATE < 6
    assert 3 <= len(speech.words) <= 5
    assert all(end <= a < b for (_, end), (a, b) in zip([(0, 0), *speech.words[:-1]], speech.words, strict=True))
    first, last = speech.words[0][0], speech.words[-1][1]
    assert first * STEP / RATE >= 0.14 and (frames - last) * STEP / RATE >= 0.14
    assert np.abs(wave[: first * STEP - 400]).max() < 0.05 * np.abs(wave).max()
    assert speech.mouth[:10].max() < 0.01 and speech.mouth.max() > 0.5
    loud = np.sqrt(np.mean(wave[: frames * STEP].reshape(frames, STEP) ** 2, axis=1))
    assert np.corrcoef(loud, speech.mouth)[0, 1] > 0.4, "sound and mouth move together"


def test_pulses_come_with_the_fundamental_frequency():
    wave = pulses(np.full(200, 125.0), np.ones(200 * STEP), rng(0), 0, 0)
    spectrum_, hertz = np.abs(np.fft.rfft(wave)), np.fft.rfftfreq(len(wave), 1 / RATE)
    assert (wave > 0).any() and abs(np.sum(wave > 0.01) - 2 * 125) < 130  # each pulse has one or two samples
    assert hertz[1:][spectrum_[1 : np.searchsorted(hertz, 180)].argmax()] == pytest.approx(125, abs=1)


def test_a_formant_is_where_it_should_be():
    formants = np.tile([500.0, 1500, 2500, 3500, 4500], (400, 1))
    noise = rng(0).normal(0, 1, 400 * STEP)
    hertz, power = signal.welch(shape(noise, resonance(formants, 1.0)), RATE, nperseg=1024)
    for formant in (500, 1500, 2500):
        near = (hertz > formant - 350) & (hertz < formant + 350)
        assert hertz[near][power[near].argmax()] == pytest.approx(formant, abs=40)


def test_a_filter_that_changes_nothing_gives_its_input_back():
    noise = rng(0).normal(0, 1, 100 * STEP)
    same = shape(noise, np.ones((100, 481), np.float32))
    assert np.abs(same[STEP:-400] - noise[STEP:-400]).max() < 1e-5
    assert np.abs(overlap_add(spectrum(noise), len(noise)) - noise).max() < 1e-9
    assert per_sample(np.array([1.0, 2.0]))[[0, -1]].tolist() == [1.0, 2.0]


# -- channels and forgeries


def test_a_channel_adds_echo_noise_and_a_level():
    _, _, wave = said()
    channel = draw_channel(rng(5))
    heard = record(wave, channel, rng(6))
    silence = heard[: RATE // 10]
    assert -channel.snr - 6 < 20 * np.log10(silence.std() / heard.std()) < -channel.snr + 6
    levels = [20 * np.log10(np.sqrt(np.mean(at_level(heard, rng(n)) ** 2))) for n in range(30)]
    assert LEVEL[0] - 0.1 < min(levels) < max(levels) < LEVEL[1] + 0.1
    assert np.abs(at_level(heard, rng(0))).max() < 1


def envelope(wave: np.ndarray, bands: int = 30) -> np.ndarray:
    return np.log(np.square(np.abs(spectrum(wave))) @ mel_bands(bands).T + 1e-6)


def test_resynthesis_keeps_the_mel_spectrum_and_loses_the_fine_structure():
    _, speech, wave = said()
    made = resynthesise(wave, speech, rng(7), 0.5)
    assert len(made) == len(wave)
    before, after = (uniform_filter1d(envelope(one), 8, axis=0) for one in (wave, made))
    loud = before.mean(1) > np.median(before.mean(1))
    alike = np.corrcoef(before[loud].ravel(), after[loud].ravel())[0, 1]
    other = uniform_filter1d(envelope(said(1)[2]), 8, axis=0)  # of another utterance
    rows = np.flatnonzero(loud)[: len(other)]
    chance = np.corrcoef(before[rows].ravel(), other[: len(rows)].ravel())[0, 1]
    assert alike > 0.7 and alike > chance + 0.2
    assert abs(np.corrcoef(wave, made)[0, 1]) < 0.5, "the phase is new"


def test_a_vocoders_pattern_repeats_the_spectrum():
    """A gain that repeats every 8 samples puts copies of the spectrum at multiples of 2 kHz."""
    _, speech, wave = said(1)
    made = resynthesise(wave, speech, rng(7), 0.0)
    hertz, same = signal.coherence(made[::1], made * np.cos(2 * np.pi * 4000 * np.arange(len(made)) / RATE), RATE)
    _, before = signal.coherence(wave, wave * np.cos(2 * np.pi * 4000 * np.arange(len(wave)) / RATE), RATE)
    assert same[(hertz > 3000) & (hertz < 5000)].mean() > before[(hertz > 3000) & (hertz < 5000)].mean() + 0.05


def test_conversion_moves_the_formants_and_keeps_the_pitch():
    own, other = draw_speaker(rng(1, 0)), draw_speaker(rng(1, 1))
    ratio = 1.15
    other = type(other)(**(vars(other) | {"tract": own.tract * ratio}))
    formants = np.tile([500.0, 1500, 2500, 3500, 4500], (400, 1))
    wave = shape(pulses(np.full(400, 110.0), np.ones(400 * STEP), rng(0), 0.005, 0.05), resonance(formants, 1.0))
    made = convert(wave, own, other, rng(8), 0.5)
    hertz, power = signal.welch(made, RATE, nperseg=256)
    near = (hertz > 1300) & (hertz < 2100)
    assert hertz[near][power[near].argmax()] == pytest.approx(1500 * ratio, abs=130)
    lags = np.correlate(made[:8000], made[:8000], "full")[8000 - 1 + 100 : 8000 - 1 + 200]
    assert 100 + lags.argmax() == pytest.approx(RATE / 110, abs=3)


def test_a_spliced_word_replaces_one_word_at_its_level():
    speaker, speech, wave = said(2)
    second = speak(speaker, rng(9))
    donor = record(synthesise(speaker, second, rng(10)), draw_channel(rng(11)), rng(12))
    host = record(wave, draw_channel(rng(13)), rng(14))
    made = splice(host, speech, donor, second, rng(15))
    same = np.flatnonzero(made[: len(host)][: len(made)] != host[: len(made)])[0]
    tail = np.flatnonzero(made[::-1][: len(host)][: len(made)] != host[::-1][: len(made)])[0]
    first, last = same, len(host) - tail
    edges = [(a * STEP, b * STEP) for a, b in speech.words]
    assert any(abs(first - a) < 100 and abs(last - b) < 100 for a, b in edges)
    piece, replaced = made[first : len(made) - tail], host[first:last]
    assert 20 * np.log10(piece.std() / replaced.std()) == pytest.approx(0, abs=0.5)
    assert len(made) - len(host) == len(piece) - len(replaced)


# -- the set


def test_sets_have_no_common_speaker_and_all_methods():
    every = utterances(28, 8, 8)
    of = {part: {one.speaker for one in every if one.part == part} for part in SETS}
    assert [len(of[part]) for part in SETS] == [17, 3, 8] and len(set.union(*of.values())) == 28
    assert [part_of(n, 28, 8) for n in (0, 16, 17, 19, 20, 27)] == ["train", "train", "dev", "dev", "eval", "eval"]
    for part in SETS:
        methods = [one.method for one in every if one.part == part]
        assert methods.count("real") * 2 == len(methods) and set(methods) == {"real", *METHODS}
    assert len({one.path for one in every}) == len(every) == 28 * 16


def test_arguments_out_of_range_are_named(tmp_path):
    for options, reason in (
        ({"speakers": 3}, "speakers=3: expected 6 to 999"), ({"test_speakers": 27}, "test_speakers=27"),
        ({"each": 0}, "each=0"), ({"difficulty": 2}, "difficulty=2"), ({"seed": -1}, "seed=-1"),
        ({"workers": 0}, "workers=0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=reason):
            render_voices(tmp_path / "voices", **options)
    assert not (tmp_path / "voices").exists()


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("voices") / "demo_voices"
    render_voices(root, speakers=6, test_speakers=2, each=3, workers=1)
    return root


def test_files_are_marked_reproducible_and_read_by_the_source(small, tmp_path):
    items = ASVspoof2019("demo_voices", small, demo=True).find_items()
    assert len(items) == 36 and {item.method for item in items} == {"real", *METHODS}
    assert {item.predefined for item in items} == {"train", "val", "test"}
    for item in items[:4]:
        with av.open(str(small / item.path)) as container:
            assert "synthetic" in container.metadata["comment"]
            stream = container.streams.audio[0]
            assert (stream.codec_context.name, stream.rate, stream.codec_context.format.name) == ("flac", RATE, "s16")
    again = tmp_path / "again"
    render_voices(again, speakers=6, test_speakers=2, each=3, workers=1)
    assert all((again / item.path).read_bytes() == (small / item.path).read_bytes() for item in items)
    assert read_json(small / "demo.json", "")["speakers"] == 6


def test_a_killed_rendering_is_resumed_and_other_arguments_are_refused(small, tmp_path):
    import shutil

    root = shutil.copytree(small, tmp_path / "part")
    gone = sorted(root.glob("*/flac/*.flac"))[::2]
    wanted = [path.read_bytes() for path in gone]
    for path in gone:
        path.unlink()
    render_voices(root, speakers=6, test_speakers=2, each=3, workers=1)
    assert [path.read_bytes() for path in gone] == wanted
    with pytest.raises(ValueError, match="each: expected 4, found 3"):
        render_voices(root, speakers=6, test_speakers=2, each=4, workers=1)


@pytest.mark.slow
def test_no_statistic_of_the_files_tells_real_from_forged(tmp_path):
    """The whole demo set, rendered by `prepare`: its audit's interval holds 0.5, for each method as well."""
    render_voices(tmp_path / "data/demo_voices", workers=1)
    unmask("prepare", "data=demo_voices", f"data.root={tmp_path / 'data/demo_voices'}", "prepare.num_workers=0",
           cwd=tmp_path)  # fmt: skip
    (recipe,) = (tmp_path / "outputs/prepared/demo_voices").glob("*/recipe.json")
    folder = recipe.parent
    audit = read_json(folder / "audit.json", "")
    print({key: audit[key] for key in ("auroc", "low", "high", "methods")})
    assert {"leading_silence", "level", "seconds", "noise_floor", "bit_rate"} <= set(audit["features"])
    assert audit["passed"] and audit["low"] <= 0.5 <= audit["high"]
    assert all(one["low"] <= 0.5 <= one["high"] for one in audit["methods"].values())
    assert len(CropStore(folder).sounds) == 28 * 16


@pytest.mark.slow
def test_prepare_renders_what_is_missing(tmp_path, monkeypatch):
    few = {"speakers": 6, "test_speakers": 2, "each": 3}
    monkeypatch.setattr(render_voices, "__kwdefaults__", render_voices.__kwdefaults__ | few)
    done = unmask("prepare", "data=demo_voices", "prepare.num_workers=0", cwd=tmp_path)
    assert "demo_voices: 18 real and 18 fake recordings" in done.stdout
    assert (tmp_path / "outputs/demo/data/demo_voices/demo.json").is_file()
    again = unmask("prepare", "data=demo_voices", "prepare.num_workers=0", cwd=tmp_path).stdout
    assert "36 items prepared, 0 rejected" in again
    (tmp_path / "mine/demo_voices").mkdir(parents=True)
    refused = unmask(
        "prepare", "data=demo_voices", f"data.root={tmp_path / 'mine/demo_voices'}", cwd=tmp_path, expect=1
    )
    assert "no protocol in" in refused.stderr and not list((tmp_path / "mine/demo_voices").iterdir())
