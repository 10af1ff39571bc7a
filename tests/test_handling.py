"""The effects of handling a picture, against Pillow and by hand."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn

from unmask.data.handling import Jpeg, Noise, Resample, SomeOf, WebP

# uint8 [3, 128, 128]
PHOTO = torch.from_numpy(load_sample_image("flower.jpg")[100:228, 200:328].copy()).permute(2, 0, 1)


def decibel(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(10 * torch.log10(255**2 / (a.float() - b.float()).square().mean()))


def luma_and_chroma(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ycc = torch.from_numpy(np.asarray(Image.fromarray(x.permute(1, 2, 0).numpy()).convert("YCbCr")).copy())
    return ycc[..., 0], ycc[..., 1:]


@pytest.mark.parametrize(("make", "kind"), [(Jpeg, "JPEG"), (WebP, "WEBP")])
def test_a_picture_saved_again_is_what_pillow_reads(make, kind):
    more = {"subsampling": "4:2:0"} if kind == "JPEG" else {"method": 2}
    buffer = io.BytesIO()
    Image.fromarray(PHOTO.permute(1, 2, 0).numpy()).save(buffer, kind, quality=60, **more)
    wanted = np.asarray(Image.open(buffer).convert("RGB"))
    transform = make([60, 60], ["4:2:0"]) if kind == "JPEG" else make([60, 60])
    assert np.array_equal(transform(PHOTO).permute(1, 2, 0).numpy(), wanted)


def test_quality_and_subsampling_are_those_that_were_named():
    worse = [decibel(Jpeg([quality, quality], ["4:2:0"])(PHOTO), PHOTO) for quality in (95, 75, 50, 30)]
    assert sorted(worse, reverse=True) == worse and worse[0] > 30
    full, half = (luma_and_chroma(Jpeg([90, 90], [name])(PHOTO)) for name in ("4:4:4", "4:2:0"))
    mine = luma_and_chroma(PHOTO)
    assert decibel(half[1], mine[1]) < decibel(full[1], mine[1]) - 1, "halved chroma loses colour"
    torch.manual_seed(0)
    drawn = {tuple(Jpeg([50, 95])(PHOTO).flatten().tolist()) for _ in range(12)}
    assert len(drawn) > 8, "each sample has a draw of its own"


def test_a_resampled_picture_keeps_its_size_and_means_and_loses_detail():
    torch.manual_seed(1)
    for _ in range(8):
        made = Resample(0.3)(PHOTO)
        assert made.shape == PHOTO.shape and made.dtype == torch.uint8
        assert (made.float().mean((1, 2)) - PHOTO.float().mean((1, 2))).abs().max() < 2
    fine = [x.float().diff(dim=-1).abs().mean() for x in (Resample(0.3)(PHOTO), PHOTO)]
    assert fine[0] < fine[1]
    assert decibel(Resample(1.0)(PHOTO), PHOTO) > 40, "a factor of 1 changes nothing but rounding"


def test_all_frames_of_a_clip_have_one_draw():
    clip = PHOTO.expand(5, -1, -1, -1)
    for transform in (Jpeg(), WebP(), Resample(), Noise()):
        made = transform(clip)
        assert made.shape == clip.shape and all(torch.equal(frame, made[0]) for frame in made)


def test_noise_has_the_deviation_that_was_named():
    torch.manual_seed(0)
    grey = torch.full((3, 200, 200), 128, dtype=torch.uint8)
    assert float(Noise([0.02, 0.02])(grey).float().std()) == pytest.approx(0.02 * 255, rel=0.02)
    assert torch.equal(Noise([0, 0])(PHOTO), PHOTO)
    with pytest.raises(ValueError, match=r"sigma=\[0.2, 0.1\]: expected \[lowest, highest\] between 0 and 1"):
        Noise([0.2, 0.1])


class Add(nn.Module):
    def __init__(self, digit: int) -> None:
        super().__init__()
        self.digit = digit

    def forward(self, x):
        return 10 * x + self.digit


def test_some_are_applied_in_random_order():
    """Each number of transforms from 0 to 2 equally often, each at most once, in each order."""
    torch.manual_seed(0)
    found = [int(SomeOf([Add(digit) for digit in (1, 2, 3)])(torch.zeros((), dtype=torch.int64))) for _ in range(900)]
    digits = [str(number) if number else "" for number in found]
    assert set(digits) == {"", "1", "2", "3", "12", "13", "21", "23", "31", "32"}
    counts = [sum(len(text) == length for text in digits) for length in range(3)]
    assert all(250 < count < 350 for count in counts)


def test_settings_that_cannot_be_are_refused():
    for quality in ([0, 90], [90, 30], [30, 101]):
        with pytest.raises(ValueError, match=r"expected \[lowest, highest\] between 1 and 100"):
            Jpeg(quality)
    with pytest.raises(ValueError, match=r"subsampling=\['4:4:4', '4:1:1'\]: expected some of 4:4:4, 4:2:2, 4:2:0"):
        Jpeg(subsampling=["4:4:4", "4:1:1"])
    with pytest.raises(ValueError, match=r"subsampling=\[\]"):
        Jpeg(subsampling=[])
    with pytest.raises(ValueError, match="smallest=0: expected a fraction above 0"):
        Resample(0)
    with pytest.raises(ValueError, match="most=3: expected 1 to 2"):
        SomeOf([Add(1), Add(2)], most=3)
