"""Sound is decoded as others decode it, resampled as SciPy does, measured, and refused where it does harm."""

import io
import wave

import av
import numpy as np
import pytest
from scipy import signal

from sounds import FORMATS, RATE, RATES, clip, hostile, save, tone
from unmask.media import pcm, waveform
from unmask.media.encode_sound import write_flac
from unmask.media.kinds import MediaError
from unmask.media.loudness import frame_levels, silent, waveform_statistics
from unmask.media.pcm import resample, to_float32, to_int16
from unmask.media.recordings import Recordings
from unmask.media.waveform import read_beside, read_waveform

SPEECH = np.random.default_rng(0).normal(0, 0.1, 3 * RATE)


def decibel(ratio: float) -> float:
    return float(20 * np.log10(ratio))


# -- resampling


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_frequency_level_and_phase(rate):
    for hertz in (110.0, 0.36 * min(rate, RATE)):
        found = resample(tone(hertz, 1.0, rate).astype(np.float32), rate)
        wanted = tone(hertz, 1.0)
        assert abs(len(found) - RATE) <= 1
        inner = slice(1000, min(len(found), RATE) - 1000)
        assert np.abs(found[inner] - wanted[inner]).max() < 2e-4, f"{hertz} Hz"


def test_an_odd_rate_is_rounded_by_less_than_a_millionth():
    rate, hertz = 44_056, 1000.0
    found = resample(tone(hertz, 10.0, rate).astype(np.float32), rate)
    phase = 2 * np.pi * hertz * 10 * 1e-6  # at the end
    assert np.abs(found[1000:-1000] - tone(hertz, 10.0)[1000 : len(found) - 1000]).max() < 0.5 * phase


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_what_the_new_rate_cannot_hold_is_removed(rate):
    for hertz in (8_050.0, 9_000.0, 0.49 * rate):
        left = resample(tone(hertz, 1.0, rate).astype(np.float32), rate)[500:-500]
        assert decibel(np.abs(left).max() / 0.5) < -75, f"{hertz} Hz folds back"


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_it_agrees_with_scipys_resample_poly(rate):
    low = signal.firwin(301, 0.35 * min(rate, RATE), fs=rate)  # where both filters pass
    given = np.convolve(np.random.default_rng(1).normal(0, 0.2, rate), low, mode="same").astype(np.float32)
    ratio = np.gcd(RATE, rate)
    theirs = signal.resample_poly(given.astype(np.float64), RATE // ratio, rate // ratio)
    ours = resample(given, rate)
    assert len(ours) == len(theirs)
    inner = slice(800, -800)
    error = np.sqrt(np.mean((ours[inner] - theirs[inner]) ** 2) / np.mean(theirs[inner] ** 2))
    assert decibel(error) < -50  # SciPy's own filter ripples by as much


def test_16_bits_survive_the_way_to_float_and_back():
    every = np.arange(-32768, 32768, dtype=np.int16)
    assert (to_int16(to_float32(every)) == every).all()
    assert to_int16(np.array([1.0, -1.0, 2.0], np.float32)).tolist() == [32767, -32768, 32767]
    assert pcm.RATE == RATE


# -- decoding


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read(tmp_path, name):
    codec, form, snr = FORMATS[name]
    low = np.convolve(SPEECH, signal.firwin(201, 3000, fs=RATE), mode="same")
    rate = RATES.get(codec, RATE)
    given = signal.resample_poly(low, *(rate // 100, RATE // 100)) if rate != RATE else low
    found = read_waveform(save(tmp_path / name, given, rate, codec, form))
    assert (found.rate, found.channels, found.sound.dtype) == (rate, 1, np.float32)
    assert abs(len(found.sound) / RATE - 3) < 0.15
    if snr is not None:  # raw AAC and WMA store no delay, so their samples are shifted
        shared = min(len(found.sound), len(low))
        error = found.sound[:shared] - low[:shared]
        assert 10 * np.log10(np.mean(low**2) / np.mean(error[800:-800] ** 2)) > snr


def test_16_bit_files_are_read_exactly(tmp_path):
    given = np.random.default_rng(2).integers(-32768, 32768, RATE).astype(np.int16)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(given.tobytes())
    write_flac(tmp_path / "a.flac", given)
    for name in ("a.wav", "a.flac"):
        assert (to_int16(read_waveform(tmp_path / name).sound) == given).all(), name


def test_flac_files_have_the_same_bytes_and_carry_their_marks(tmp_path):
    given = to_int16(SPEECH.astype(np.float32))
    for name in "ab":
        write_flac(tmp_path / f"{name}.flac", given, {"comment": "synthetic"})
    assert (tmp_path / "a.flac").read_bytes() == (tmp_path / "b.flac").read_bytes()
    with av.open(str(tmp_path / "a.flac")) as container:
        assert container.metadata["comment"] == "synthetic"
    write_flac(tmp_path / "d.flac", given, {"comment": "synthetic"}, padding=5000)
    sizes = [(tmp_path / f"{name}.flac").stat().st_size for name in "ad"]
    assert 5000 <= sizes[1] - sizes[0] <= 5004 and (to_int16(read_waveform(tmp_path / "d.flac").sound) == given).all()
    with pytest.raises(ValueError, match="no samples"):
        write_flac(tmp_path / "c.flac", given[:0])


def test_channels_are_mixed_and_clipping_is_counted(tmp_path):
    left, right = tone(500, 1.0), np.zeros(RATE)
    found = read_waveform(save(tmp_path / "a.wav", np.stack([left, right]), RATE))
    assert np.abs(found.sound - left / 2).max() < 1e-4 and (found.channels, found.clipped) == (2, 0.0)
    loud = read_waveform(save(tmp_path / "b.wav", np.clip(tone(503, 1.0, size=2), -1, 1), RATE))
    assert loud.clipped == pytest.approx(2 / 3, abs=0.01)  # |2 sin| exceeds 1 for two thirds of a period


def test_the_sound_of_a_video_starts_with_its_first_frame(tmp_path):
    given = tone(700, 1.024)
    together, later = clip(tmp_path / "a.mp4", given), clip(tmp_path / "b.mp4", given, late=0.2)
    for path, delay in ((together, 0.0), (later, 0.2)):
        found = read_beside(path).sound
        start = np.flatnonzero(np.abs(found) > 0.2)[0] / RATE
        assert start == pytest.approx(delay, abs=0.03)


# -- statistics


def test_silence_levels_and_noise_are_measured():
    quiet = 1e-3 * np.random.default_rng(3).normal(0, 1, 3 * RATE)
    spoken = quiet.copy()
    spoken[RATE // 2 : 2 * RATE] += tone(300, 1.5)
    found = waveform_statistics(spoken.astype(np.float32))
    assert found["leading_silence"] == pytest.approx(0.5, abs=0.03)
    assert found["trailing_silence"] == pytest.approx(1.0, abs=0.03)
    assert found["silence"] == pytest.approx(0.5, abs=0.02) and found["seconds"] == 3
    assert found["noise_floor"] == pytest.approx(-60, abs=1)
    assert found["level"] == pytest.approx(decibel(0.5 / np.sqrt(2) * np.sqrt(0.5)), abs=0.1)


def test_a_steady_tone_has_no_silence_and_a_short_or_silent_file_is_measured():
    assert waveform_statistics(tone(300, 1.0).astype(np.float32))["silence"] == 0
    for sound in (np.zeros(RATE), np.zeros(10)):
        found = waveform_statistics(sound.astype(np.float32))
        assert found["level"] == -100 and found["leading_silence"] == 0
    levels = frame_levels(np.ones(RATE, np.float32))
    assert np.abs(levels).max() < 1e-9 and len(levels) == 99 and not silent(levels).any()


# -- refused


def test_what_has_no_sound_or_too_much_is_refused(tmp_path):
    silent_film = tmp_path / "silent.mp4"
    with av.open(str(silent_film), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(video.encode())
    long = save(tmp_path / "long.flac", np.zeros(5 * RATE), RATE, "flac", "flac")
    text = tmp_path / "text.wav"
    text.write_bytes(b"no sound at all" * 100)
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    recipe = Recordings(longest=4, shortest=1)
    for path, reason in (
        (silent_film, "the file has no sound"),
        (long, r"too long: expected a recording of at most 4 s; cut it \(ffmpeg"),
        (text, "not a readable sound file"),
        (empty, "the file is empty"),
        (tmp_path / "gone.wav", "no such file"),
        (save(tmp_path / "a.txt", np.zeros(RATE), RATE), "'.txt' is neither a sound file nor a video"),
        (
            save(tmp_path / "short.wav", np.zeros(RATE // 2), RATE),
            "too short: 0.500 s of sound, expected at least 1.0 s",
        ),
        (save(tmp_path / "slow.wav", np.zeros(3000), 3000), "its sample rate is 3,000 Hz; expected 4,000 to 384,000"),
    ):
        with pytest.raises(MediaError, match=reason):
            recipe(path)


@pytest.mark.parametrize("name", ["a.wav", "c.flac", "e.m4a", "h.mkv"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_named_so(tmp_path, name, share):
    codec, form, _ = FORMATS[name]
    whole = save(tmp_path / "whole" / name, SPEECH, RATE, codec, form).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(MediaError, match=r"cut off|not a readable sound file"):
        read_waveform(path)


def test_a_streamed_wav_states_no_size_and_is_read(tmp_path):
    path = save(tmp_path / "a.wav", SPEECH, RATE)
    content = bytearray(path.read_bytes())
    content[4:8] = b"\xff\xff\xff\xff"
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(read_waveform(path).sound) == len(SPEECH)


def test_samples_that_are_no_numbers_are_refused(tmp_path):
    path = tmp_path / "nan.wav"
    save(path, SPEECH, RATE, "pcm_f32le")
    content = bytearray(path.read_bytes())
    content[5000:5004] = np.float32(np.nan).tobytes()
    path.write_bytes(content)
    with pytest.raises(MediaError, match="not finite numbers"):
        read_waveform(path)


def test_limits_of_memory_and_of_channels(tmp_path, monkeypatch):
    path = save(tmp_path / "a.wav", SPEECH, RATE)
    monkeypatch.setattr(waveform, "MOST_SAMPLES", RATE)
    with pytest.raises(MediaError, match="at most 1 s"):
        read_waveform(path)
    with pytest.raises(MediaError, match="has 65 channels"):
        waveform._check_format(RATE, 65)


def test_a_recipe_checks_its_durations():
    for options in ({"shortest": 0}, {"shortest": 5, "longest": 5}, {"longest": 7200}):
        with pytest.raises(ValueError, match="expected durations in s"):
            Recordings(**options)
    assert Recordings().key == Recordings(0.1, 600.0).key != Recordings(longest=60).key


# -- hostile files


def test_hostile_files_are_read_or_refused_in_words(tmp_path):
    refused = []
    for path, is_list in hostile(tmp_path, 40, seed=5):
        try:
            crops = Recordings()(path)
            assert np.isfinite(list(v for v in crops.statistics.values() if isinstance(v, float))).all()
            assert not is_list, "a playlist must not be followed"
        except MediaError as error:
            refused.append(str(error))
            assert "\n" not in str(error) and str(error).isprintable() and "Error" not in str(error), error
    assert len(refused) > 15


def test_a_wav_that_claims_to_be_huge_needs_no_memory(tmp_path):
    head = io.BytesIO()
    with wave.open(head, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(bytes(400))
    content = bytearray(head.getvalue())
    content[4:8] = (2**31 - 100).to_bytes(4, "little")
    content[40:44] = (2**31 - 200).to_bytes(4, "little")
    path = tmp_path / "huge.wav"
    path.write_bytes(content)
    with pytest.raises(MediaError, match="cut off: only 444 of"):
        read_waveform(path)
