"""Augmentations of recordings: every option for sound, and each transform against NumPy and formulas."""

import numpy as np
import pytest
import torch

from conftest import compose
from test_perturb_sound import decibel, voice
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.data.augment import Augmentation
from unmask.data.sound_handling import (
    AddNoise,
    ConvolutiveNoise,
    Gain,
    ImpulsiveNoise,
    Phone,
    Recode,
    Reverberate,
    StationaryNoise,
    filtered,
    notched,
)
from unmask.networks.waves import RATE

NAMES, SEEDS = ("sound", "rawboost"), [3, 14, 15, 92, 65, 35]
WAVE = torch.from_numpy(0.5 * voice()[:12000])
ALL = (Recode, Phone, AddNoise, Reverberate, Gain, ConvolutiveNoise, ImpulsiveNoise, StationaryNoise)


def load(name) -> Augmentation:
    cfg = compose("train", [f"augment@data.augment={name}", "data.root=x", "paths.out=out"])
    return build(resolved(cfg, "data")["data"]["augment"])


@pytest.mark.parametrize("name", NAMES)
def test_each_sample_has_one_draw_of_its_own(name):
    """The same for the same seed, in any order and in any batch; PyTorch's generator is left as it was."""
    augment, x = load(name), WAVE.repeat(len(SEEDS), 1)
    state = torch.get_rng_state()
    out = augment.on_worker(x, SEEDS)
    assert torch.equal(out, augment.on_worker(x, SEEDS)) and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(out.flip(0), augment.on_worker(x, SEEDS[::-1]))
    assert torch.equal(out[2:3], augment.on_worker(x[2:3], SEEDS[2:3]))
    assert out.shape == x.shape and out.dtype == torch.float32 and out.isfinite().all() and out.abs().max() <= 1
    assert len({tuple(one[:400].tolist()) for one in out}) >= len(SEEDS) - 1
    assert torch.equal(x, WAVE.repeat(len(SEEDS), 1)), "the samples themselves are not changed"


def test_the_sound_of_clips_has_transforms_of_its_own():
    augment, clips = load("clips_with_sound"), torch.randint(0, 256, (2, 3, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(augment.on_worker(clips, [1, 2]), clips)
    sound = augment.on_sound(WAVE.repeat(2, 1), [1, 2])
    assert sound.shape == (2, len(WAVE)) and not torch.equal(sound[0], sound[1])
    assert torch.equal(Augmentation().on_sound(WAVE[None], [1]), WAVE[None])


@pytest.mark.parametrize("kind", ALL)
def test_every_transform_keeps_length_and_range_and_survives_silence(kind):
    torch.manual_seed(0)
    for _ in range(4):
        made = kind()(WAVE)
        assert made.shape == WAVE.shape and made.dtype == torch.float32
        assert made.isfinite().all() and made.abs().max() <= 1 and not torch.equal(made, WAVE)
    silence = kind()(torch.zeros(4000))
    assert silence.isfinite().all() and silence.abs().max() < 1e-3


@pytest.mark.parametrize("kind", [Reverberate, ConvolutiveNoise, ImpulsiveNoise])
def test_the_level_is_kept(kind):
    torch.manual_seed(0)
    for _ in range(4):
        assert float(kind()(WAVE).square().mean() / WAVE.square().mean()) == pytest.approx(1, abs=0.05)


def test_noise_has_the_ratio_that_was_named():
    torch.manual_seed(0)
    for made in (AddNoise([15, 15])(0.4 * WAVE), StationaryNoise([15, 15])(0.4 * WAVE)):
        assert decibel(made.numpy(), 0.4 * WAVE.numpy()) == pytest.approx(15, abs=0.05)
    gained = Gain([-6, -6])(WAVE)
    torch.testing.assert_close(gained, WAVE * 10**-0.3)


def test_a_codec_and_a_bit_rate_are_drawn():
    torch.manual_seed(0)
    found = {tuple(Recode(bit_rate=[12, 64])(WAVE)[:500].tolist()) for _ in range(6)}
    assert len(found) == 6
    worse = [decibel(Recode(["mp3"], [rate, rate])(WAVE).numpy(), WAVE.numpy()) for rate in (64, 16)]
    assert worse[0] > worse[1] + 1


def test_reverberation_fades_by_60_decibels_in_the_time_that_was_named():
    torch.manual_seed(0)
    click = torch.zeros(RATE)
    click[0] = 1.0
    room = Reverberate([0.4, 0.4], [0, 0])(click).numpy().astype(float)
    assert room[0] ** 2 == pytest.approx(np.square(room[1:]).sum(), rel=0.01)  # direct sound and rest are as loud
    power = [np.square(room[start : start + 320]).mean() for start in range(320, 6000, 320)]
    slope = np.polyfit(np.arange(len(power)) * 320 / RATE, 10 * np.log10(power), 1)[0]
    assert slope == pytest.approx(-60 / 0.4, rel=0.07)


def test_filtering_equals_numpys_convolution():
    torch.manual_seed(0)
    x, taps = torch.randn(200), torch.randn(31)
    whole = np.convolve(x.numpy(), taps.numpy())
    np.testing.assert_allclose(filtered(x, taps), whole[:200], atol=1e-4)
    np.testing.assert_allclose(filtered(x, taps, centred=True), whole[15:215], atol=1e-4)


def test_notches_are_symmetric_and_remove_some_frequencies():
    torch.manual_seed(0)
    for _ in range(5):
        taps = notched(5)
        torch.testing.assert_close(taps, taps.flip(0), atol=1e-5, rtol=1e-4)
        response = np.abs(np.fft.rfft(taps.double().numpy(), 4096))
        assert response.max() == pytest.approx(1, abs=1e-3) and response.min() < 0.7


def test_impulses_are_as_many_as_were_named_and_in_proportion_to_the_samples():
    torch.manual_seed(0)
    x = 0.1 * torch.sign(torch.randn(20_000))  # the level hardly changes, so that struck samples can be told
    made = ImpulsiveNoise([0.05, 0.05], gain=2.0)(x)
    ratio = made / x
    usual = ratio.median()
    struck = (ratio - usual).abs() > 1e-3
    assert float(struck.float().mean()) == pytest.approx(0.05, abs=0.006)
    assert float((ratio / usual - 1).abs().max()) <= 2.0 + 1e-3


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"decibel=\[6, -6\]: expected \[lowest, highest\] between -60 and 60"):
        Gain([6, -6])
    with pytest.raises(ValueError, match=r"codecs=\[\]: expected some of mp3, aac, opus"):
        Recode([])
    with pytest.raises(ValueError, match=r"MP3 at 200 kbit/s"):
        Recode(["mp3"], [32, 200])
    with pytest.raises(ValueError, match=r"colours=\['red'\]: expected some of white, pink"):
        AddNoise(colours=["red"])
    with pytest.raises(ValueError, match=r"lowest=\[300, 3500\]: expected frequencies below highest"):
        Phone([300, 3500])
    with pytest.raises(ValueError, match=r"powers=0, notches=5"):
        ConvolutiveNoise(powers=0)
