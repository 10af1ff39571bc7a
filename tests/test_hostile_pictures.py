"""Pictures that are unusual, damaged or hostile: each is read as other readers read it, or refused with the reason."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageCms, ImageFile

from conftest import unmask
from unmask.media import colours, still
from unmask.media.encode import write_video
from unmask.media.kinds import MediaError
from unmask.media.pictures import WholePictures
from unmask.media.probe import file_statistics
from unmask.media.reader import open_media
from unmask.media.still import MOST_PIXELS
from unmask.provenance import watermark

RAMP = np.tile(np.arange(0, 65536, 1024, dtype=np.uint16), (48, 1))  # [48, 64], from black to almost white
NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def read(path: Path) -> np.ndarray:
    reader = open_media(path)
    assert len(reader) == 1
    return reader.read([0])[0]


def png(path: Path, width: int, height: int, depth: int, kind: int, pixels: bytes, *chunks: bytes) -> Path:
    """A PNG by hand: rows of `pixels` unfiltered."""
    rows = len(pixels) // max(height, 1)
    raw = b"".join(b"\0" + pixels[at : at + rows] for at in range(0, len(pixels), max(rows, 1)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(raw)) + END)
    return path


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


END = chunk(b"IEND", b"")


def animation(path: Path, kind: str) -> Path:
    frames = [Image.fromarray(np.roll(NOISE, step, 1)) for step in range(3)]
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    return path


# -- read right


def test_grey_of_16_bits_keeps_its_shades(tmp_path):
    """Pillow's own conversion gives white from 255 of 65,535 on."""
    path = png(tmp_path / "a.png", 64, 48, 16, 0, RAMP.astype(">u2").tobytes())
    with Image.open(path) as picture:
        assert picture.mode == "I;16" and (np.asarray(picture.convert("RGB"))[:, 1:] == 255).all()
    shown = read(path)
    assert shown.shape == (48, 64, 3) and (np.diff(shown[0, :, 0].astype(int)) == 4).all()
    np.testing.assert_allclose(shown[..., 1], RAMP / 65535 * 255, atol=1)
    np.testing.assert_array_equal(shown, np.repeat(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[..., None], 3, 2))


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)], ids=["colour", "grey, alpha", "colour, alpha"])
def test_other_16_bit_pictures_are_read_alike(tmp_path, kind, channels):
    values = np.stack([RAMP, RAMP[:, ::-1], RAMP // 2][: 3 if channels > 2 else 1], axis=2)
    whole = np.concatenate([values, np.full((48, 64, 1), 65535, np.uint16)], 2) if channels % 2 == 0 else values
    shown = read(png(tmp_path / "a.png", 64, 48, 16, kind, whole.astype(">u2").tobytes()))
    np.testing.assert_allclose(shown, np.broadcast_to(values / 65535 * 255, shown.shape), atol=1)


def test_cmyk_has_its_colours(tmp_path):
    """Flat fields of ink: what stays of the light is (1 - ink)(1 - black). OpenCV reads the same file alike."""
    inks = np.array([[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [64, 128, 0, 64]])
    fields = np.repeat(inks.astype(np.uint8)[None], 32, 0).repeat(32, 1)  # [32, 192, 4]
    path = tmp_path / "a.jpg"
    Image.fromarray(fields, "CMYK").save(path, quality=100, subsampling=0)
    assert b"Adobe" in path.read_bytes()[:64], "its values are stored inverted"
    expected = 255 * (1 - inks[:, :3] / 255) * (1 - inks[:, 3:] / 255)
    shown = read(path)
    np.testing.assert_allclose(shown[16, 16::32], expected, atol=3)
    np.testing.assert_allclose(shown, cv2.imread(str(path))[..., ::-1], atol=4)


def test_what_is_transparent_shows_white(tmp_path):
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    share = alpha[..., None] / 255
    Image.fromarray(np.dstack([NOISE, alpha])).save(tmp_path / "rgba.png")
    np.testing.assert_allclose(read(tmp_path / "rgba.png"), NOISE * share + 255 * (1 - share), atol=1)
    Image.fromarray(np.dstack([NOISE[..., 0], alpha])).save(tmp_path / "la.png")
    expected = NOISE[..., :1] * share + 255 * (1 - share)
    np.testing.assert_allclose(read(tmp_path / "la.png"), expected.repeat(3, 2), atol=1)
    Image.fromarray(np.dstack([NOISE, np.full((48, 64), 255, np.uint8)])).save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read(tmp_path / "opaque.png"), NOISE)


def test_a_palette_with_a_transparent_colour(tmp_path):
    palette = np.array([[200, 10, 20], [10, 200, 30], [30, 40, 200]], np.uint8)
    index = np.random.default_rng(1).integers(0, 3, (48, 64), dtype=np.uint8)
    extra = chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", bytes([255, 0, 255]))
    shown = read(png(tmp_path / "a.png", 64, 48, 8, 3, index.tobytes(), extra))
    expected = palette.copy()
    expected[1] = 255
    np.testing.assert_array_equal(shown, expected[index])
    clear = chunk(b"tRNS", struct.pack(">HHH", *NOISE[0, 0]))  # one colour of a picture without a palette
    shown = read(png(tmp_path / "b.png", 64, 48, 8, 2, NOISE.tobytes(), clear))
    assert shown[0, 0].tolist() == [255, 255, 255] and (shown == NOISE).all(2).sum() == 48 * 64 - 1


@pytest.mark.parametrize(("depth", "value"), [(1, 1), (2, 2), (4, 9), (8, 200), (16, 32768)])
def test_a_transparent_grey_of_any_depth_shows_white(tmp_path, depth, value):
    """Where the stored value is the transparent one (tRNS); all values of up to 8 bits occur."""
    values = np.arange(64).repeat(48).reshape(64, 48).T % 2**depth if depth < 16 else RAMP.astype(int)
    values[:5, :5] = value
    bits = (values[..., None] >> np.arange(depth)[::-1]) & 1
    path = tmp_path / "a.png"
    png(
        path,
        64,
        48,
        depth,
        0,
        np.packbits(bits.reshape(48, -1), axis=1).tobytes(),
        chunk(b"tRNS", struct.pack(">H", value)),
    )
    shades = values * 255 // (2**depth - 1) if depth < 16 else values >> 8
    expected = np.where(values == value, 255, shades)
    assert (values == value).any() and (expected != 255).any()
    np.testing.assert_array_equal(read(path), np.repeat(expected[..., None], 3, 2))


def test_a_transparent_colour_of_16_bits_is_that_one_alone(tmp_path):
    """Two colours that differ in the lower 8 bits: one is transparent."""
    colours = np.full((48, 64, 3), 1000, np.uint16)
    colours[:, 32:] = 1001
    clear = chunk(b"tRNS", struct.pack(">HHH", 1000, 1000, 1000))
    shown = read(png(tmp_path / "a.png", 64, 48, 16, 2, colours.astype(">u2").tobytes(), clear))
    assert (shown[:, :32] == 255).all() and (shown[:, 32:] == 1001 >> 8).all()


# The primaries of sRGB, and those of a made-up space whose red is sRGB's green and whose green is its red.
PRIMARIES = {"red": (0.4360, 0.2225, 0.0139), "green": (0.3851, 0.7169, 0.0971), "blue": (0.1431, 0.0606, 0.7141)}


def profile(red: str, green: str, gamma: float = 2.2) -> bytes:
    """An ICC profile (ISO 15076-1) with these primaries, in XYZ relative to D50, and a gamma."""

    def xyz(values) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    tags = {b"rXYZ": xyz(PRIMARIES[red]), b"gXYZ": xyz(PRIMARIES[green]), b"bXYZ": xyz(PRIMARIES["blue"])}
    tags |= {b"wtpt": xyz((0.9642, 1, 0.8249)), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    tags |= {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78 + 2)}
    table, body, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"test", 0x02100000, b"mntr", b"RGB ", b"XYZ ") + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_colours_are_converted_to_srgb(tmp_path, kind):
    """Red under a profile that calls it green is shown green (gamma 2.2 is sRGB's within some levels)."""
    fields = np.full((32, 32, 3), (200, 30, 30), np.uint8)
    fields[16:] = 128
    options = {"lossless": True} if kind == "WEBP" else {} if kind in ("PNG", "TIFF") else {"quality": 100}
    options |= {"subsampling": 0} if kind == "JPEG" else {"subsampling": "4:4:4"} if kind == "AVIF" else {}
    path = tmp_path / f"a.{kind.lower()}"
    Image.fromarray(fields).save(path, kind, icc_profile=profile("green", "red"), **options)
    shown = read(path)
    np.testing.assert_allclose(shown[4, 4], (30, 200, 30), atol=8)
    np.testing.assert_allclose(shown[28, 28], (128, 128, 128), atol=4)


def test_a_profile_goes_with_transparency_and_palettes(tmp_path):
    swapped = profile("green", "red")
    clear = np.full((32, 32, 4), (200, 30, 30, 255), np.uint8)
    clear[:16, :, 3] = 0
    Image.fromarray(clear).save(tmp_path / "a.png", icc_profile=swapped)
    shown = read(tmp_path / "a.png")
    assert (shown[:16] == 255).all()
    np.testing.assert_allclose(shown[20, 4], (30, 200, 30), atol=8)
    Image.fromarray(clear[16:, :, :3]).quantize(4).save(tmp_path / "b.png", icc_profile=swapped)
    np.testing.assert_allclose(read(tmp_path / "b.png")[4, 4], (30, 200, 30), atol=8)


def test_srgb_and_damaged_profiles_change_nothing(tmp_path):
    """Pictures that say they are sRGB stay as they are to the bit; browsers ignore a damaged profile."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number, one in enumerate([srgb, b"no profile", srgb[:200], profile("green", "red")[:150]]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(NOISE).save(path, icc_profile=one)
        np.testing.assert_array_equal(read(path), NOISE)
    Image.fromarray(NOISE[..., 0]).save(tmp_path / "grey.png", icc_profile=srgb)  # of colours, in a grey picture
    np.testing.assert_array_equal(read(tmp_path / "grey.png")[..., 1], NOISE[..., 0])


# -- TIFF, AVIF, HEIC


def test_a_tiff_is_read(tmp_path):
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        Image.fromarray(NOISE).save(tmp_path / "a.tif", compression=compression)
        np.testing.assert_array_equal(read(tmp_path / "a.tif"), NOISE)
    Image.fromarray(RAMP).save(tmp_path / "b.tiff")
    np.testing.assert_array_equal(read(tmp_path / "b.tiff")[..., 0], RAMP >> 8)
    Image.fromarray(NOISE).save(tmp_path / "c.jpg", "TIFF")
    np.testing.assert_array_equal(read(tmp_path / "c.jpg"), NOISE)
    assert file_statistics(tmp_path / "c.jpg")["codec"] == "tiff"


def test_an_avif_is_read(tmp_path):
    smooth = cv2.resize(NOISE[:6, :8], (64, 48), interpolation=cv2.INTER_CUBIC)
    for name in ("a.avif", "a.png"):
        Image.fromarray(smooth).save(tmp_path / name, "AVIF", quality=100, subsampling="4:4:4")
        np.testing.assert_allclose(read(tmp_path / name), smooth, atol=3)
    assert file_statistics(tmp_path / "a.avif")["codec"] == "avif"


def test_pages_and_numbers_without_a_white_are_refused(tmp_path):
    page = Image.fromarray(NOISE)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(MediaError, match="it has 2 pages: save the one that you need as PNG"):
        open_media(tmp_path / "a.tif")
    for values in (np.ones((8, 8), np.float32), np.ones((8, 8), np.int32)):
        Image.fromarray(values).save(tmp_path / "b.tif")
        with pytest.raises(MediaError, match="its values have 32 bits, and the value of white is unknown"):
            open_media(tmp_path / "b.tif")


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


@pytest.mark.parametrize("name", ["a.heic", "a.heif", "a.jpg"])
def test_heic_is_refused_by_name_where_its_reader_is_not_installed(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(HEIC)
    monkeypatch.setattr(still, "find_spec", lambda package: None)
    with pytest.raises(MediaError, match="HEIC needs another package: pip install pillow-heif"):
        open_media(tmp_path / name)


def test_heic_is_read_through_its_package(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="reads HEIC, which needs the optional package pillow-heif")
    pillow_heif.register_heif_opener()
    smooth = cv2.resize(NOISE[:6, :8], (64, 48), interpolation=cv2.INTER_CUBIC)
    for name in ("a.heic", "a.jpg"):
        Image.fromarray(smooth).save(tmp_path / name, "HEIF", quality=100, chroma=444)
        np.testing.assert_allclose(read(tmp_path / name), smooth, atol=6)


@pytest.mark.parametrize(("head", "kind"), [(b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cjP  \r\n", "JPEG 2000")])
def test_other_pictures_are_refused_by_name(tmp_path, head, kind):
    for name in ("a.jxl", "a.jp2", "a.png"):
        (tmp_path / name).write_bytes(head + bytes(100))
        with pytest.raises(MediaError, match=rf"it holds a {kind} picture: save it as PNG"):
            open_media(tmp_path / name)


def test_content_decides_between_pictures_and_videos(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.mp4", "PNG")
    np.testing.assert_array_equal(read(tmp_path / "a.mp4"), NOISE)
    assert file_statistics(tmp_path / "a.mp4")["codec"] == "png"
    write_video(tmp_path / "b.mp4", [NOISE] * 3, 25)
    (tmp_path / "b.mp4").rename(tmp_path / "b.jpg")
    assert len(open_media(tmp_path / "b.jpg")) == 3 and file_statistics(tmp_path / "b.jpg")["codec"] == "h264"


def test_one_bit_and_grey_pictures(tmp_path):
    bits = np.random.default_rng(2).random((48, 64)) > 0.5
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read(tmp_path / "bits.png")[..., 2], bits * 255)
    Image.fromarray(NOISE[..., 0]).save(tmp_path / "grey.bmp")
    np.testing.assert_array_equal(read(tmp_path / "grey.bmp"), NOISE[..., :1].repeat(3, 2))


TURNS = {  # EXIF's numbers: what brings the stored picture upright (EXIF 2.3, 4.6.4)
    1: lambda p: p, 2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud,
    5: lambda p: p.transpose(1, 0, 2), 6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2), 8: np.rot90,
}  # fmt: skip


@pytest.mark.parametrize("number", TURNS)
def test_a_phone_that_was_held_sideways(tmp_path, number):
    exif = Image.Exif()
    exif[0x0112] = number
    for name, options in (("a.png", {}), ("a.webp", {"lossless": True}), ("a.tif", {})):
        Image.fromarray(NOISE).save(tmp_path / name, exif=exif, **options)
        np.testing.assert_array_equal(read(tmp_path / name), TURNS[number](NOISE))
    smooth = cv2.resize(NOISE[:6, :8], (64, 48), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    upright = cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1]  # OpenCV turns by EXIF too
    np.testing.assert_allclose(read(tmp_path / "a.jpg"), upright, atol=3)
    np.testing.assert_allclose(upright, TURNS[number](smooth), atol=6)


def test_a_second_view_in_a_jpeg_does_not_make_it_move(tmp_path):
    first, second = (Image.fromarray(np.full((48, 64, 3), shade, np.uint8)) for shade in (80, 200))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert abs(int(read(tmp_path / "a.jpg").mean()) - 80) <= 1


def test_a_picture_under_another_suffix_is_read(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.jpg", "PNG")
    np.testing.assert_array_equal(read(tmp_path / "a.jpg"), NOISE)


# -- refused with the reason


def broken(path: Path, kind: str, share: float) -> Path:
    """A picture of which this share is there."""
    Image.fromarray(NOISE).save(path, kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.004, 0.3, 0.9])
def test_a_cut_off_picture_is_refused(tmp_path, kind, share):
    path = broken(tmp_path / f"a.{kind.lower()}".replace("jpeg", "jpg"), kind, share)
    with pytest.raises(MediaError, match="not a readable picture"):
        open_media(path)


def test_a_damaged_png_is_refused(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(MediaError, match="not a readable picture"):
        open_media(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damage_anywhere_is_never_another_error(tmp_path):
    """Bytes changed at random: the picture is read, or refused by a MediaError."""
    rng = np.random.default_rng(3)
    for kind, suffix in (
        ("PNG", "png"),
        ("JPEG", "jpg"),
        ("WEBP", "webp"),
        ("BMP", "bmp"),
        ("TIFF", "tif"),
        ("AVIF", "avif"),
    ):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(NOISE[:16, :16]).save(path, kind, exif=Image.Exif())
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            damaged[rng.integers(0, min(len(whole), 200), 4)] = rng.integers(0, 256, 4)
            path.write_bytes(damaged.tobytes())
            try:
                shown = read(path)
                file_statistics(path)
            except MediaError as error:
                assert str(error) and str(tmp_path) not in str(error)
            else:
                assert shown.dtype == np.uint8 and shown.shape[2] == 3


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.jpg"])
def test_a_gif_is_refused_whatever_its_name(tmp_path, name):
    with pytest.raises(MediaError, match=r"GIF.*save it as PNG or, if it is animated, as a video"):
        open_media(animation(tmp_path / name, "GIF"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_a_picture_that_moves_is_refused(tmp_path, kind):
    with pytest.raises(MediaError, match="it is animated: save it as a video"):
        open_media(animation(tmp_path / f"a.{kind.lower()}", kind))


def test_other_formats_are_never_parsed(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.png", "PPM")
    with pytest.raises(MediaError, match="it holds none of the formats JPEG, PNG, WEBP, BMP"):
        open_media(tmp_path / "a.png")


BOMBS = {"far beyond": (60_000, 60_000), "where Pillow only warns": (12_000, 12_000), "just beyond": (8_001, 10_000)}


@pytest.mark.parametrize(("width", "height"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, width, height):
    path = png(tmp_path / "a.png", width, height, 8, 2, b"")
    assert path.stat().st_size < 100 and width * height > MOST_PIXELS
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("its pixels were asked for"))
    with pytest.raises(MediaError, match=r"too large: .*expected a picture of at most 80,000,000 pixels"):
        open_media(path)
    with pytest.raises(MediaError, match="too large"):
        file_statistics(path)


def test_text_that_unpacks_to_gigabytes_is_refused(tmp_path):
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000)))
    path = png(tmp_path / "a.png", 64, 48, 8, 2, NOISE.tobytes(), bomb)
    with pytest.raises(MediaError, match="not a readable picture"):
        open_media(path)


# -- statistics and the whole way


def test_statistics_of_whatever_is_read(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.jpg", quality=90)
    Image.fromarray(NOISE).save(tmp_path / "b.jpg", quality=90, subsampling=0)
    Image.fromarray(np.dstack([NOISE, NOISE[..., 0]]), "CMYK").save(tmp_path / "c.jpg")
    png(tmp_path / "d.png", 64, 48, 16, 0, RAMP.astype(">u2").tobytes())
    found = {path.name: file_statistics(path) for path in sorted(tmp_path.iterdir())}
    assert {name: (s["codec"], s["pixel_format"]) for name, s in found.items()} == {
        "a.jpg": ("jpeg", "RGB 4:2:0"), "b.jpg": ("jpeg", "RGB 4:4:4"),
        "c.jpg": ("jpeg", "CMYK other"), "d.png": ("png", "I;16"),
    }  # fmt: skip
    assert all((s["width"], s["height"]) == (64, 48) and s["bytes"] > 100 for s in found.values())


@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_them_is_prepared(tmp_path):
    """The good ones become crops; each bad one is named with its reason, and the rest goes on."""
    exif = Image.Exif()
    exif[0x0112] = 6
    root = tmp_path / "data"
    for folder in ("real", "fake/edit"):
        (root / folder).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.roll(NOISE, number, 1)).save(root / folder / f"{number}.png")
    real, fake = root / "real", root / "fake/edit"
    png(real / "16bit.png", 64, 48, 16, 0, RAMP.astype(">u2").tobytes())
    Image.fromarray(np.dstack([NOISE, NOISE[..., 0]]), "CMYK").save(real / "cmyk.jpg")
    Image.fromarray(NOISE).save(fake / "turned.jpg", exif=exif)
    Image.fromarray(np.dstack([NOISE, NOISE[..., 1]])).save(fake / "clear.png")
    reasons = {
        broken(real / "cut.png", "PNG", 0.5): "not a readable picture",
        broken(fake / "cut.jpg", "JPEG", 0.5): "not a readable picture",
        animation(fake / "moving.png", "GIF"): "it holds a GIF",
        png(real / "bomb.png", 60_000, 60_000, 8, 2, b""): "too large",
        png(fake / "smaller_bomb.png", 12_000, 12_000, 8, 2, b""): "too large: 12000x12000 px",
    }
    (fake / "empty.png").touch()
    reasons[fake / "empty.png"] = "the file is empty"
    arguments = ("data=folder", "data/recipe=pictures", f"data.root={root}", "data.recipe.crop_size=32")
    said = unmask("prepare", *arguments, "prepare.num_workers=0", cwd=tmp_path).stdout
    assert "12 items prepared, 6 rejected" in said and "cut.jpg" in said
    folder = tmp_path / "outputs/prepared/folder" / WholePictures(32).key
    rejected = pd.read_csv(folder / "rejected.csv").set_index("path")["rejected"]
    assert set(rejected.index) == {path.relative_to(root).as_posix() for path in reasons}
    for path, reason in reasons.items():
        assert reason in rejected[path.relative_to(root).as_posix()]


PEAK = """
import sys
from pathlib import Path
from unmask.media.pictures import WholePictures
WholePictures(64)(Path(sys.argv[1]))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc, which only Linux has")
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_large_picture_takes_little_more_than_its_own_memory(tmp_path, name):
    """36 million pixels are 144 MB as Pillow holds them and 108 MB as RGB; a process takes 100 MB before it reads."""
    fields = np.random.default_rng(0).integers(0, 256, (60, 60, 4 if name == "a.png" else 3), dtype=np.uint8)
    large = fields.repeat(100, 0).repeat(100, 1)
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(large).save(tmp_path / name, **({"exif": exif} if name == "a.jpg" else {"compress_level": 1}))
    call = [sys.executable, "-c", PEAK, str(tmp_path / name)]
    peak = int(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
    assert peak < 480_000  # kB; it was 730,000 and 1,050,000


def test_strips_change_no_pixel(tmp_path, monkeypatch):
    """Colours, transparency and the watermark are worked out line by line or for the whole picture alike."""
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    wide = profile("green", "red")
    Image.fromarray(np.dstack([NOISE, alpha])).save(tmp_path / "a.png", icc_profile=wide)
    Image.fromarray(NOISE).quantize(16).save(tmp_path / "b.png", icc_profile=wide)
    Image.fromarray(NOISE).convert("CMYK").save(tmp_path / "c.jpg")
    png(tmp_path / "d.png", 64, 48, 16, 0, RAMP.astype(">u2").tobytes(), chunk(b"tRNS", struct.pack(">H", 1024)))
    files = sorted(tmp_path.iterdir())
    shapes = [(300, 400), (48, 64), (700, 30), (20, 900), (2000, 3), (256, 256)]
    frames = [cv2.resize(NOISE, shape[::-1], interpolation=cv2.INTER_CUBIC) for shape in shapes]
    whole, planes = [read(path) for path in files], [watermark.plane(frame) for frame in frames]
    monkeypatch.setattr(colours, "STRIP", 64 * 5)
    monkeypatch.setattr(watermark, "_STRIP", 1000)
    for path, expected in zip(files, whole, strict=True):
        np.testing.assert_array_equal(read(path), expected)
    for frame, expected in zip(frames, planes, strict=True):
        np.testing.assert_allclose(watermark.plane(frame), expected, atol=1e-3)


def test_a_column_of_pixels_does_not_fill_the_memory(tmp_path):
    """One pixel wide and a million high: widened first, it was a gigabyte."""
    path = png(tmp_path / "a.png", 1, 1_000_000, 8, 0, bytes(range(250)) * 4000)
    assert WholePictures(32)(path).pixels.shape == (1, 3, 32, 32)
    assert watermark.plane(read(path)).shape == (256, 256)
