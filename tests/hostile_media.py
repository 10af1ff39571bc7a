"""Files that are damaged, that lie, or that were made to do harm: each kind is a function of a random generator."""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image, ImageCms

Rng = np.random.Generator
SIDE = (48, 64)
END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Place(NamedTuple):
    """Where the files lie, and what they must not touch."""

    root: bytes  # the folder that is filled
    canary: Path  # a video outside of it that nothing may open
    port: int  # of a listener on this machine to which nothing may connect


class Made(NamedTuple):
    """One hostile file."""

    path: bytes
    kind: str
    refuse: bool  # whether it must not be read, whatever its name


# ---- what is damaged: small files that are read as they are


def noise(rng: Rng) -> np.ndarray:
    return rng.integers(0, 256, (*SIDE, 3), dtype=np.uint8)


def picture(rng: Rng, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(rng)).save(file, kind)
    return file.getvalue()


def film(rng: Rng, form: str, codec: str, size: tuple[int, int] = (64, 48), count: int = 12, streams: int = 1) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        made = [container.add_stream(codec, rate=10) for _ in range(streams)]
        for stream in made:
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        base = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        for number in range(count):
            for stream in made:
                frame = av.VideoFrame.from_ndarray(np.roll(base, 2 * number, 1), format="rgb24")
                container.mux(stream.encode(frame))
        for stream in made:
            container.mux(stream.encode())
    return file.getvalue()


def sound(form: str = "mp4") -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        for number in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, 1024 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


PICTURES = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".avif": "AVIF"}
FILMS = {
    ".mp4": ("mp4", "libx264"), ".mov": ("mov", "mpeg4"), ".mkv": ("matroska", "libx264"), ".webm": ("webm", "libvpx"),
    ".avi": ("avi", "mpeg4"), ".ts": ("mpegts", "libx264"), ".flv": ("flv", "flv"), ".wmv": ("asf", "wmv2"),
}  # fmt: skip


def good(rng: Rng) -> tuple[str, bytes]:
    """A file that can be read, with its suffix."""
    suffix = str(rng.choice([*PICTURES, *FILMS]))
    return suffix, picture(rng, PICTURES[suffix]) if suffix in PICTURES else film(rng, *FILMS[suffix])


def cut(rng: Rng) -> tuple[str, bytes]:
    suffix, content = good(rng)
    return suffix, content[: int(rng.integers(1, len(content)))]


def flipped(rng: Rng) -> tuple[str, bytes]:
    suffix, content = good(rng)
    changed = bytearray(content)
    for at in rng.integers(0, len(changed), int(rng.choice([1, 8, 64]))):
        changed[at] ^= 1 << int(rng.integers(8))
    return suffix, bytes(changed)


def header_flipped(rng: Rng) -> tuple[str, bytes]:
    """Damage where it does most: in the first 200 bytes, or in the last 2,000, where MP4 has its tables."""
    suffix, content = good(rng)
    changed = bytearray(content)
    near = (
        rng.integers(0, min(200, len(changed)), 6)
        if rng.random() < 0.5
        else -rng.integers(1, min(2000, len(changed)), 12)
    )
    for at in near:
        changed[int(at)] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
    return suffix, bytes(changed)


def zeroed(rng: Rng) -> tuple[str, bytes]:
    suffix, content = good(rng)
    start = int(rng.integers(0, len(content)))
    long = int(rng.integers(1, len(content)))
    return suffix, content[:start] + bytes(min(long, len(content) - start)) + content[start + long :]


def spliced(rng: Rng) -> tuple[str, bytes]:
    (suffix, one), (_, other) = good(rng), good(rng)
    return suffix, one[: int(rng.integers(1, len(one)))] + other[int(rng.integers(0, len(other))) :]


def behind(rng: Rng) -> tuple[str, bytes]:
    """Two files in one: what stands behind the first is for another program."""
    suffix, content = good(rng)
    more = [b"PK\x03\x04" + bytes(60), b"<html><script>1</script>", b"%PDF-1.4\n", b"#EXTM3U\nclip.ts\n", good(rng)[1]]
    return suffix, content + more[int(rng.integers(len(more)))]


def misnamed(rng: Rng) -> tuple[str, bytes]:
    return str(rng.choice([*PICTURES, *FILMS, ".gif", ".heic", ".jp2", ".mpg"])), good(rng)[1]


def garbage(rng: Rng) -> tuple[str, bytes]:
    suffix, content = good(rng)
    long = int(rng.choice([0, 1, 4, 11, 12, 63, 5000]))
    head = content[: int(rng.choice([0, 4, 12, 32]))]
    return suffix, head + rng.integers(0, 256, long, dtype=np.uint8).tobytes()


# ---- what lies: headers, sizes, chunks


def chunk(name: bytes, content: bytes, long: int | None = None) -> bytes:
    size = len(content) if long is None else long
    return struct.pack(">I", size) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, kind: int, raw: bytes, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return SIGNATURE + header + b"".join(more) + chunk(b"IDAT", zlib.compress(raw)) + END


def odd_png(rng: Rng) -> tuple[str, bytes]:
    rows = (b"\0" + bytes(64 * 3)) * 48
    choices = [
        lambda: png(2**31 - 1, 2**31 - 1, 8, 2, rows),
        lambda: png(0, 48, 8, 2, rows),
        lambda: png(64, 48, 3, 2, rows),
        lambda: png(64, 48, 8, 3, (b"\0" + bytes(64)) * 48),
        lambda: png(64, 48, 8, 2, rows, chunk(b"tRNS", bytes(300))),
        lambda: png(64, 48, 8, 2, rows, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(10**7)))),
        lambda: png(64, 48, 8, 2, rows, chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(10**8)))),
        lambda: png(64, 48, 8, 2, rows, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(10**8)))),
        lambda: png(64, 48, 8, 2, rows, chunk(b"tEXt", b"x" * 10, 2**31 - 1)),
        lambda: png(64, 48, 8, 2, rows, chunk(b"eXIf", b"MM\0*" + bytes(3))),
        lambda: png(64, 48, 8, 2, rows, chunk(b"gAMA", b"")),
        lambda: png(64, 48, 8, 2, rows[:100]),
        lambda: png(64, 48, 8, 2, rows * 3),
        lambda: png(64, 48, 8, 2, rows, chunk(b"acTL", struct.pack(">II", 2**31, 0))),
        lambda: png(64, 48, 8, 2, rows, *[chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0))] * 2),
        lambda: png(64, 48, 16, 2, (b"\0" + bytes(64 * 6)) * 48, chunk(b"tRNS", bytes(2))),
        lambda: png(64, 48, 16, 0, (b"\0" + bytes(64 * 2)) * 48, chunk(b"tRNS", bytes(6))),
        lambda: SIGNATURE + END,
    ]
    return ".png", choices[int(rng.integers(len(choices)))]()


def odd_exif(rng: Rng) -> tuple[str, bytes]:
    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        return struct.pack(">HHII", tag, kind, count, value)

    directories = [
        struct.pack(">H", 1) + entry(0x112, 3, 1, 99 << 16) + struct.pack(">I", 8),  # the next one is itself
        struct.pack(">H", 1) + entry(0x8769, 4, 1, 8) + bytes(4),  # and so is the one inside
        struct.pack(">H", 0xFFFF) + entry(0x112, 3, 1, 6 << 16),
        struct.pack(">H", 1) + entry(0x112, 2, 2**31, 8) + bytes(4),
        struct.pack(">H", 2) + entry(0x112, 12, 1, 4) + entry(0x927C, 7, 2**30, 0) + bytes(4),
        struct.pack(">H", 1) + entry(0x112, 5, 1, 2**32 - 1) + bytes(4),
    ]
    exif = b"Exif\0\0MM\0*" + struct.pack(">I", 8) + directories[int(rng.integers(len(directories)))]
    file = io.BytesIO()
    Image.fromarray(noise(rng)).save(file, "JPEG", exif=exif)
    return ".jpg", file.getvalue()


def odd_profile(rng: Rng) -> tuple[str, bytes]:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for at in rng.integers(0, len(profile), 40):
        profile[at] = int(rng.integers(256))
    if rng.random() < 0.3:
        profile[:4] = b"\xff\xff\xff\xff"
    file, kind = io.BytesIO(), str(rng.choice(["JPEG", "PNG", "WEBP", "TIFF"]))
    mode = str(rng.choice(["RGB", "L", "CMYK"])) if kind in ("JPEG", "TIFF") else "RGB"
    Image.fromarray(noise(rng)).convert(mode).save(file, kind, icc_profile=bytes(profile))
    return {"JPEG": ".jpg", "TIFF": ".tif"}.get(kind, f".{kind.lower()}"), file.getvalue()


def odd_jpeg(rng: Rng) -> tuple[str, bytes]:
    content = bytearray(picture(rng, "JPEG"))
    at = content.index(b"\xff\xc0")
    shapes = [(65535, 65535), (0, 64), (48, 0), (8000, 8000), (49, 64), (1, 65535)]
    struct.pack_into(">HH", content, at + 5, *shapes[int(rng.integers(len(shapes)))])
    if rng.random() < 0.3:
        content[at + 9] = int(rng.choice([0, 2, 4, 5, 255]))  # components
    if rng.random() < 0.3:
        content[at:at] = b"\xff\xe1\xff\xff" + b"http://ns.adobe.com/xap/1.0/\0" + bytes(50)
    return ".jpg", bytes(content)


def odd_tiff(rng: Rng) -> tuple[str, bytes]:
    if rng.random() < 0.3:  # pages that never end
        directory = struct.pack("<H", 1) + struct.pack("<HHII", 256, 4, 1, 10) + struct.pack("<I", 8)
        return ".tif", b"II*\0" + struct.pack("<I", 8) + directory
    content = bytearray(picture(rng, "TIFF"))
    start = struct.unpack_from("<I", content, 4)[0]
    number = struct.unpack_from("<H", content, start)[0]
    for _ in range(2):
        at = start + 2 + 12 * int(rng.integers(number))
        field = int(rng.integers(2, 4))
        struct.pack_into("<I", content, at + 4 * (field - 1), int(rng.choice([0, 1, 2**16, 2**31 - 1, 2**32 - 1])))
    return ".tif", bytes(content)


def odd_bmp(rng: Rng) -> tuple[str, bytes]:
    content = bytearray(picture(rng, "BMP"))
    at, values = int(rng.choice([10, 14, 18, 22, 28, 30, 46])), [0, 1, -1, 7, 2**31 - 1, -(2**31), 20000]
    struct.pack_into("<i", content, at, int(rng.choice(values)))
    return ".bmp", bytes(content)


def odd_mp4(rng: Rng) -> tuple[str, bytes]:
    """A table or a box of an MP4 that says something else than it holds."""
    content = bytearray(film(rng, "mp4", "libx264"))
    name = bytes(
        rng.choice(
            [
                b"stsz",
                b"stts",
                b"stsc",
                b"stco",
                b"stsd",
                b"avcC",
                b"elst",
                b"mdhd",
                b"tkhd",
                b"mvhd",
                b"trak",
                b"moov",
                b"mdat",
            ]
        )
    )
    at = content.find(name)
    if at < 0:
        return ".mp4", bytes(content)
    if rng.random() < 0.4:
        struct.pack_into(">I", content, at - 4, int(rng.choice([0, 1, 7, 8, 2**31, 2**32 - 1])))
    else:
        for _ in range(3):
            where = at + 4 + 4 * int(rng.integers(0, 12))
            if where + 4 <= len(content):
                struct.pack_into(">I", content, where, int(rng.choice([0, 1, 2, 2**16, 2**31 - 1, 2**32 - 1])))
    return ".mp4", bytes(content)


def nested(rng: Rng) -> tuple[str, bytes]:
    """Boxes within boxes, or elements within elements, thousands deep."""
    deep = int(rng.choice([100, 5000]))
    inner = b""
    if rng.random() < 0.5:
        for _ in range(deep):
            inner = struct.pack(">I", 8 + len(inner)) + b"moov" + inner
        return ".mp4", b"\0\0\0\x10ftypisom\0\0\0\0" + inner
    for _ in range(deep):
        inner = b"\x18\x53\x80\x67" + b"\x08" + struct.pack(">I", len(inner)) + inner
    return ".mkv", b"\x1a\x45\xdf\xa3\x84\x42\x86\x81\x01" + inner


def odd_matroska(rng: Rng) -> tuple[str, bytes]:
    suffix = str(rng.choice([".mkv", ".webm"]))
    content = bytearray(film(rng, *FILMS[suffix]))
    name = bytes(
        rng.choice(
            [
                b"\x16\x54\xae\x6b",
                b"\x1f\x43\xb6\x75",
                b"\x15\x49\xa9\x66",
                b"\x1c\x53\xbb\x6b",
                b"\xb0",
                b"\xba",
                b"\x2a\xd7\xb1",
            ]
        )
    )
    at = content.find(name)
    for step in rng.integers(0, 10, 4) if at >= 0 else ():
        content[at + len(name) + int(step)] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
    return suffix, bytes(content)


# ---- bombs: a small file that claims, or is, a large picture


def bomb(rng: Rng) -> tuple[str, bytes]:
    def flat(width: int, height: int, kind: int = 0) -> bytes:
        packer, out = zlib.compressobj(1), []
        line = b"\0" + bytes(width * {0: 1, 2: 3, 6: 4}[kind])
        many = max(1, 10**6 // len(line))
        for start in range(0, height, many):
            out.append(packer.compress(line * min(many, height - start)))
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))
        return SIGNATURE + header + chunk(b"IDAT", b"".join(out) + packer.flush()) + END

    choices: list[Callable[[], tuple[str, bytes]]] = [
        lambda: (".png", flat(30_000, 30_000)),
        lambda: (".png", flat(6000, 6000, 6)),
        lambda: (".png", flat(1, 4_000_000)),
        lambda: (".png", flat(4_000_000, 1)),
        lambda: (".png", flat(3, 900_000, 2)),
        lambda: (".mp4", film(rng, "mp4", "libx264", (4096, 4096), 3)),
        lambda: (".mkv", film(rng, "matroska", "libx264", (7680, 32), 8)),
        lambda: (".mp4", film(rng, "mp4", "mpeg4", (16, 4096), 8)),
        lambda: (".mp4", film(rng, "mp4", "libx264", (16, 16), 4000)),
    ]
    return choices[int(rng.integers(len(choices)))]()


# ---- streams and pages


def several(rng: Rng) -> tuple[str, bytes]:
    def pages(kind: str) -> bytes:
        file, frames = io.BytesIO(), [Image.fromarray(noise(rng)) for _ in range(3)]
        frames[0].save(file, kind, save_all=True, append_images=frames[1:])
        return file.getvalue()

    choices: list[Callable[[], tuple[str, bytes]]] = [
        lambda: (".mkv", film(rng, "matroska", "libx264", streams=3)),
        lambda: (".mp4", film(rng, "mp4", "libx264", streams=2)),
        lambda: (".mp4", sound()),
        lambda: (".mkv", sound("matroska")),
        lambda: (".webp", pages("WEBP")),
        lambda: (".png", pages("PNG")),
        lambda: (".tif", pages("TIFF")),
        lambda: (".gif", pages("GIF")),
        lambda: (".jpg", pages("MPO")),
        lambda: (".mp4", film(rng, "mp4", "libx264").replace(b"avc1", b"zz\x1b1")),
        lambda: (".mkv", film(rng, "matroska", "libx264").replace(b"V_MPEG4/ISO/AVC", b"V_UNKNOWN/\x1b[31m")),
        lambda: (".avi", film(rng, "avi", "mpeg4").replace(b"FMP4", b"\0\0\0\0")),
        lambda: (".mp4", film(rng, "mp4", "libx264", count=1)),
    ]
    return choices[int(rng.integers(len(choices)))]()


# ---- other formats, other files, other machines


def other_format(rng: Rng) -> tuple[str, bytes]:
    """What other parsers of Pillow and FFmpeg read, under the name of a picture or video."""
    contents = [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        b"SIMPLE  =                    T" + bytes(2880),
        b"8BPS\0\1" + bytes(100),
        b"P6 100000 100000 255\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"\xd7\xcd\xc6\x9a" + bytes(60),
        b"RIFF\x24\0\0\0WAVEfmt " + bytes(30),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
        b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40),
        b"qoif\xff\xff\xff\xff\xff\xff\xff\xff\4\0" + bytes(40),
        b"DDS |\0\0\0" + bytes(120),
        b"\x28\0\0\0" + bytes(60),
        b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n",
        b'/* XPM */\nstatic char * x[] = {\n"9 9 1 1",\n',
    ]
    return str(rng.choice([*PICTURES, *FILMS])), contents[int(rng.integers(len(contents)))]


def playlist(rng: Rng, place: Place) -> tuple[str, bytes]:
    """A text that names another file, or an address."""
    here, there = str(place.canary), f"http://127.0.0.1:{place.port}/clip.ts"
    target = str(rng.choice([here, there, f"file:{here}", f"../{place.canary.parent.name}/{place.canary.name}"]))
    texts = [
        f"ffconcat version 1.0\nfile '{target}'\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n",
        f'#EXTM3U\n#EXT-X-MAP:URI="{target}"\n#EXT-X-KEY:METHOD=AES-128,URI="{there}"\n#EXTINF:2,\n{target}\n',
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video {place.port} RTP/AVP 96\n",
        "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'><Period><AdaptationSet>"
        f"<Representation id='1'><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        f"[playlist]\nFile1={target}\nNumberOfEntries=1\n",
        f"[Reference]\nRef1={target}\n",
        f"<ASX version='3.0'><entry><ref href='{target}'/></entry></ASX>",
        f"<SmoothStreamingMedia><StreamIndex Url='{target}'/></SmoothStreamingMedia>",
        f"RTSPtext\n{there}\n",
    ]
    return str(rng.choice([*FILMS, ".jpg", ".png"])), texts[int(rng.integers(len(texts)))].encode()


def reference(rng: Rng, place: Place) -> tuple[str, bytes]:
    """A real MP4 whose table of data references names another file, or an address, where it named itself."""
    url = f"http://127.0.0.1:{place.port}/x" if rng.random() < 0.5 else str(place.canary)
    content = film(rng, "mp4", "libx264")
    at = content.index(b"url \0\0\0\1")
    more = url.encode() + b"\0"
    changed = bytearray(content[:at] + b"url \0\0\0\0" + more + content[at + 8 :])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        where = changed.index(name) - 4
        struct.pack_into(">I", changed, where, struct.unpack_from(">I", changed, where)[0] + len(more))
    struct.pack_into(">I", changed, at - 4, 12 + len(more))
    return ".mov", bytes(changed)


PLAIN: dict[str, Callable[[Rng], tuple[str, bytes]]] = {
    "good": good, "cut off": cut, "bits flipped": flipped, "header damaged": header_flipped, "zeros inside": zeroed,
    "two spliced": spliced, "more behind the end": behind, "wrong suffix": misnamed, "garbage": garbage,
    "odd PNG": odd_png, "odd EXIF": odd_exif, "odd profile": odd_profile, "odd JPEG": odd_jpeg, "odd TIFF": odd_tiff,
    "odd BMP": odd_bmp, "odd MP4": odd_mp4, "odd Matroska": odd_matroska, "nested": nested, "bomb": bomb,
    "several streams": several, "other format": other_format,
}  # fmt: skip
OUTWARD: dict[str, Callable[[Rng, Place], tuple[str, bytes]]] = {"playlist": playlist, "reference": reference}
NAMES = [
    "file:{n}", "12:{n}", "http:127.0.0.1:{port}{n}", "http:\\\\127.0.0.1:{port}\\{n}", "concat:{n}|{n}", "pipe:{n}",
    "subfile,,start,0,end,9,,:{n}", "data:image{n}", "-i {n}", "%03d{n}", "a*[0-9]?{n}", "|{n}", "#{n}", "~{n}",
    "new\nline{n}", "esc\x1b[31m\x1b]0;x\x07{n}", "\u202egpj{n}", "[red]bold[red]{n}", " {n}", "\t{n}", "ünï字🙂{n}",
    "'\"$(touch x)`{n}", "crypto:{n}", "caf\udce9{n}", "\udcff\udcfe{n}", "cache:{n}", "=cmd(){n}", "..{n}", "C:\\x{n}",
]  # fmt: skip


def special(rng: Rng, path: bytes, place: Place) -> None:
    """No regular file: a pipe, a socket, a folder, or a link to something that never ends or never was."""
    targets = ["/dev/zero", "/dev/random", "/dev/tty", "/dev/null", "/proc/kmsg", "/proc/self/mem", "/dev/full"]
    which = int(rng.integers(5 + len(targets)))
    if which == 0:
        os.mkfifo(path)
    elif which == 1:
        short = place.root + b"/.s"  # the address of a socket has 107 bytes at the most
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(short)
        os.rename(short, path)
    elif which == 2:
        os.symlink(os.path.basename(path), path)  # to itself
    elif which == 3:
        os.symlink("gone.mp4", path)
    elif which == 4:
        os.mkfifo(path + b".pipe")
        os.symlink(os.path.basename(path) + b".pipe", path)
    else:
        os.symlink(targets[which - 5], path)


def sparse(path: bytes, content: bytes) -> None:
    """A file of a terabyte that takes no room."""
    with open(path, "wb") as file:
        file.write(content)
        file.truncate(2**40)


def make(place: Place, seed: int, count: int) -> list[Made]:
    """Fill a folder `real` and a folder `fake/edit` with hostile files, the same for the same seed."""
    rng = np.random.default_rng(seed)
    folders = [place.root + b"/real", place.root + b"/fake/edit"]
    for folder in folders:
        os.makedirs(folder)
    kinds = [*PLAIN, *OUTWARD, "strange name", "long name", "not a regular file", "sparse"]
    weights = np.array(
        [{"bomb": 0.4, "sparse": 0.2, "strange name": 2.0, "not a regular file": 1.5}.get(k, 1.0) for k in kinds]
    )
    drawn = [*kinds, *rng.choice(kinds, max(count - len(kinds), 0), p=weights / weights.sum())][:count]
    return [_make_one(rng, str(kind), folders[at % 2], at, place) for at, kind in enumerate(drawn)]


def _make_one(rng: Rng, kind: str, folder: bytes, at: int, place: Place) -> Made:
    suffix, content = OUTWARD[kind](rng, place) if kind in OUTWARD else PLAIN.get(kind, good)(rng)
    name = f"{at:04d}{suffix}".encode()
    if kind == "strange name":
        form = NAMES[int(rng.integers(len(NAMES)))]
        name = os.fsencode(form.format(n=name.decode(), port=place.port))
    elif kind == "long name":
        name = b"x" * (250 - len(name)) + name
    path = folder + b"/" + name
    if kind == "not a regular file":
        special(rng, path, place)
    elif kind == "sparse":
        sparse(path, content)
    else:
        with open(path, "wb") as file:
            file.write(content)
    return Made(path, kind, kind in (*OUTWARD, "not a regular file") and kind != "reference")
