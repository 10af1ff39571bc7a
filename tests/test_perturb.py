"""Every perturbation in conf/perturbation, and each one against Pillow, OpenCV, SciPy, or by hand."""

import pickle
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import yaml
from PIL import Image, ImageEnhance, features
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_image

from unmask.config.allowed import locate
from unmask.config.build import build
from unmask.media.encode import write_video
from unmask.media.kinds import MediaError
from unmask.media.probe import file_statistics
from unmask.media.reader import open_media
from unmask.perturb import deeperforensics, pictures, pixels, videos
from unmask.perturb.kinds import OnCrops, OnFiles

CONF = Path(__file__).parents[1] / "conf" / "perturbation"
FILES = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted(CONF.glob("*.yaml"))
    if not path.stem.startswith("sound_")
}  # see test_perturb_sound
FOR_CROPS, FOR_FILES = ([name for name, one in FILES.items() if work in dir(locate(one["_target_"]))]
                        for work in ("crops", "file"))  # fmt: skip
CHINA = load_sample_image("china.jpg")  # [427, 640, 3]
CROPS = np.stack([CHINA[60:316, 100 + 4 * t : 356 + 4 * t].transpose(2, 0, 1) for t in range(3)])  # [3, 3, 256, 256]
RANDOM = (pixels.Noise, pixels.CutOut, deeperforensics.BlockWise, deeperforensics.GaussianNoise)
SAME_SIZE = {"jpeg": ".jpg", "webp": ".webp", "avif": ".avif", "down_up": ".png"}


def load(name: str):
    """Build a perturbation from its YAML; skip those whose encoder is missing here."""
    if (name == "avif" and not features.check("avif")) or (name == "h265" and "libx265" not in av.codecs_available):
        fix = {"avif": "pip install 'pillow>=11.3'", "h265": "install a build of PyAV with libx265"}[name]
        pytest.skip(f"{name} cannot be encoded on this machine; {fix}")
    return build(FILES[name])


def decibel(a, b):
    return 10 * np.log10(255**2 / np.square(a.astype(float) - b.astype(float)).mean())


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A PNG of 256x256 px, with the pixels of the first crop."""
    path = tmp_path_factory.mktemp("raw") / "a picture.png"
    Image.fromarray(CROPS[0].transpose(1, 2, 0)).save(path)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Twelve frames of 128x96 px, of a camera that pans by 2 px a frame."""
    path = tmp_path_factory.mktemp("raw") / "a video.mp4"
    write_video(path, [CHINA[100:196, 100 + 2 * t : 228 + 2 * t] for t in range(12)], 25, crf=5)
    return path


def shown(path, like):
    """What a viewer sees of a file whenever `like` shows a frame, at the size of `like`: [N, H, W, 3]."""
    new, old = open_media(path), open_media(like)
    height, width = old.read([0]).shape[1:3]
    times, wanted = (one.times(list(range(len(one)))) for one in (new, old))
    frames = new.read(list(range(len(new))))
    at = np.searchsorted(times, wanted + 1e-3, side="right") - 1
    return np.stack([cv2.resize(frames[i], (width, height), interpolation=cv2.INTER_CUBIC) for i in at])


@pytest.mark.parametrize("name", FILES)
def test_every_level_says_what_it_does_and_survives_a_worker(name):
    one = load(name)
    assert isinstance(one, OnCrops) == (name in FOR_CROPS) and isinstance(one, OnFiles) == (name in FOR_FILES)
    assert name in [*FOR_CROPS, *FOR_FILES]
    count = len(one.levels)
    words = [one.words(level) for level in range(1, count + 1)]
    assert len(set(words)) == count >= 2 and all(words)
    assert pickle.loads(pickle.dumps(one)).words(1) == words[0]
    for level in (-1, 0, count + 1):
        with pytest.raises(ValueError, match=rf"level={level}: expected 1 to {count}"):
            one.words(level)


@pytest.mark.parametrize("name", FOR_CROPS)
def test_crops_get_worse_from_level_to_level(name):
    one = load(name)
    crops = CROPS[..., :128, :128]
    before = crops.copy()
    assert np.array_equal(one.crops(crops, 0, 5), crops)
    made = [one.crops(crops, level, 5) for level in range(1, len(one.levels) + 1)]
    assert all(x.shape == crops.shape and x.dtype == np.uint8 for x in made)
    found = [decibel(x, crops) for x in made]
    assert found == sorted(found, reverse=True) and len(set(found)) == len(found) and found[-1] > 5, found
    assert np.array_equal(crops, before), "the input was changed"
    for level, x in enumerate(made, 1):
        assert np.array_equal(x, one.crops(crops, level, 5))
        assert np.array_equal(x, one.crops(crops, level, 6)) != isinstance(one, RANDOM)
    with pytest.raises(ValueError, match="expected 1 to"):
        one.crops(crops, len(one.levels) + 1, 0)


@pytest.mark.parametrize("name", FOR_FILES)
def test_files_get_worse_from_level_to_level(name, picture, video, tmp_path):
    one = load(name)
    assert one.videos != one.pictures
    path = video if one.videos else picture
    before = path.read_bytes()
    assert one.file(path, 0, tmp_path) == path and not list(tmp_path.iterdir())
    clean, found = shown(path, path), []
    for level in range(1, len(one.levels) + 1):
        folders = [tmp_path / f"{level}{turn}" for turn in "ab"]
        for folder in folders:
            folder.mkdir()
        made, again = (one.file(path, level, folder) for folder in folders)
        assert list(folders[0].iterdir()) == [made] and made.stem == path.stem
        assert made.read_bytes() == again.read_bytes()
        found.append(decibel(shown(made, path), clean))
    assert found == sorted(found, reverse=True) and len(set(found)) == len(found) and found[-1] > 12, found
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="expected 1 to"):
        one.file(path, len(one.levels) + 1, tmp_path)
    with pytest.raises(MediaError):
        one.file(picture if one.videos else video, 1, tmp_path)
    with pytest.raises(MediaError, match="no such file"):
        one.file(path.with_name(f"missing{path.suffix}"), 1, tmp_path)


@pytest.mark.parametrize("name", SAME_SIZE)
def test_crops_and_files_get_the_same_pixels(name, picture, tmp_path):
    one = load(name)
    for level in range(1, len(one.levels) + 1):
        made = one.file(picture, level, tmp_path)
        assert made.suffix == SAME_SIZE[name]
        read = np.asarray(Image.open(made).convert("RGB")).transpose(2, 0, 1)
        assert np.array_equal(read, one.crops(CROPS[:1], level, 0)[0])


# First row of the luma table in ITU-T T.81, table K.1
ROW = [16, 11, 10, 16, 24, 40, 51, 61]


@pytest.mark.parametrize(("quality", "percent"), [(95, 10), (75, 50), (50, 100), (30, 5000 // 30)])
@pytest.mark.parametrize(("subsampling", "luma"), [("4:4:4", 0x11), ("4:2:2", 0x21), ("4:2:0", 0x22)])
def test_a_jpeg_has_the_tables_and_the_sampling_of_its_level(quality, percent, subsampling, luma, picture, tmp_path):
    """Libjpeg scales the tables of the standard to `percent`; the frame header gives the sampling of each component."""
    level = {"quality": quality, "subsampling": subsampling}
    made = pictures.Jpeg([level]).file(picture, 1, tmp_path)
    table = Image.open(made).quantization[0]
    assert list(table[:8]) == [max(1, (value * percent + 50) // 100) for value in ROW]
    content = made.read_bytes()
    at = content.index(b"\xff\xc0")  # baseline frame: length, precision, height, width, count, then id, sampling, table
    assert content[at + 9] == 3 and [content[at + 11 + 3 * n] for n in range(3)] == [luma, 0x11, 0x11]
    assert np.abs(cv2.imread(str(made))[..., ::-1].astype(int) - np.asarray(Image.open(made))).mean() < 0.5


def test_a_file_is_written_as_a_viewer_shows_it(tmp_path):
    """The EXIF orientation is applied and not written again."""
    stored = CHINA[:100, :180]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    made = pictures.Jpeg([{"quality": 95, "subsampling": "4:4:4"}]).file(tmp_path / "turned.png", 1, tmp_path)
    read = Image.open(made)
    assert read.size == (100, 180) and not read.getexif()
    assert decibel(np.asarray(read), np.rot90(stored, -1)) > 30


def test_sizes_of_files(picture, tmp_path):
    for one, size in (
        (pictures.Resize([0.5]), 128), (pictures.Resize([0.3]), 77), (pictures.DownUp([0.3]), 256),
        (pictures.Screenshot([1.25]), 320 - 6), (pictures.Screenshot([0.8], border=0), 205),
    ):  # fmt: skip
        with Image.open(one.file(picture, 1, tmp_path)) as made:
            assert made.size == (size, size)


def test_down_and_up_by_hand():
    """The box filter averages 2x2 px, and the nearest pixel is repeated."""
    small = CROPS.reshape(3, 3, 128, 2, 128, 2).astype(float).mean((3, 5))
    wanted = small.repeat(2, axis=2).repeat(2, axis=3)
    gap = np.abs(pictures.DownUp([0.5], "box", "nearest").crops(CROPS, 1, 0) - wanted)
    assert gap.max() <= 1 and gap.mean() < 0.5, "Pillow rounds after the rows and after the columns"


def test_a_screenshot_by_hand(tmp_path):
    """On a ramp of 2 grey levels a pixel, pixel i shows the ramp at (i + border + 0.5) / scale - 0.5."""
    ramp = np.repeat((2 * np.arange(100, dtype=np.uint8))[None], 100, 0)
    Image.fromarray(ramp).convert("RGB").save(tmp_path / "ramp.png")
    folder = tmp_path / "made"
    folder.mkdir()
    with Image.open(pictures.Screenshot([1.25], border=3).file(tmp_path / "ramp.png", 1, folder)) as picture:
        made = np.asarray(picture)[..., 0]
    assert made.shape == (119, 119)
    assert np.abs(made - 2 * ((np.arange(119) + 3.5) / 1.25 - 0.5)).max() <= 0.6


def test_a_picture_too_large_for_its_format(tmp_path):
    Image.new("RGB", (16_400, 8)).save(tmp_path / "wide.png")
    with pytest.raises(MediaError, match="cannot be saved as WEBP at 16400x8 px"):
        pictures.WebP([75]).file(tmp_path / "wide.png", 1, tmp_path)


@pytest.mark.parametrize(("one", "crf"), [(videos.H264([40]), "crf=40.0"), (videos.FrameRate([1.0], 31), "crf=31.0")])
def test_the_stream_names_its_crf(one, crf, video, tmp_path):
    """X264 writes its settings into the stream."""
    made = one.file(video, 1, tmp_path)
    content = made.read_bytes()
    assert crf.encode() in content and b"keyint=250" in content and b"subme=7" in content  # subme 7: preset medium
    assert file_statistics(made)["codec"] == "h264"
    assert np.allclose(open_media(made).times(list(range(12))), np.arange(12) / 25)


def test_h265(video, tmp_path):
    load("h265")
    made = videos.H265([33]).file(video, 1, tmp_path)
    found, content = file_statistics(made), made.read_bytes()
    assert b"crf=33.0" in content and b"hvc1" in content
    assert (found["codec"], found["num_frames"], found["pixel_format"]) == ("hevc", 12, "yuv420p")
    assert np.allclose(open_media(made).times(list(range(12))), np.arange(12) / 25)
    assert not [path for path in tmp_path.iterdir() if path != made]


def test_fewer_frames_keep_their_times_and_pixels(video, tmp_path):
    for factor, kept in ((0.5, [0, 2, 4, 6, 8, 10]), (0.25, [0, 4, 8]), (0.75, [0, 2, 3, 4, 6, 7, 8, 10, 11])):
        made, raw = open_media(videos.FrameRate([factor]).file(video, 1, tmp_path)), open_media(video)
        assert np.allclose(made.times(list(range(len(made)))), np.array(kept) / 25)
        for frame, original in zip(made.read(list(range(len(kept)))), raw.read(kept), strict=True):
            assert decibel(frame, original) > 33


def test_a_smaller_video(video, tmp_path):
    for factor, size in ((0.5, (64, 48)), (0.3, (38, 28))):
        found = file_statistics(videos.VideoSize([factor]).file(video, 1, tmp_path))
        assert (found["width"], found["height"], found["num_frames"]) == (*size, 12)


@pytest.mark.parametrize("one", [videos.H264([10]), "h265"])
def test_a_video_of_odd_size_and_uneven_times(one, tmp_path):
    """It is padded by its last row and column, and its frames keep their times."""
    times = [0, 1, 2, 5, 9]  # in units of 0.1 s
    with av.open(str(tmp_path / "odd.mkv"), "w") as container:
        film = container.add_stream("ffv1", rate=10)
        film.width, film.height, film.pix_fmt = 65, 47, "bgr0"
        for t in times:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(CHINA[100:147, 100 + t : 165 + t]), format="rgb24")
            frame.pts = t
            container.mux(film.encode(frame))
        container.mux(film.encode())
    made = open_media((load(one) if one == "h265" else one).file(tmp_path / "odd.mkv", 1, tmp_path))
    frames = made.read(list(range(5)))
    assert frames.shape == (5, 48, 66, 3)
    assert np.allclose(made.times(list(range(5))), np.array(times) / 10)
    for frame, t in zip(frames, times, strict=True):
        assert decibel(frame[:47, :65], CHINA[100:147, 100 + t : 165 + t]) > 24


def test_blur_against_scipy():
    for sigma in (0.5, 1, 3):
        wanted = gaussian_filter(CROPS.astype(float), (0, 0, sigma, sigma), mode="mirror", truncate=3)
        gap = np.abs(pixels.Blur([sigma]).crops(CROPS, 1, 0) - wanted)
        assert gap.max() < 2 and gap.mean() < 0.35, "OpenCV computes with whole numbers"


def test_noise_has_the_deviation_of_its_level_and_is_new_in_each_frame():
    grey = np.full((2, 3, 128, 128), 128, np.uint8)
    made = pixels.Noise([0.05]).crops(grey, 1, 0).astype(float) - 128
    assert made.std() == pytest.approx(0.05 * 255, rel=0.02) and abs(made.mean()) < 0.2
    flat = made.reshape(6, -1)  # 2 frames of 3 channels
    assert np.abs(np.corrcoef(flat) - np.eye(6)).max() < 0.04


@pytest.mark.parametrize(
    ("kind", "reference"),
    [(pixels.Brightness, ImageEnhance.Brightness), (pixels.Contrast, ImageEnhance.Contrast),
     (pixels.Saturation, ImageEnhance.Color)],
)  # fmt: skip
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_light_and_colour_against_pillow(kind, reference, factor):
    """Pillow rounds the grey values, so it differs by up to one grey level more."""
    frame = CROPS[0].transpose(1, 2, 0)
    wanted = np.asarray(reference(Image.fromarray(frame)).enhance(factor)).astype(int)
    made = kind([factor]).crops(CROPS[:1], 1, 0)[0].transpose(1, 2, 0)
    assert np.abs(made - wanted).max() <= 1 + (kind is not pixels.Brightness)


def test_contrast_of_all_frames_is_changed_alike():
    """A dark frame and a bright one: their common mean, 150, is the fixed point."""
    x = np.concatenate([np.full((1, 3, 8, 8), 100, np.uint8), np.full((1, 3, 8, 8), 200, np.uint8)])
    made = pixels.Contrast([0.5]).crops(x, 1, 0)
    assert set(made[0].ravel()) == {125} and set(made[1].ravel()) == {175}


def test_gamma_by_hand():
    x = np.array([0, 51, 128, 255], np.uint8).reshape(1, 1, 2, 2).repeat(3, 1)
    assert pixels.Gamma([2]).crops(x, 1, 0)[0, 0].ravel().tolist() == [0, 10, 64, 255]  # 51**2 / 255 = 10.2
    assert pixels.Gamma([0.5]).crops(x, 1, 0)[0, 0].ravel().tolist() == [0, 114, 181, 255]


def test_a_covered_square_has_its_area_and_stays_in_its_place():
    black = np.zeros((4, 3, 100, 100), np.uint8)
    corners = set()
    for seed in range(20):
        made = pixels.CutOut([0.09], grey=77).crops(black, 1, seed)
        assert set(np.unique(made)) == {0, 77} and all(np.array_equal(frame, made[0]) for frame in made)
        rows, columns = (np.flatnonzero(made[0, 0].any(axis)) for axis in (1, 0))
        assert len(rows) == len(columns) == 30 and np.ptp(rows) == np.ptp(columns) == 29
        corners.add((rows[0], columns[0]))
    assert len(corners) > 15


def test_published_levels_of_deeperforensics():
    """Parameters of the authors' program, EndlessSora/DeeperForensics-1.0."""
    published = {
        "df_saturation": [0.4, 0.3, 0.2, 0.1, 0.0], "df_contrast": [0.85, 0.725, 0.6, 0.475, 0.35],
        "df_blocks": [16, 32, 48, 64, 80], "df_noise": [0.001, 0.002, 0.005, 0.01, 0.05],
        "df_blur": [7, 9, 13, 17, 21], "df_pixelation": [2, 3, 4, 5, 6], "df_video": [30, 32, 35, 38, 40],
    }  # fmt: skip
    assert {name: load(name).levels for name in FILES if name.startswith("df_")} == published
    for name, levels in published.items():
        kind = type(load(name))
        assert kind is videos.H264 or kind().levels == levels


@pytest.mark.parametrize("factor", [0.4, 0.1, 0.0])
def test_deeperforensics_saturation_against_opencv(factor):
    """Cb and Cr of OpenCV's conversion, multiplied; truncation may hit the other side of a whole number."""
    made = deeperforensics.ColourSaturation([factor]).crops(CROPS, 1, 0)
    for frame, x in zip(made, CROPS, strict=True):
        ycc = cv2.cvtColor(x.transpose(1, 2, 0).astype(np.float32), cv2.COLOR_RGB2YCrCb)
        ycc[..., 1:] = 0.5 + factor * (ycc[..., 1:] - 0.5)
        wanted = np.floor(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB)).transpose(2, 0, 1)
        gap = np.abs(frame - wanted)
        assert gap.max() <= 1 and gap.mean() < 0.05
    grey = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, 1)
    assert np.array_equal(deeperforensics.ColourSaturation([factor]).crops(grey, 1, 0), grey)


def test_deeperforensics_contrast_by_hand():
    x = np.array([0, 101, 199, 255], np.uint8).reshape(1, 1, 2, 2).repeat(3, 1)
    made = deeperforensics.ColourContrast([0.725]).crops(x, 1, 0)[0, 0].ravel().tolist()
    assert made == [0, 73, 144, 184]  # 73.2, 144.3, 184.9: truncated


@pytest.mark.parametrize(("side", "count"), [(256, 32), (300, 32), (512, 64), (128, 16)])
def test_deeperforensics_blocks(side, count):
    """Blocks may overlap, so they cover a little less than `count` times 64 px; the last row and column stay free."""
    black = np.zeros((3, 3, side, side + 20), np.uint8)
    made = deeperforensics.BlockWise([32]).crops(black, 1, 1)
    assert set(np.unique(made)) == {0, 128} and not made[..., -1, :].any() and not made[..., -1].any()
    covered = (made[:, 0] == 128).sum((1, 2))
    assert (covered <= 64 * count).all() and (covered > 0.85 * 64 * count).all()
    assert not np.array_equal(made[0], made[1]), "drawn anew in each frame"


def test_deeperforensics_noise():
    """Deviations of Y, Cb and Cr on mid grey, as OpenCV measures them; truncation moves the mean by half a level."""
    grey = np.full((2, 3, 256, 256), 128, np.uint8)
    made = deeperforensics.GaussianNoise([0.001]).crops(grey, 1, 0)
    ycc = np.stack([cv2.cvtColor(x.transpose(1, 2, 0).astype(np.float32), cv2.COLOR_RGB2YCrCb) for x in made])
    wanted = 0.001**0.5 * 255 * 255 / np.array([219, 224, 224])  # 9.39 and 9.18 grey levels
    assert np.allclose(ycc.std((0, 1, 2)), wanted, rtol=0.02)
    assert np.allclose(ycc[..., 0].mean(), 127.5, atol=0.1)
    noise = ycc - ycc.mean((0, 1, 2))
    flat = noise.transpose(0, 3, 1, 2).reshape(6, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(6)).max() < 0.03, "independent between frames, Y, Cb and Cr"


def test_deeperforensics_blur_against_scipy():
    for side in (7, 21):
        wanted = gaussian_filter(CROPS.astype(float), (0, 0, side / 6, side / 6), mode="mirror", radius=side // 2)
        assert np.abs(deeperforensics.GaussianBlur([side]).crops(CROPS, 1, 0) - wanted).max() < 1.5


def test_deeperforensics_pixelation_does_not_average_whole_blocks():
    """At a quarter of the size, bilinear interpolation reads the middle two of four pixels: a line beside is lost."""
    x = np.zeros((1, 3, 64, 64), np.uint8)
    x[..., ::4] = 255
    one = deeperforensics.Pixelation([4])
    assert one.crops(x, 1, 0).max() == 0
    x = np.zeros((1, 3, 64, 64), np.uint8)
    x[..., 1::4] = 255
    assert np.abs(one.crops(x, 1, 0) - 127.5).max() <= 1


def test_a_missing_encoder_is_named(monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(ValueError, match="this Pillow cannot write AVIF; pip install"):
        pictures.Avif([50])
    monkeypatch.setattr(av, "codecs_available", {"libx264"})
    with pytest.raises(ValueError, match=r"this PyAV cannot write H\.265: it has no libx265; pip install"):
        videos.H265([28])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pictures.WebP([]), r"levels=\[\]: expected a list of qualities from 1 to 100, weakest first"),
        (lambda: pictures.WebP([101]), r"levels=\[101\]: expected a list of qualities from 1 to 100"),
        (lambda: pictures.Jpeg([{"quality": 75}]), r"expected a list of mappings \{quality: 1 to 100, subsampling: "),
        (lambda: pictures.Jpeg([{"quality": 75, "subsampling": "4:1:1"}]), "one of 4:4:4, 4:2:2, 4:2:0"),
        (lambda: pictures.Resize([1.5]), r"levels=\[1.5\]: expected a list of factors above 0 and at most 1"),
        (lambda: pictures.Resize([0.5], "cubic"), "filter=cubic: expected one of nearest, .*bicubic"),
        (lambda: pictures.DownUp([0.5], up="cubic"), "up=cubic: expected one of nearest"),
        (lambda: pictures.Screenshot([5]), r"levels=\[5\]: expected a list of factors above 0 and at most 4"),
        (lambda: pictures.Screenshot([1.25], border=-1), "border=-1: expected 0 px or more"),
        (lambda: videos.H264([52]), r"levels=\[52\]: expected a list of CRFs from 0 to 51"),
        (lambda: videos.VideoSize([0.5], crf=60), "crf=60: expected 0 to 51"),
        (lambda: videos.FrameRate([0]), r"levels=\[0\]: expected a list of factors above 0"),
        (lambda: pixels.Blur([0]), "standard deviations above 0 px"),
        (lambda: pixels.Noise([2]), "fractions of the full range above 0 and at most 1"),
        (lambda: pixels.Brightness([-1]), "factors of at least 0"),
        (lambda: pixels.Gamma([0]), "exponents above 0"),
        (lambda: pixels.CutOut([1]), "fractions of the area between 0 and 1"),
        (lambda: pixels.CutOut([0.1], grey=256), "grey=256: expected 0 to 255"),
        (lambda: deeperforensics.GaussianBlur([8]), "odd numbers of px"),
        (lambda: deeperforensics.BlockWise([0]), "numbers of blocks above 0"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
