"""Spectrograms and players of a report, against tones and a decoder."""

import base64
import io

import av
import numpy as np
import pytest

from unmask.reporting.sounds import RATE, flac, player, spectrogram

TIME = np.arange(2 * RATE) / RATE


def tone(frequency):
    return np.rint(20_000 * np.sin(2 * np.pi * frequency * TIME)).astype(np.int16)


@pytest.mark.parametrize("frequency", [500, 2000, 7000])
def test_a_tone_is_a_bright_line_at_its_frequency(frequency):
    picture = spectrogram(tone(frequency))
    assert picture.dtype == np.uint8 and picture.shape == (128, 1 + (2 * RATE - 512) // 256, 3)
    row = int(picture.astype(int).sum((1, 2)).argmax())
    assert (127 - row + 0.5) * 8000 / 128 == pytest.approx(frequency, abs=63)


def test_time_runs_to_the_right_and_only_the_beginning_is_drawn():
    sound = np.concatenate([np.zeros(RATE, np.int16), tone(1000)[:RATE]])
    light = spectrogram(sound).astype(int).sum((0, 2))
    assert light[: len(light) // 2 - 2].max() < 0.3 * light[len(light) // 2 + 2 :].min()
    assert spectrogram(np.tile(tone(1000), 10)).shape[1] == 1 + (10 * RATE - 512) // 256
    assert spectrogram(np.zeros(100, np.int16)).shape == (128, 1, 3)


def test_the_player_holds_the_recording_losslessly():
    sound = np.random.default_rng(0).integers(-32768, 32768, 30_000).astype(np.int16)
    with av.open(io.BytesIO(flac(sound))) as file:
        assert file.streams.audio[0].rate == RATE
        found = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert np.array_equal(found, sound)
    address = player(np.tile(tone(300), 10), seconds=1)
    kind, _, content = address.partition(",")
    assert kind == "data:audio/flac;base64" and base64.b64decode(content) == flac(tone(300)[:RATE])


# ---- the page ----


@pytest.mark.slow
def test_a_page_of_recordings_plays_the_largest_errors(tmp_path):
    """Intervals over speakers, a spectrogram and a player for each misclassified recording."""
    from test_metrics_speech import predictions
    from unmask.metrics import detection, speakers
    from unmask.reporting import examples, page
    from unmask.reporting.run import RunReport

    table, of = predictions(count=12)
    cuts = {"frame": 0.0, "video": 0.0}
    wrong = [choice.item for choice in examples.errors(table, 0.0)[0]]
    recordings = {item: np.roll(tone(400), at) for at, item in enumerate(wrong)}
    run = RunReport(
        "voices", table, cuts, detection.summary(table, cuts, 20), {"Data": "voices"}, "unmask train",
        speech=speakers.summary(table, of, resamples=50),
    )  # fmt: skip
    html = page.write(
        tmp_path / "r.html", [run], "t", lambda item, frames, track: [spectrogram(tone(400))] * len(frames),
        sounds=recordings.get,
    ).read_text()  # fmt: skip
    assert wrong and html.count("<audio controls") == len(wrong) and "media-src data:" in html
    assert all(player(sound) in html for sound in recordings.values())
    assert "Metrics over speakers" in html and "Minimum DCF" in html and html.count("Spectrogram of ") == len(wrong)
    silent = page.write(tmp_path / "s.html", [run], "t").read_text()
    assert "<audio" not in silent
