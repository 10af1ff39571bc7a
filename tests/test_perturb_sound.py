"""Perturbations of recordings: each in conf/perturbation, and each against a formula, SciPy or NumPy."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.signal import correlate

from unmask.config.build import build
from unmask.networks.waves import RATE
from unmask.perturb import codecs, sounds
from unmask.perturb.kinds import OnCrops, OnFiles, OnSound

CONF = Path(__file__).parents[1] / "conf" / "perturbation"
FILES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CONF.glob("sound_*.yaml"))}
TIME = np.arange(2 * RATE) / RATE


def voice():
    """Two seconds of a gliding harmonic sound with pauses and noise up to 8 kHz, float32 [S]."""
    f0 = 120 + 30 * np.sin(2 * np.pi * 0.7 * TIME)
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    x = sum(np.sin(h * phase) / h for h in range(1, 30)) * (np.sin(2 * np.pi * 2.3 * TIME) > -0.5)
    x = x + 0.1 * np.random.default_rng(0).standard_normal(len(x))
    return (0.5 * x / np.abs(x).max()).astype(np.float32)


def tone(frequency):
    return (0.5 * np.sin(2 * np.pi * frequency * TIME)).astype(np.float32)


def power_of(x):
    """Power without the ends, where filters have not settled, or have no data."""
    return float(np.square(x[2000:-2000].astype(float)).mean())


def gain(change, frequency):
    """How a change affects a tone, dB."""
    return 10 * np.log10((power_of(change(tone(frequency))) + 1e-12) / power_of(tone(frequency)))


def decibel(made, x):
    return 10 * np.log10(np.square(x.astype(float)).mean() / np.square(made.astype(float) - x).mean())


@pytest.mark.parametrize("name", FILES)
def test_every_perturbation_of_sound(name):
    """Level 0 is the identity; all others keep length and range, get worse in order, and say what they do."""
    one, x = build(FILES[name]), voice()
    assert isinstance(one, OnSound) and not isinstance(one, OnCrops | OnFiles)
    kept, count = x.copy(), len(one.levels)
    assert one.sound(x, 0, 5) is x
    words = [one.words(level) for level in range(1, count + 1)]
    assert len(set(words)) == count >= 2 and pickle.loads(pickle.dumps(one)).words(1) == words[0]
    made = [one.sound(x, level, 5) for level in range(1, count + 1)]
    assert all(y.shape == x.shape and y.dtype == np.float32 and np.abs(y).max() <= 1 for y in made)
    assert np.array_equal(x, kept) and np.array_equal(made[0], one.sound(x, 1, 5))
    found = [decibel(y, x) for y in made]
    assert found == sorted(found, reverse=True) and len(set(found)) == count, found
    silence = one.sound(np.zeros(8000, np.float32), count, 0)
    assert np.abs(silence).max() < 1e-3
    for level in (-1, count + 1):
        with pytest.raises(ValueError, match=rf"level={level}: expected 1 to {count}"):
            one.sound(x, level, 0)


@pytest.mark.parametrize("length", [1600, 16001, 40000])
@pytest.mark.parametrize("name", codecs.CODECS)
def test_codecs_delay_nothing(name, length):
    """The cross-correlation with the original is highest at a lag of 0, or 1 sample for a codec that resamples."""
    x = np.tile(voice(), 2)[:length]
    made = codecs.coded(x, name, 48)
    assert len(made) == length
    lag = int(np.argmax(correlate(made, x, "full"))) - (length - 1)
    assert abs(lag) <= 1
    assert decibel(made, x) > 3, "it is still the same recording"


@pytest.mark.parametrize("name", codecs.CODECS)
def test_a_codec_loses_what_it_cannot_encode(name):
    """At a low bit rate, the highest frequencies fade; at a high one, little does."""
    x = voice()
    power = [np.square(np.abs(np.fft.rfft(y)))[-3000:].sum() for y in (x, *(codecs.coded(x, name, b) for b in (64, 8)))]
    assert power[1] > 0.2 * power[0] and power[2] < 0.5 * power[1]


def test_settings_of_codecs_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"codec=gsm: expected one of mp3, aac, opus"):
        sounds.SoundCodec("gsm", [16])
    with pytest.raises(ValueError, match=r"MP3 at 320 kbit/s: expected 8 to 160 kbit/s"):
        sounds.SoundCodec("mp3", [64, 320])


def test_mu_law_equals_the_formula_of_g711():
    """The companding curve with 8 bits: steps grow with the sample, and there are at most 256 values."""
    x = np.linspace(-0.98, 0.98, 4001)
    made = codecs.mu_law(x)
    assert len(np.unique(made)) <= 256
    curve = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log1p(255)  # in [-1, 1], 128 steps on each side
    back = np.sign(made) * np.log1p(255 * np.abs(made)) / np.log1p(255)
    assert np.abs(curve - back).max() < 1.2 / 128


def test_a_telephone_passes_its_band_only():
    def change(x):
        return codecs.telephone(x, 300, 3400)

    assert abs(gain(change, 1000)) < 0.5 and gain(change, 300) == pytest.approx(-6, abs=1.5)
    assert gain(change, 60) < -30 and gain(change, 5000) < -30
    with pytest.raises(ValueError, match=r"pairs \[lower, upper\] of frequencies above 0 and below 4000 Hz"):
        sounds.Telephone([[300, 4000]])


def test_a_low_pass_halves_the_amplitude_at_its_limit():
    """Butterworth, forwards and backwards: -3 dB twice."""
    one = sounds.BandLimit([4000])
    assert gain(lambda x: one.sound(x, 1, 0), 4000) == pytest.approx(-6.02, abs=0.1)
    assert abs(gain(lambda x: one.sound(x, 1, 0), 1000)) < 0.05
    x = voice()
    assert int(np.argmax(correlate(one.sound(x, 1, 0), x, "full"))) == len(x) - 1, "no delay"
    with pytest.raises(ValueError, match=r"frequencies from 100 to below 8000 Hz"):
        sounds.BandLimit([8000])


def test_resampling_keeps_what_is_below_half_the_rate():
    one = sounds.Resampled([8000])
    assert abs(gain(lambda x: one.sound(x, 1, 0), 1000)) < 0.1
    assert gain(lambda x: one.sound(x, 1, 0), 5000) < -40
    np.testing.assert_allclose(one.sound(tone(500), 1, 0)[2000:-2000], tone(500)[2000:-2000], atol=0.01)
    with pytest.raises(ValueError, match=r"rates from 1000 to 15999 Hz"):
        sounds.Resampled([16000])


@pytest.mark.parametrize("colour", sounds.COLOURS)
def test_noise_has_the_ratio_and_the_colour_that_were_named(colour):
    x = 0.2 * voice()  # no sample is clipped
    one = sounds.SoundNoise([20, 10], colour)
    added = [one.sound(x, level, 3).astype(float) - x for level in (1, 2)]
    for noise, ratio in zip(added, (20, 10), strict=True):
        found = 10 * np.log10(np.square(x.astype(float)).mean() / np.square(noise).mean())
        assert found == pytest.approx(ratio, abs=0.01)
    np.testing.assert_allclose(added[1], added[0] * 10**0.5, atol=1e-5)
    assert not np.allclose(one.sound(x, 1, 4), one.sound(x, 1, 3), atol=1e-4)
    power = np.square(np.abs(np.fft.rfft(added[1])))
    low, high = power[400:800].mean(), power[3200:6400].mean()  # three octaves apart
    assert 10 * np.log10(low / high) == pytest.approx(9 if colour == "pink" else 0, abs=1)
    with pytest.raises(ValueError, match=r"colour=brown: expected one of white, pink"):
        sounds.SoundNoise([20], "brown")
