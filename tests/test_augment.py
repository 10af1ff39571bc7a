"""Every augmentation on the disk: a draw a sample, the same for its frames, and a mask that stays with its picture."""

import colorsys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch.nn.functional import avg_pool2d, interpolate
from torchvision.transforms import v2

from conftest import compose
from unmask.config import conf_dir
from unmask.config.check import validate
from unmask.data.augment import Augmentation, DropFrames, Freeze, Reverse

SOUND = {"sound", "rawboost"}  # for recordings, see test_sound_handling
NAMES = sorted({path.stem for path in Path(conf_dir(), "augment").glob("*.yaml")} - SOUND)
MOVED = ("clips", "compression", "light", "strong")
SIZE, SEEDS = 144, list(range(24))


def load(name: str) -> Augmentation:
    cfg = compose("train", [f"augment@data.augment={name}", f"image_size={SIZE}", "data.root=x", "paths.out=out"])
    validate(cfg)
    return instantiate(cfg.data.augment, _convert_="all")


def without(augment: Augmentation, kind: type) -> Augmentation:
    """The same but for one kind of transform, alone or in a RandomApply."""

    def keep(transform) -> bool:
        return not isinstance(transform, kind) and not any(
            isinstance(t, kind) for t in vars(transform).get("transforms", [])
        )

    return Augmentation([t for t in augment.worker if keep(t)], [t for t in augment.device if keep(t)])


def pictures(num: int, frames: int | None = None) -> torch.Tensor:
    """Smooth pictures of many colours, float in [0, 1]; all frames of a clip are alike."""
    small = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    one = interpolate(small, (SIZE, SIZE), mode="bicubic").clamp(0, 1)[0]
    return one.expand(num, *([] if frames is None else [frames]), 3, SIZE, SIZE).clone()


def both(augment: Augmentation, x: torch.Tensor, seeds: list[int]) -> torch.Tensor:
    """In the worker, then on the device."""
    packed = augment.on_worker((x * 255).round().to(torch.uint8), seeds)
    assert packed.dtype == torch.uint8 and packed.shape == x.shape
    out, none = augment.on_device(packed.float() / 255, None, seeds)
    assert none is None and out.shape[:-2] == x.shape[:-2] and 0 <= out.min() and out.max() <= 1
    return out


def test_the_walk_finds_the_augmentations():
    assert set(NAMES) >= {"none", *MOVED}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_samples_differ_and_seeds_reproduce(name):
    augment, x = load(name), pictures(len(SEEDS))
    state = torch.get_rng_state()
    out = both(augment, x, SEEDS)
    assert torch.equal(out, both(augment, x, SEEDS)) and torch.equal(torch.get_rng_state(), state)
    backwards = both(augment, x, SEEDS[::-1])
    assert torch.equal(out, backwards.flip(0)), "a sample's draw depends on its seed alone"
    different = len({sample.numpy().tobytes() for sample in out})
    few = {"none": 1, "mirror": 2}  # of which there are no more
    assert different == few[name] if name in few else different > len(SEEDS) / 2
    if name == "none":
        assert torch.equal(out, (x * 255).round() / 255)


@pytest.mark.parametrize("name", NAMES)
def test_the_frames_of_a_clip_have_one_draw(name):
    augment = load(name)
    out = both(without(augment, v2.GaussianNoise), pictures(len(SEEDS), frames=3), SEEDS)
    torch.testing.assert_close(out[:, 0], out[:, 1], atol=1e-6, rtol=0)
    torch.testing.assert_close(out[:, 0], out[:, 2], atol=1e-6, rtol=0)
    noisy = both(augment, pictures(len(SEEDS), frames=3), SEEDS)
    apart = noisy[:, 0] - noisy[:, 1]
    own = (apart.abs().amax((1, 2, 3)) > 1e-6).float().mean()
    assert 0.05 < own < 0.6 if name == "strong" else own == 0, "only noise is a frame's own"
    assert apart.abs().mean() < 0.04 and abs(float(apart.mean())) < 0.001


@pytest.mark.parametrize("name", MOVED)
def test_a_mask_stays_with_its_picture(name):
    """A picture that is its own mask: where both are black or white, they agree after every move."""
    augment = without(load(name), v2.RandomErasing)
    mask = torch.zeros(len(SEEDS), 1, SIZE, SIZE)
    mask[:, :, 24:78, 18:60] = 1
    x, moved = augment.on_device(mask.repeat(1, 3, 1, 1), mask, SEEDS)
    assert moved is not None and moved.shape == mask.shape and set(moved.unique().tolist()) <= {0.0, 1.0}
    assert not torch.equal(moved, mask), "it moves"
    area = moved.mean((1, 2, 3)) / mask.mean((1, 2, 3))
    assert 0.8 < area.min() and area.max() < 1.6
    # Away from the mask's border, white is bright and black is dark.
    bright = x.mean(1, keepdim=True)
    solid = (avg_pool2d(moved, 7, 1, 3, count_include_pad=False) - moved).abs() < 1e-6
    agree = (bright > 0.5) == (moved > 0.5)
    assert agree[solid].float().mean() > 0.995


def test_what_hides_a_part_leaves_its_mask_and_says_nothing():
    (erase,) = (t for t in load("strong").device if isinstance(t, v2.RandomErasing))
    mask = torch.ones(len(SEEDS), 1, SIZE, SIZE)
    with warnings.catch_warnings(record=True) as told:
        x, same = Augmentation(device=[erase]).on_device(mask.repeat(1, 3, 1, 1), mask, SEEDS)
    hidden = (x != 1).any(1).float().mean((1, 2))
    assert torch.equal(same, mask) and 0.05 < (hidden > 0).float().mean() < 0.6
    assert hidden.max() <= 0.16 and hidden[hidden > 0].min() >= 0.015 and not told
    assert set(x.unique().tolist()) == {0.5, 1.0}


def test_compression_costs_detail_as_its_settings_say():
    """On noise, of which a smaller picture holds less, by its standard deviation."""
    augment = load("compression")
    noise = torch.randint(0, 256, (60, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    out = augment.on_worker(noise, list(range(60)))
    kept = out.float().std((1, 2, 3)) / noise.float().std((1, 2, 3))
    same = (out == noise).flatten(1).all(1)
    assert 0.02 < same.float().mean() < 0.3, "0.5 x 0.2 of the samples stay as they are"
    assert 0.1 < kept.min() < 0.3, "a side of 0.4 has a sixth of the pixels, and each enlarged one is a mean of some"
    assert 0.2 < (kept < 0.45).float().mean() < 0.6, "half of them are shrunk, some by little"


@pytest.mark.parametrize("name", ["clips", "strong"])
def test_a_turn_is_bilinear_and_within_its_degrees(name):
    """The angle is read back from a half-plane's edge."""
    (turn,) = (
        t.transforms[0] for t in load(name).device if isinstance(getattr(t, "transforms", [0])[0], v2.RandomRotation)
    )
    half = torch.zeros(40, 3, 64, 64)
    half[:, :, :32] = 1
    out, _ = Augmentation(device=[turn]).on_device(half, None, list(range(40)))
    assert ((out > 0.05) & (out < 0.95)).any(), "bilinear: no jagged edges"
    edge = out[:, 0, 8:56, 16:48].sum(1)  # the height of the white part in each column
    degrees = torch.rad2deg(torch.atan((edge[:, -1] - edge[:, 0]) / 31))
    assert degrees.abs().max() < 10.5 and degrees.max() > 4 and degrees.min() < -4


def test_the_colours_of_a_clip_change_within_their_limits():
    """By colorsys: a hue moves by 0.02 at most; brightness, contrast and saturation by a tenth each."""
    (jitter,) = (t for t in load("clips").device if isinstance(t, v2.ColorJitter))
    colour = torch.tensor([0.6, 0.4, 0.3]).view(3, 1, 1).expand(40, 3, 8, 8)
    out, _ = Augmentation(device=[jitter]).on_device(colour, None, list(range(40)))
    hue, saturation, value = np.array([colorsys.rgb_to_hsv(*one[:, 0, 0].tolist()) for one in out]).T
    before = colorsys.rgb_to_hsv(0.6, 0.4, 0.3)
    assert np.abs(hue - before[0]).max() < 0.021 and hue.std() > 0.005
    assert np.abs(saturation / before[1] - 1).max() < 0.2 and saturation.std() > 0.01
    assert np.abs(value / before[2] - 1).max() < 0.25 and value.std() > 0.02


# ---- clips ----


def numbered(frames: int = 8) -> torch.Tensor:
    """A clip whose frames hold their numbers."""
    return torch.arange(frames, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).clone()


def played(transform, frames: int = 8, draws: int = 400) -> list[list[int]]:
    """Which frames each of many samples of one clip shows."""
    out = Augmentation([transform]).on_worker(numbered(frames).expand(draws, -1, -1, -1, -1), list(range(draws)))
    assert out.dtype == torch.uint8 and (out == out[..., :1, :1, :1]).all(), "a frame stays whole"
    return out[..., 0, 0, 0].tolist()


def test_a_lost_frame_shows_the_one_before():
    shown = played(DropFrames(0.25))
    for clip in shown:
        for at, frame in enumerate(clip):
            assert frame == at or frame == clip[at - 1], "itself, or what was shown before"
    lost = sum(frame != at for clip in shown for at, frame in enumerate(clip)) / (len(shown) * 7)
    assert 0.22 < lost < 0.28 and all(clip[0] == 0 for clip in shown)


def test_a_freeze_holds_one_frame_and_goes_on_where_it_would_have_been():
    shown, lengths, starts = played(Freeze(4)), set(), set()
    for clip in shown:
        wrong = [at for at, frame in enumerate(clip) if frame != at]
        start = clip[wrong[0]]
        assert wrong == list(range(start + 1, wrong[-1] + 1)) and {clip[at] for at in wrong} == {start}
        lengths.add(len(wrong) + 1)
        starts.add(start)
    assert lengths == {2, 3, 4} and starts == set(range(7))
    assert played(Freeze(4), frames=2, draws=3) == [[0, 0]] * 3


def test_reversal():
    assert played(Reverse(), draws=1) == [[7, 6, 5, 4, 3, 2, 1, 0]]


def test_what_is_done_to_clips_leaves_frames_alone():
    x = torch.randint(0, 256, (len(SEEDS), 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(load("clips").on_worker(x, SEEDS), x)
    with pytest.raises(ValueError, match="share"):
        DropFrames(0)
    with pytest.raises(ValueError, match="at least 2"):
        Freeze(1)


@pytest.mark.parametrize("name", ["clips", "strong"])
def test_each_frame_of_a_clip_is_turned_and_cut_as_a_single_one_would_be(name):
    moves = [t for t in load(name).device if "Rotation" in repr(t) or isinstance(t, v2.RandomResizedCrop)]
    assert len(moves) == 2
    clips = torch.rand(6, 4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    augment, seeds = Augmentation(device=moves), list(range(6))
    moved, _ = augment.on_device(clips, None, seeds)
    for frame in range(4):
        alone, _ = augment.on_device(clips[:, frame], None, seeds)
        torch.testing.assert_close(moved[:, frame], alone, atol=1e-5, rtol=0)
    assert not torch.equal(moved, clips)
