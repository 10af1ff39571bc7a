"""Swapped videos: geometry and colours by hand, sound packet for packet, times, marks, and what becomes of the rest."""

import json
import pickle
import shlex
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure
from torchvision.models import alexnet

from conftest import unmask
from datamodules import DataOf
from unmask.data.store import CropStore, StoreError
from unmask.datasets.generated import Generated
from unmask.evaluation.swaps import SwapFigures, likeness, recogniser
from unmask.generation.choice import Numbered, OfPhoto, of_photo
from unmask.generation.swapper import Swapper
from unmask.generation.trained import load_swapper
from unmask.media.align import align_matrix, warp
from unmask.media.encode import Clock, pad_even, write_video
from unmask.media.kinds import MediaError
from unmask.media.paste import match_colours, paste, rescale, soften, unwarp
from unmask.media.pictures import WholePictures
from unmask.media.recipe import FaceCrops
from unmask.media.stream import clock, stream
from unmask.media.track import Track
from unmask.networks.encoders import FacenetEncoder
from unmask.provenance import PAYLOAD, read_marks
from unmask.provenance.watermark import embed
from unmask.provenance.watermark import read as read_watermark
from unmask.runs.run import Run


def smooth_noise(seed, height, width):
    drawn = np.random.default_rng(seed).uniform(0, 255, (6, 6, 3)).astype(np.float32)
    return cv2.resize(drawn, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def disc(side, radius):
    across = np.arange(side) - side / 2 + 0.5
    return (across[:, None] ** 2 + across[None] ** 2 < radius**2).astype(np.float32)


# ---- putting back ----


def test_a_crop_at_whole_pixels_goes_back_to_the_bit():
    frame = smooth_noise(0, 60, 80)
    matrix = np.array([[1, 0, -20], [0, 1, -10]], np.float32)  # px (20, 10) of the frame is (0, 0) of the crop
    picture = np.full((32, 32, 3), 200, np.float32)
    made, alpha = paste(frame, picture, np.ones((32, 32), np.float32), matrix, feather=0)
    assert (made[14:38, 24:48] == 200).all() and (alpha[14:38, 24:48] == 1).all()
    outside = np.ones((60, 80), bool)
    outside[10:42, 20:52] = False
    assert np.array_equal(made[outside], frame[outside]) and (alpha[outside] == 0).all()


def test_a_turned_and_enlarged_crop_lands_where_an_affine_map_says():
    """A dot at a known place of the crop; where it lands is the inverse of the map, worked out by linear algebra."""
    angle, scale = 0.3, 0.7
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.concatenate([turn, [[9.0], [4.0]]], axis=1).astype(np.float32)
    picture = np.zeros((48, 48, 3), np.float32)
    cv2.circle(picture, (30, 20), 4, (255, 255, 255), -1)
    made, _ = paste(np.zeros((100, 120, 3), np.uint8), picture, np.ones((48, 48), np.float32), matrix, feather=0)
    expected = np.linalg.solve(turn, np.array([30.0, 20.0]) - [9.0, 4.0])
    weight = made[..., 0].astype(float)
    found = [(weight.sum(axis) * np.arange(weight.shape[1 - axis])).sum() / weight.sum() for axis in (0, 1)]
    assert found == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("size", [40, 90, 400])
@pytest.mark.parametrize("blend", ["feather", "poisson"])
def test_a_perfect_reconstruction_gives_the_frame_back(size, blend):
    frame = smooth_noise(1, 240, 320)
    landmarks = np.array([[120, 90], [180, 95], [150, 125], [125, 150], [175, 155]], np.float32)
    matrix = align_matrix(landmarks, size, 0.3)
    crop = warp(frame, matrix, size)
    made, alpha = paste(frame, crop.astype(np.float32), disc(size, 0.4 * size), matrix, blend)
    assert 0.02 < (alpha > 0).mean() < 0.5
    assert np.array_equal(made[alpha == 0], frame[alpha == 0])
    assert np.abs(made.astype(int) - frame).mean() < 1 and np.abs(made.astype(int) - frame).max() < 12


@pytest.mark.parametrize("blend", ["feather", "poisson"])
@pytest.mark.parametrize("shift", [(-150, 0), (130, 100), (0, -95), (900, 900)])
def test_a_face_at_the_border_or_beyond_it_is_no_error(shift, blend):
    frame = smooth_noise(1, 120, 160)
    matrix = np.array([[0.5, 0, 10 - shift[0] / 2], [0, 0.5, 5 - shift[1] / 2]], np.float32)
    made, alpha = paste(frame, np.full((64, 64, 3), 9, np.float32), disc(64, 28), matrix, blend)
    assert made.shape == frame.shape and np.array_equal(made[alpha == 0], frame[alpha == 0])


def test_poisson_takes_the_colours_around_and_feathering_those_of_the_face():
    frame = np.full((100, 100, 3), 120, np.uint8)
    matrix = np.array([[1, 0, -18], [0, 1, -18]], np.float32)
    picture = np.full((64, 64, 3), 180, np.float32)
    picture[28:36, 28:36] = 220  # 40 brighter than around
    feathered = paste(frame, picture, disc(64, 28), matrix, "feather").frame
    cloned = paste(frame, picture, disc(64, 28), matrix, "poisson").frame
    assert feathered[50, 50, 0] == 220 and feathered[38, 50, 0] == 180
    assert abs(int(cloned[38, 50, 0]) - 120) < 4 and abs(int(cloned[50, 50, 0]) - 160) < 8
    with pytest.raises(ValueError, match="blend=magic"):
        paste(frame, picture, disc(64, 28), matrix, "magic")


def test_a_mask_falls_off_inside_of_itself_and_before_the_border():
    soft = soften(disc(100, 30), 0.06)
    line = soft[50]
    assert line[50] == pytest.approx(1, abs=1e-3) and line[19] < 0.05 and 0 < line[24] < 1
    assert (np.diff(line[:50]) >= -1e-6).all() and soften(np.ones((100, 100), np.float32), 0.06)[0].max() == 0


def test_maps_into_resized_pictures():
    """Twice as large: the middle of px 0, at 0, is between px 0 and 1 there, at 0.5."""
    doubled = rescale(np.array([[1, 0, 0], [0, 1, 0]], np.float32), 2.0)
    assert doubled @ [0, 0, 1] == pytest.approx([0.5, 0.5]) and doubled @ [3, 1, 1] == pytest.approx([6.5, 2.5])
    picture = np.zeros((64, 64), np.float32)
    picture[16:32, 32:48] = 1
    small = unwarp(picture, np.array([[4, 0, 1.5], [0, 4, 1.5]], np.float32), (16, 16))
    assert np.array_equal(small > 0.5, cv2.resize(picture, (16, 16), interpolation=cv2.INTER_AREA) > 0.5)


def test_colours_have_the_target_s_mean_and_spread():
    target, picture, inside = smooth_noise(2, 32, 32), smooth_noise(3, 32, 32) * 0.5 + 60, disc(32, 12)
    made = match_colours(picture.astype(np.float32), target.astype(np.float32), inside)
    lab = [cv2.cvtColor(np.float32(x / 255), cv2.COLOR_RGB2Lab)[inside > 0.5] for x in (made, target)]
    assert lab[0].mean(0) == pytest.approx(lab[1].mean(0), abs=2.5)
    assert match_colours(picture, target, inside, "none") is picture
    same = match_colours(target.astype(np.float32), target.astype(np.float32), inside)
    assert np.abs(same - target).max() < 1
    with pytest.raises(ValueError, match="colour=magic"):
        match_colours(picture, target, inside, "magic")


# ---- sound and times ----


def add_sound(path: Path, source: Path, codec="aac", seconds=1.0, container=None) -> None:
    """The picture of a video as it is, beside a tone of 440 Hz."""
    with av.open(str(source)) as given, av.open(str(path), "w", format=container) as out:
        picture, voice = given.streams.video[0], None
        copy = out.add_stream_from_template(picture)
        voice = out.add_stream(codec, rate=44100, layout="mono")
        for packet in given.demux(picture):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
        wave = (0.3 * np.sin(2 * np.pi * 440 / 44100 * np.arange(int(44100 * seconds)))).astype(np.float32)
        resampler = av.AudioResampler(format=voice.codec_context.format, layout="mono", rate=44100)
        for at in range(0, len(wave) - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, at : at + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, at, Fraction(1, 44100)
            for piece in resampler.resample(frame):
                out.mux(voice.encode(piece))
        out.mux(voice.encode())


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.size]


def shown_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def clip(demo_root) -> Path:
    return demo_root / "Celeb-real/id0_0000.mp4"


def test_sound_is_taken_over_packet_for_packet(clip, tmp_path):
    add_sound(tmp_path / "given.mp4", clip, seconds=0.6)
    fps, times = clock(tmp_path / "given.mp4")
    made = tmp_path / "made.mp4"
    write_video(made, stream(tmp_path / "given.mp4"), fps, sound=tmp_path / "given.mp4", clock=times)
    given, kept = packets(tmp_path / "given.mp4", "audio"), packets(made, "audio")
    assert [data for _, data in kept] == [data for _, data in given] and len(given) > 20
    assert np.allclose([at for at, _ in kept], [at for at, _ in given], atol=1e-3)
    assert shown_times(made) == pytest.approx(shown_times(clip), abs=1e-4)
    again = tmp_path / "again.mp4"
    write_video(again, stream(tmp_path / "given.mp4"), fps, sound=tmp_path / "given.mp4", clock=times)
    assert again.read_bytes() == made.read_bytes()


def test_sound_that_an_mp4_does_not_hold_becomes_aac_as_long(clip, tmp_path):
    add_sound(tmp_path / "given.mkv", clip, "pcm_s16le", 0.5)
    write_video(tmp_path / "made.mp4", stream(clip), 25, sound=tmp_path / "given.mkv")
    with av.open(str(tmp_path / "made.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(samples) / 44100 == pytest.approx(0.5, abs=0.06)
    spectrum = np.abs(np.fft.rfft(samples[4096:16384]))
    assert spectrum.argmax() * 44100 / 12288 == pytest.approx(440, abs=5)


def test_without_sound_there_is_none(clip, tmp_path):
    write_video(tmp_path / "made.mp4", stream(clip), 25, sound=clip)
    with av.open(str(tmp_path / "made.mp4")) as container:
        assert not container.streams.audio and container.streams.video[0].frames == 12


def test_frames_that_come_unevenly_keep_their_times(tmp_path):
    pixels = [smooth_noise(at, 32, 48) for at in range(6)]
    times = Clock([1000, 1040, 1100, 1110, 1300, 1340], Fraction(1, 1000), 60)
    write_video(tmp_path / "a.mp4", pixels, 25, clock=times)
    found = np.array(shown_times(tmp_path / "a.mp4"))
    assert np.diff(found) == pytest.approx(np.diff(times.times) / 1000, abs=1e-4)
    fps, read = clock(tmp_path / "a.mp4")
    write_video(tmp_path / "b.mp4", stream(tmp_path / "a.mp4"), fps, clock=read)
    assert shown_times(tmp_path / "b.mp4") == pytest.approx(shown_times(tmp_path / "a.mp4"), abs=1e-4)
    with pytest.raises(ValueError, match="frame 2 has no time"):
        write_video(tmp_path / "c.mp4", pixels, 25, clock=Clock([0, 1], Fraction(1, 25), 1))


def test_what_is_no_video_is_said(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8\xff\xe0 a picture")
    for name, reason in (
        ("a.mp4", "not a readable video"),
        ("a.jpg", "the file is empty"),
        ("c.jpg", "is not a video"),
        ("b.mp4", "no such file"),
    ):
        with pytest.raises(MediaError, match=reason):
            clock(tmp_path / name)


# ---- the swapper ----


class Echo(torch.nn.Module):
    """Gives every face back, or in the colour of a person."""

    def __init__(self, colour=None):
        super().__init__()
        self.colour = colour

    def swap(self, x, identity):
        mask = torch.from_numpy(disc(x.shape[-1], 0.35 * x.shape[-1])).expand(len(x), 1, *x.shape[2:])
        if self.colour is None:
            return x, mask
        paint = torch.tensor(self.colour)[identity]  # [B, 3]
        return paint[:, :, None, None].expand(x.shape), mask


def test_the_swap_of_a_perfect_reconstruction_gives_the_video_back(clip):
    recipe = FaceCrops(align=True, crop_size=128)
    swapper = Swapper(Echo(), recipe, 128, 0, search_every=3, batch_size=5)
    places = swapper.find(clip, 12)
    assert sorted(places) == list(range(12))
    made = list(swapper.frames(clip, places))
    given = list(stream(clip))
    assert len(made) == len(given)
    for one, frame in zip(made, given, strict=True):
        assert np.array_equal(one.frame[one.alpha == 0], frame[one.alpha == 0]) and one.alpha.max() > 0.9
        assert np.abs(one.frame.astype(int) - frame).mean() < 0.3


def test_the_person_named_is_the_one_drawn_and_frames_without_a_face_stay(clip):
    colours = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    for person, channel in ((0, 0), (1, 2)):
        swapper = Swapper(Echo(colours), FaceCrops(align=True, crop_size=64), 32, person, colour="none")
        places = swapper.find(clip, 12)
        del places[4]
        made, given = list(swapper.frames(clip, places)), list(stream(clip))
        assert np.array_equal(made[4].frame, given[4]) and not made[4].alpha.any() and made[4].face is None
        full = made[3].alpha > 0.99
        assert (made[3].frame[full].argmax(1) == channel).all()


def test_a_video_without_a_face_or_shorter_than_it_says_is_told(tmp_path):
    write_video(tmp_path / "flat.mp4", [np.full((96, 128, 3), 90, np.uint8)] * 6, 25)
    swapper = Swapper(Echo(), FaceCrops(), 32, 0)
    with pytest.raises(MediaError, match="no face found in 4 frames"):
        swapper.find(tmp_path / "flat.mp4", 6)
    with pytest.raises(MediaError, match="9 frames, but read 6"):
        swapper.find(tmp_path / "flat.mp4", 9)


# ---- one of several people ----


class Colours(torch.nn.Module):
    """Embeds a face by its colours on a coarse grid, without its mean: enough to find a filmed face again."""

    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x - x.mean((2, 3), keepdim=True), 8).flatten(1)


@pytest.fixture(scope="module")
def pair(demo_root, tmp_path_factory) -> Path:
    """A clip of two people side by side: id0 on the left, and on the right, somewhat smaller, id1."""
    path = tmp_path_factory.mktemp("pair") / "pair.mp4"
    left, right = (stream(demo_root / f"Celeb-real/id{at}_0000.mp4") for at in (0, 1))

    def joined():
        for one, other in zip(left, right, strict=True):
            height, width = one.shape[:2]
            small = cv2.resize(other, (4 * width // 5, 4 * height // 5), interpolation=cv2.INTER_AREA)
            beside = np.full((height, small.shape[1], 3), 128, np.uint8)
            beside[: len(small)] = small
            yield pad_even(np.concatenate([one, beside], axis=1))

    write_video(path, joined(), 25, crf=4)
    return path


def changed_sides(swapper, video) -> tuple[bool, bool]:
    """Whether pixels of the left and of the right person were changed; a frame's other pixels are those filmed."""
    places = swapper.find(video, 12)
    sides = np.zeros(2, bool)
    for one, frame in zip(swapper.frames(video, places), stream(video), strict=True):
        assert np.array_equal(one.frame[one.alpha == 0], frame[one.alpha == 0])
        border = round(frame.shape[1] * 5 / 9)
        sides |= [bool(one.alpha[:, :border].any()), bool(one.alpha[:, border:].any())]
    assert len(places) == 12
    return tuple(sides)


def test_of_two_people_only_the_one_with_the_number_is_swapped(pair):
    recipe = FaceCrops(align=True, crop_size=64)
    for number, sides in ((0, (True, False)), (1, (False, True))):
        swapper = Swapper(Echo([[1.0, 0.0, 0.0]]), recipe, 32, 0, choice=Numbered(number))
        assert changed_sides(swapper, pair) == sides
    with pytest.raises(MediaError, match="person=2: expected a number below 2"):
        Swapper(Echo(), recipe, 32, 0, choice=Numbered(2)).find(pair, 12)


@pytest.mark.parametrize(("who", "sides"), [("id0", (True, False)), ("id1", (False, True))])
def test_of_two_people_only_the_one_on_the_photo_is_swapped(pair, demo_root, tmp_path, who, sides):
    """The photo is a frame of that person's clip, as it was before it was put beside the other one."""
    recipe = FaceCrops(align=True, crop_size=64)
    frames = list(stream(demo_root / f"Celeb-real/{who}_0000.mp4"))
    cv2.imwrite(str(tmp_path / "photo.png"), frames[5][..., ::-1])
    choice = of_photo(tmp_path / "photo.png", recogniser(Colours()), recipe, 0.5)
    swapper = Swapper(Echo([[1.0, 0.0, 0.0]]), recipe, 32, 0, choice=choice)
    assert changed_sides(swapper, pair) == sides


def test_a_video_without_the_person_on_the_photo_is_told_and_a_photo_without_a_face_too(pair, demo_root, tmp_path):
    recipe = FaceCrops(align=True, crop_size=64)
    choice = of_photo(demo_root / "Celeb-real/id0_0001.mp4", recogniser(Colours()), recipe, 1.0)
    with pytest.raises(MediaError, match=r"no face is similar to photo=.*id0_0001.mp4: the highest of 2 similarities"):
        Swapper(Echo(), recipe, 32, 0, choice=choice).find(pair, 12)
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((96, 96, 3), 90, np.uint8))
    with pytest.raises(ValueError, match=r"photo=.*flat.png: no face found"):
        of_photo(tmp_path / "flat.png", recogniser(Colours()), recipe, 0.5)


def track_of(frames, shade):
    """A track whose face, 40 px wide, has one shade of grey."""
    box = np.array([30, 20, 70, 60], np.float32)
    points = 20 + 40 * np.array([[0.7, 0.4], [1.1, 0.4], [0.9, 0.6], [0.7, 0.8], [1.1, 0.8]], np.float32)
    return Track(list(frames), [box] * len(frames), [shade] * len(frames), [points] * len(frames))


def shade(x):
    """Embed a face by its mean level: (level - 0.5, 0.2)."""
    return torch.stack([x.mean((1, 2, 3)) - 0.5, torch.full((len(x),), 0.2)], dim=1)


def test_a_person_is_followed_across_a_cut_and_who_comes_after_it_stays(tmp_path):
    """Three shots: dark, bright, dark. By their place alone they are one face; only the dark one is asked for."""
    levels = [40] * 6 + [220] * 6 + [40] * 6
    write_video(tmp_path / "cut.mp4", (np.full((96, 128, 3), level, np.uint8) for level in levels), 25, crf=0)
    tracks = [track_of(range(at, at + 6), 0.9) for at in (0, 6, 12)]
    wanted = torch.tensor([40 / 255 - 0.5, 0.2])
    choice = OfPhoto(Path("dark.png"), wanted, shade, FaceCrops(crop_size=32), 0.5)
    # The cosine of (-0.343, 0.2) and (0.363, 0.2), worked out by hand, is -0.51.
    assert choice.similarity(tmp_path / "cut.mp4", tracks, range(18)) == pytest.approx([1, -0.51, 1], abs=0.01)
    assert choice(tmp_path / "cut.mp4", tracks, range(18)) == [tracks[0], tracks[2]]
    assert len(Numbered(0)(tmp_path / "cut.mp4", tracks, range(18))) == 3


def test_of_two_similar_faces_in_one_frame_the_more_similar_one_is_chosen(tmp_path):
    """Both are above the threshold: the cosine of (-0.343, 0.2) and (-0.147, 0.2), worked out by hand, is 0.92."""
    frame = np.full((96, 128, 3), 40, np.uint8)
    frame[:, :64] = 90
    write_video(tmp_path / "two.mp4", [frame] * 6, 25, crf=0)
    left, right = track_of(range(6), 0.9), track_of(range(6), 0.9)
    for track, shift in ((left, -25), (right, 50)):
        track.boxes = [box + np.array([shift, 0, shift, 0], np.float32) for box in track.boxes]
    wanted = torch.tensor([40 / 255 - 0.5, 0.2])
    choice = OfPhoto(Path("dark.png"), wanted, shade, FaceCrops(crop_size=32), 0.5)
    assert choice.similarity(tmp_path / "two.mp4", [left, right], range(6)) == pytest.approx([0.92, 1], abs=0.01)
    assert choice(tmp_path / "two.mp4", [left, right], range(6)) == [right]


# ---- the verb ----


@pytest.fixture(scope="module")
def swap_run(people_place) -> tuple[Path, Path]:
    """A run of two steps, and the folder in which it lies."""
    place, here = people_place
    given = [*here, "experiment=faceswap/smoke", "trainer=smoke", "module.network.filters=4", "seed=5"]
    done = unmask("train", *given, cwd=place)
    return place, place / done.stdout.split("\nrun: ")[1].split("\n")[0]


@pytest.fixture(scope="module")
def made(swap_run, clip, tmp_path_factory) -> tuple[Path, Path]:
    """A folder of a video with sound and one without a face, and what is made of it."""
    place, run = swap_run
    given = tmp_path_factory.mktemp("given")
    add_sound(given / "spoken.mp4", clip, seconds=0.5)
    write_video(given / "flat.mp4", [np.full((96, 128, 3), 90, np.uint8)] * 6, 25)
    out = tmp_path_factory.mktemp("swapped") / "set"
    done = unmask("swap", f"run={run}", f"video={given}", "to=B", f"out={out}", cwd=place)
    assert "not made: " in done.stdout and "no face found" in done.stdout and "1 video in" in done.stdout
    assert done.stdout.count("flat") == 1, "a failure is printed once"
    assert "identity: not run: needs weights" in done.stdout and "lpips_alex: not run: weights" in done.stdout
    return given, out


def test_length_rate_and_sound_are_kept(made):
    given, out = made
    source, video = given / "spoken.mp4", out / "videos" / "spoken.mp4"
    assert [data for _, data in packets(video, "audio")] == [data for _, data in packets(source, "audio")]
    assert shown_times(video) == pytest.approx(shown_times(source), abs=1e-4)
    with av.open(str(video)) as ours, av.open(str(source)) as theirs:
        assert ours.streams.video[0].average_rate == theirs.streams.video[0].average_rate
        assert ours.streams.video[0].frames == theirs.streams.video[0].frames == 12
        assert ours.streams.video[0].width == theirs.streams.video[0].width


def luma(frame):
    return torch.from_numpy(frame @ np.array([0.299, 0.587, 0.114]))[None, None] / 255


@pytest.mark.slow
def test_outside_of_the_mask_and_the_label_it_is_the_source_with_its_watermark(made):
    given, out = made
    found, inside = [], []
    frames = (stream(given / "spoken.mp4"), stream(out / "videos/spoken.mp4"), stream(out / "masks/spoken.mp4"))
    for frame, ours, mask in zip(*frames, strict=True):
        similar = structural_similarity_index_measure(luma(frame), luma(ours), data_range=1.0, return_full_image=True)
        away = cv2.dilate(mask[..., 0], np.ones((11, 11))) < 8  # windows of 11 px that hold nothing of the mask
        away[-50:, :150] = False  # nor of the label
        found.append(float(similar[1][0, 0].numpy()[away].mean()))
        inside.append(float(similar[1][0, 0].numpy()[mask[..., 0] > 200].mean()))
    assert np.mean(found) >= 0.98 and min(found) >= 0.97
    assert np.mean(inside) < 0.9  # two steps of training draw no face


def test_it_is_marked_and_listed(made):
    given, out = made
    video = out / "videos" / "spoken.mp4"
    marks = read_marks(video)
    assert marks["digitalSourceType"].endswith("compositeWithTrainedAlgorithmicMedia") and marks["synthetic"] == "true"
    first, source = next(stream(video)).astype(int), next(stream(given / "spoken.mp4")).astype(int)
    assert np.abs(first - source)[-18:, 8:60].mean() > 15  # the label
    table = pd.read_parquet(out / "items.parquet").set_index("item")
    row = table.loc["generated_faceswap/faceswap/spoken_to_B"]
    assert row["label"] == 1 and row["method"] == "faceswap" and row["path"] == "videos/spoken.mp4"
    assert row["mask"] == "masks/spoken.mp4" and row["source"].endswith("spoken.mp4")
    assert list(row["groups"]) == ["video/spoken", "demo_people/B"] and pd.isna(row["rejected"])
    assert row["marking.label"] == "AI-generated" and row["marking.watermark"].endswith("42 dB")
    assert "no face found" in table.loc["generated_faceswap/faceswap/flat_to_B", "rejected"]
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and "crops" not in p.parts) == [
        "figures/spoken.json", "generate.json", "items.parquet", "masks/spoken.mp4", "previews/spoken.png",
        "videos/spoken.mp4",
    ]  # fmt: skip


def test_detectors_see_the_faces_before_they_were_marked_beside_those_that_were_filmed(made, swap_run):
    """A mark must never become the label: neither the watermark nor the visible one is in what is learned from."""
    given, out = made
    (folder,) = [file.parent for file in out.glob("crops/*/crops.parquet")]
    crops = CropStore(folder)
    fake, real = "generated_faceswap/faceswap/spoken_to_B", "video/spoken"
    items = crops.items.set_index("item")
    assert items["label"].to_dict() == {fake: 1, real: 0} and items.loc[fake, "source"] == real
    assert set(items["split"]) == {"train"}, "a video and what was made of it are in one split"
    (rows, kept), (_, filmed) = crops.of_item(fake), crops.of_item(real)
    assert kept.shape == filmed.shape == (12, 3, 64, 64)
    videos = [np.stack(list(stream(path))) for path in (given / "spoken.mp4", out / "videos/spoken.mp4")]
    recipe = FaceCrops(align=True, crop_size=64)
    for at, row in enumerate(rows.itertuples()):
        matrix = recipe.matrix(np.stack(row.box), np.stack(row.landmarks).reshape(5, 2))
        cut = [warp(video[row.frame], matrix, 64).transpose(2, 0, 1) for video in videos]
        assert np.array_equal(filmed[at], cut[0]), "the face as it was filmed"
        difference = np.abs(kept[at].astype(int) - cut[1]).mean()
        changed = np.abs(kept[at].astype(int) - cut[0]).mean()
        assert 0 < 1.5 * difference < changed, "the swap, as published but for marks and codec"
    assert read_watermark(videos[1][:8], (PAYLOAD,)).present

    # To a level or so the faces are what the network put in; the mark alone changes a pixel by more, on average.
    _, run = swap_run
    swapper = Swapper(Run(run).module(), recipe, 64, identity=1)
    places = swapper.find(given / "spoken.mp4", 12)
    for at, one in enumerate(swapper.frames(given / "spoken.mp4", places)):
        cut = warp(one.frame, recipe.matrix(*places[at]), 64).transpose(2, 0, 1).astype(int)
        marked = warp(embed(one.frame, PAYLOAD, 42.0), recipe.matrix(*places[at]), 64).transpose(2, 0, 1)
        assert np.abs(kept[at] - cut).mean() < 0.1 < 0.5 < np.abs(marked - cut).mean()


def test_a_recipe_that_was_not_kept_is_told_what_was(made):
    _, out = made
    for recipe, wanted in (
        (FaceCrops(align=True, burst=1, search_every=1), "to use the existing crops, set data.recipe.crop_size=64"),
        (WholePictures(crop_size=64), "to use the existing crops, set data=swapped"),
    ):
        with pytest.raises(StoreError, match=wanted):
            DataOf(Generated(out, demo=True), out, recipe).store  # noqa: B018


@pytest.mark.slow
def test_a_detector_trains_on_swapped_videos(swap_run, demo_root, tmp_path):
    """Three videos over two processes: all three splits, and what one process makes another makes too."""
    place, run = swap_run
    given, out = tmp_path / "given", tmp_path / "made"
    given.mkdir()
    for number in range(3):
        (given / f"{number}.mp4").symlink_to(demo_root / f"Celeb-real/id{number}_0000.mp4")
    two = ["trainer.accelerator=cpu", "trainer.devices=2"]
    done = unmask("swap", f"run={run}", f"video={given}", "to=B", f"out={out}", *two, cwd=place)
    assert "3 videos in" in done.stdout and "data=swapped" in done.stdout
    unmask("swap", f"run={run}", f"video={given / '1.mp4'}", "to=B", f"out={tmp_path / 'one'}", cwd=place)
    assert (out / "videos/1.mp4").read_bytes() == (tmp_path / "one/videos/1.mp4").read_bytes()

    call = shlex.split(done.stdout.replace("\n", " ").split("unmarked faces: ")[1].split("videos in")[0])
    more = ["data.demo=true", "image_size=32", "trainer=smoke", "explain=0", "name=of_swaps"]
    unmask("train", *[word for word in call[2:] if "=" in word], *more, cwd=place)
    (folder,) = (place / "outputs/of_swaps").iterdir()
    table = Run(folder).predictions("test")
    assert set(table["method"]) == {"real", "faceswap"} and table["item"].nunique() == 2


def test_what_is_there_is_not_made_again(made, swap_run):
    (given, out), (place, run) = made, swap_run
    before = (out / "videos/spoken.mp4").stat().st_mtime_ns
    (out / "videos/.spoken.mp4.1.part").write_bytes(b"half")
    same = ["swap", f"run={run}", f"video={given}", "to=B", f"out={out}"]
    assert "in 1 of 2 videos" in unmask(*same, cwd=place).stdout  # the one without a face is tried again
    assert (out / "videos/spoken.mp4").stat().st_mtime_ns == before
    assert not list(out.glob("videos/.*"))
    assert "other settings" in unmask(*same, "blending=poisson", cwd=place, expect=1).stderr


def test_a_trained_person_s_own_video_is_known_by_its_item_and_carries_the_watermark(swap_run, clip, tmp_path):
    place, run = swap_run
    given = ["swap", f"run={run}", f"video={clip}", "to=A", f"out={tmp_path / 'set'}", "blending=poisson"]
    unmask(*given, cwd=place)
    row = pd.read_parquet(tmp_path / "set/items.parquet").iloc[0]
    assert row["source"] == "demo_people/real/A/Celeb-real/id0_0000" and list(row["groups"]) == ["demo_people/A"]
    frames = np.stack(list(stream(tmp_path / "set/videos/id0_0000.mp4")))
    assert read_watermark(frames[:8], (PAYLOAD,)).present
    note = json.loads((tmp_path / "set/generate.json").read_text())
    assert note["to"] == "A" and note["blending"] == "poisson"


class Crosswise(torch.nn.Module):
    """Embeds two faces at right angles."""

    def forward(self, x):
        return x.flatten(1)[:, :2] * 0 + torch.eye(2)


def test_figures_of_a_face_that_is_brighter_and_trembles():
    """By hand: 51 of 255 brighter is 0.2, 13.98 dB; by turns 0.2 and 0.3 brighter is a change of 0.1 a frame."""
    rng = np.random.default_rng(0)
    face = rng.integers(0, 150, (32, 32, 3), np.uint8)
    still, trembling = SwapFigures(), SwapFigures({"identity": likeness(Crosswise())})
    for number in range(6):
        still.add(number, face, face + 51)
        trembling.add(number, face, face + (51 if number % 2 else 76), compare=number == 3)
    trembling.add(9, face, face)  # not the next frame: no change of it is counted
    assert still.means()["psnr"] == pytest.approx(-20 * np.log10(0.2), abs=1e-3)
    assert still.means()["flicker"] == pytest.approx(0, abs=1e-6) and "identity" not in still.means()
    assert trembling.means()["flicker"] == pytest.approx(25 / 255, abs=1e-6)
    assert trembling.means()["identity"] == pytest.approx(0, abs=1e-6), "two orthogonal embeddings"
    assert SwapFigures().means() == {"psnr": None, "ssim": None, "flicker": None}


@pytest.mark.slow
def test_the_manifest_tells_the_figures(made, swap_run, clip, tmp_path):
    _, out = made
    row = pd.read_parquet(out / "items.parquet").set_index("item").loc["generated_faceswap/faceswap/spoken_to_B"]
    told = json.loads((out / "figures/spoken.json").read_text())
    reasons = {name: value for name, value in told.items() if isinstance(value, str)}
    assert set(reasons) == {"identity", "lpips_alex"} and all(each.startswith("not run") for each in reasons.values())
    told = {name: value for name, value in told.items() if name not in reasons}
    assert {name: row[f"figure.{name}"] for name in told} == told and 5 < told["psnr"] < 40
    place, run = swap_run
    torch.manual_seed(0)
    torch.save(FacenetEncoder().network.state_dict(), tmp_path / "facenet.pt")
    torch.save(alexnet().state_dict(), tmp_path / "alex.pth")
    given = [
        f"run={run}",
        f"video={clip}",
        "to=A",
        f"out={tmp_path / 'set'}",
        f"identity.weights={tmp_path}/facenet.pt",
        f"lpips.weights={tmp_path}/alex.pth",
    ]
    printed = unmask("swap", *given, cwd=place).stdout
    found = json.loads(next(tmp_path.glob("set/figures/*.json")).read_text())
    assert -1 <= found["identity"] <= 1 and found["perceptual_alex"] > 0, "random weights are never called LPIPS"
    assert "identity" in printed and "flicker" in printed
    gone = unmask("swap", *given, f"out={tmp_path / 'x'}", "identity.weights=nowhere.pt", cwd=place, expect=1)
    assert "nowhere.pt" in gone.stderr


def test_a_swapper_makes_no_samples_and_the_error_names_the_verb_that_takes_it(swap_run):
    place, run = swap_run
    refused = unmask("sample", f"run={run}", "out=x", cwd=place, expect=1).stderr.strip()
    said = f"smoke (seed 5) is a swapper, not a generator; to use it: unmask swap run={run} video=FILE to=NAME"
    assert refused.endswith(said)
    assert "\n" not in refused and not (place / "x").exists()
    assert "run missing: unmask swap run=DIR" in unmask("swap", "to=A", cwd=place, expect=1).stderr


def test_what_another_process_gets_is_the_run_s_folder_and_no_weights(swap_run):
    _, run = swap_run
    swapper = load_swapper(Run(run))
    pickled = pickle.dumps(swapper)
    assert len(pickled) < 2000
    again = pickle.loads(pickled)
    assert again.run.folder == run and again.module.kind == "swapper"


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["to=C"], "to=C: expected one of A, B"),
        (["to=A", "video=nowhere.mp4"], "video=nowhere.mp4: no such file"),
        (["to=A", "blending=magic"], "blending=magic"),
        (["to=A", "search_every=0"], "search_every=0"),
        (["to=A", "video=null"], "video missing"),
        (["to=A", "person=-1"], "person=-1"),
        (["to=A", "photo=nobody.png"], "photo=nobody.png: no such file"),
        (["to=A", "photo=nobody.png"], "photo needs weights of InceptionResnetV1: set identity.weights=PATH"),
        (["to=A", "photo=nobody.png", "threshold=3"], "threshold=3"),
    ],
)
def test_settings_that_cannot_work_are_named(swap_run, clip, tmp_path, more, named):
    place, run = swap_run
    done = unmask("swap", f"run={run}", f"video={clip}", f"out={tmp_path / 'x'}", *more, cwd=place, expect=1)
    assert named in done.stderr and not (tmp_path / "x").exists()


def test_odd_sizes_gain_a_line_and_nothing_moves(tmp_path):
    frame = smooth_noise(0, 33, 47)
    even = pad_even(frame)
    assert even.shape == (34, 48, 3) and np.array_equal(even[:33, :47], frame)
    assert np.array_equal(even[33, :47], frame[32]) and np.array_equal(even[:33, 47], frame[:, 46])


@pytest.mark.slow
def test_a_real_face_given_back_lands_where_it_was(shared_data):
    """Nobody is put on anybody: each face is put back as it was cut."""
    video = shared_data / "ffpp/original_sequences/youtube/c23/videos/634.mp4"
    swapper = Swapper(Echo(), FaceCrops(align=True), 256, 0, search_every=40)
    places = swapper.find(video, 338)
    assert len(places) > 200
    for number, (one, frame) in enumerate(zip(swapper.frames(video, places), stream(video), strict=False)):
        if number in places:
            assert np.array_equal(one.frame[one.alpha == 0], frame[one.alpha == 0]) and one.alpha.max() > 0.9
            inside = one.alpha > 0.5
            assert np.abs(one.frame[inside].astype(int) - frame[inside]).mean() < 4
        if number == 20:
            break
