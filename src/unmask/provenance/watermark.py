"""An imperceptible 32-bit watermark by informed spread spectrum, which survives JPEG, resizing and H.264.

The picture's luminance is resized to 256x256, so that the mark stays aligned if the picture is resized. It is then
transformed by one DCT. Each bit of a code word is spread over about 130 coefficients across the band, with signs
derived from a key (Cox et al. 1997, doi:10.1109/83.650120). The embedder knows the picture, so it cancels the
picture's own interference in each bit (Malvar and Florencio 2003, doi:10.1109/TSP.2003.809385) and spends the PSNR
budget on the bits that need it. A code word consists of three words of the extended Golay code (Golay 1949), whose soft
decoding corrects errors.

The false-alarm rate is computed, not tuned: for any picture, its correlation with one word of random signs exceeds t
with a probability of at most exp(-t^2 / 2) (Hoeffding 1963, doi:10.1080/01621459.1963.10500830). For all 2^32 words
together, this bound is multiplied by 2^32.

The mark does not survive cropping, rotation, mirroring or deliberate removal: it is a label, not a protection. If the
camera moves, H.264 at crf 28 shifts the mark with the scene, so the mark can be read only in key frames. In a
picture of 64 px, the mark can be read from the saved file, but not after JPEG at quality 75 or after halving the size;
in a picture of 32 px, it cannot even be read from the saved file. See benchmarks/watermark.py.

Alternatives: TrustMark (arXiv:2311.18297) must download its weights, invisible-watermark (last release 2023) fails in
its fast mode at JPEG 75, and blind-watermark needs the picture's original size. None of the three states a false-alarm
rate.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Array = NDArray[np.floating]
KEY = "unmask/1"  # anyone who knows this key can read, forge and remove the mark
PAYLOAD = int.from_bytes(b"unma")  # the default payload
PSNR = 39.5  # dB, of the marked picture against the unmarked one
FALSE_ALARM = 1e-6  # maximum p-value at which a mark is reported as present
_SIDE = 256  # side of the transformed plane, px
_BAND = (6, 112)  # radii in the DCT; below, the picture hides the mark; above, codecs and halving the size remove it
_BITS = 72  # bits of a code word: three Golay words of 24
_NEAR = 9  # side, in coefficients, of the window from which a coefficient's typical size is estimated
_STRIP = 2**22  # pixels converted to float at once
_CLIP = 2.5  # maximum of a coefficient, in units of its typical size, because edges are outliers
_CODEC = 16.0  # loss of a coefficient of a 256 px picture in H.264 at crf 28, in units of the orthonormal DCT
_GOLAY = 0xC75  # generator polynomial of the Golay code


@dataclass(frozen=True)
class Reading:
    """The result of searching pixels for the watermark.

    Attributes:
        payload: The most likely 32 bits, whether or not there is a mark.
        score: Correlation with the payload's code word, in units of the standard deviation of a word's correlation with
            unmarked pictures.
        p_value: Upper bound on the probability that an unmarked picture has at least this score for any payload.
    """

    payload: int
    score: float
    p_value: float

    @property
    def present(self) -> bool:
        """Whether the pixels have a mark: `p_value` is below `FALSE_ALARM`."""
        return self.p_value < FALSE_ALARM


def embed(pixels: Pixels, payload: int, psnr: float = PSNR, key: str = KEY) -> Pixels:
    """Embed the watermark in a picture, RGB [H, W, 3] or grey [H, W], or in each frame of a clip [T, H, W, 3].

    Args:
        pixels: uint8.
        payload: 0 to 2^32 - 1.
        psnr: minimum PSNR of the marked picture, dB.
        key: key that the reader must know.

    Raises:
        ValueError: the pixels have an unsupported type or shape, or the payload is out of range.
    """
    frames = [_embed(frame, encode(payload), psnr, _carrier(key)) for frame in _frames(pixels)]
    return np.stack(frames) if pixels.ndim == 4 else frames[0]


def read(pixels: Pixels, expected: Sequence[int] = (), key: str = KEY) -> Reading:
    """Read the watermark of a picture, RGB [H, W, 3] or grey [H, W], or of a clip [T, H, W, 3] whose frames share it.

    Args:
        pixels: uint8, uncropped, at any size.
        expected: payloads to test separately; with few candidates instead of 2^32, a lower score is significant.
        key: the embedder's key.

    Raises:
        ValueError: the pixels have an unsupported type or shape.
    """
    return read_planes([plane(frame) for frame in _frames(pixels)], expected, key)


def plane(pixels: Pixels) -> Array:
    """Return the luminance of a frame [H, W, 3] or [H, W], resized to [256, 256]; the mark is read from this plane.

    The plane is computed in strips to save memory: a large picture in floating point needs four bytes per pixel.
    """
    height, width = pixels.shape[:2]
    if width < _SIDE < height:  # first shrink, then enlarge
        return _resize(_resize(_luminance(pixels), width, _SIDE), _SIDE, _SIDE)
    lines = max(1, _STRIP // width)
    strips = (_luminance(pixels[top : top + lines]) for top in range(0, height, lines))
    return _resize(np.concatenate([_resize(strip, _SIDE, len(strip)) for strip in strips]), _SIDE, _SIDE)


def read_planes(planes: Sequence[Array], expected: Sequence[int] = (), key: str = KEY) -> Reading:
    """Read the watermark that several frames share, given the `plane` of each frame; see `read`."""
    carrier = _carrier(key)
    seen = np.mean([carrier.measure(plane)[0] for plane in planes], 0)
    soft = carrier.per_bit(seen * carrier.sign) / max(float(np.linalg.norm(seen)), 1e-9)
    payload, score = decode(soft)
    searches = 2 if expected else 1  # Bonferroni correction: each search gets half of the error rate
    found = [Reading(payload, score, _chance(score, searches * 2**32))]
    for value in expected:
        score = float(soft @ encode(value))
        found.append(Reading(value, score, _chance(score, searches * len(expected))))
    best = min(found, key=lambda reading: reading.p_value)
    return best if best.p_value < 1 else found[0]


def encode(payload: int) -> Array:
    """Encode 32 bits as a code word [72] of +1 and -1: three extended Golay words for 12, 12 and 8 bits.

    Raises:
        ValueError: the payload is not in 0 to 2^32 - 1.
    """
    if not 0 <= payload < 2**32:
        raise ValueError(f"payload={payload}: expected a number from 0 to 4294967295")
    return np.concatenate([_words()[payload >> shift & 0xFFF] for shift in (0, 12, 24)])


def decode(soft: Array) -> tuple[int, float]:
    """Return the payload whose code word correlates best with soft decisions [72], and that correlation.

    A Golay word of 24 equally strong decisions is decoded correctly even if any three of them are wrong. More errors
    are corrected if the wrong decisions are weak.
    """
    payload, score = 0, 0.0
    for number, words in enumerate((_words(), _words(), _words()[:256])):
        likeness = words @ soft[24 * number : 24 * (number + 1)]
        best = int(likeness.argmax())
        payload |= best << 12 * number
        score += float(likeness[best])
    return payload, score


@dataclass(frozen=True)
class _Carrier:
    """The n DCT coefficients that carry the mark, sorted by radius; each group of 72 carries every bit once."""

    at: NDArray[np.intp]  # index in the flattened DCT
    sign: Array  # +1 or -1
    bit: NDArray[np.intp]  # index in the code word

    def measure(self, plane: Array) -> tuple[Array, Array]:
        """Return the coefficients of a plane [256, 256] divided by their typical size, and this size."""
        spectrum = cv2.dct(plane)
        near = cv2.boxFilter(np.abs(spectrum), -1, (_NEAR, _NEAR), borderType=cv2.BORDER_REFLECT_101)
        size = np.maximum(1.25 * near.ravel()[self.at], 1.0)  # a Gaussian's sigma is 1.25 times its mean magnitude
        return np.clip(spectrum.ravel()[self.at] / size, -_CLIP, _CLIP), size

    def per_bit(self, values: Array) -> Array:
        """Sum the coefficients' values [n] for each bit of the code word -> [72]."""
        return np.bincount(self.bit, values, _BITS).astype(np.float32)


def _embed(pixels: Pixels, word: Array, psnr: float, carrier: _Carrier) -> Pixels:
    plane = _luminance(pixels)
    height, width = plane.shape
    work = _resize(plane, min(width, _SIDE), min(height, _SIDE))  # larger pictures are marked at reduced size
    budget = max(255.0**2 * 10 ** (-psnr / 10) - 1 / 12, 0.0)  # mean squared change, minus that from rounding
    change = _change(work, word, budget, _CODEC * _SIDE / math.sqrt(height * width), carrier)
    change = _resize(change, width, height)
    change *= math.sqrt(budget / max(float(np.mean(change**2)), 1e-9))
    whole = np.rint(change).astype(np.int16)
    return np.asarray(cv2.add(pixels, cv2.merge([whole] * 3) if pixels.ndim == 3 else whole, dtype=cv2.CV_8U), np.uint8)


def _change(work: Array, word: Array, budget: float, codec: float, carrier: _Carrier, rounds: int = 3) -> Array:
    """Return the change [256, 256] of the plane of `work` [h, w] that makes every bit as readable as the budget allows.

    Most of the budget goes to coefficients about as large as the codec's loss: larger coefficients would hide the
    mark, and the codec would remove smaller ones.
    """
    height, width = work.shape
    plane = _resize(work, _SIDE, _SIDE)
    wanted, mask = carrier.sign * word[carrier.bit], _texture(plane)
    seen, size = carrier.measure(plane)
    shape = size / (size**2 + codec**2)
    cost = carrier.per_bit(shape**2) / _SIDE**2
    gain = carrier.per_bit(shape / size) * float(mask.mean())
    amplitude, change = np.zeros(_BITS, np.float32), np.zeros_like(plane)
    for _ in range(rounds):
        amplitude = _fill(amplitude - carrier.per_bit(seen * wanted) / gain, 1 / gain, cost, budget)
        spectrum = np.zeros(_SIDE * _SIDE, np.float32)
        spectrum[carrier.at] = amplitude[carrier.bit] * wanted * shape
        change = cv2.idct(spectrum.reshape(_SIDE, _SIDE)) * mask
        change *= math.sqrt(budget / max(float(np.mean(change**2)), 1e-9))
        marked = np.clip(np.rint(work + _resize(change, width, height)), 0, 255)
        seen = carrier.measure(_resize(marked, _SIDE, _SIDE))[0]
    return change


def _fill(base: Array, slope: Array, cost: Array, budget: float) -> Array:
    """Return amplitudes max(0, base + slope * level) [72] for the highest level at which their cost fits the budget."""

    def spent(level: float) -> float:
        return float(cost @ np.maximum(base + slope * level, 0) ** 2)

    low, high = 0.0, 1.0
    while spent(high) < budget:
        high *= 2
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) > budget else (middle, high)
    return np.maximum(base + slope * low, 0)


def _texture(plane: Array) -> Array:
    """Return how well each pixel hides a change: roughly the amount of fine detail there, with a mean square of 1."""
    detail = plane - cv2.GaussianBlur(plane, (0, 0), 3)
    mask = (np.sqrt(cv2.GaussianBlur(detail**2, (0, 0), 4)) + 1.0) ** 0.8  # 1 grey level, so flat parts are not 0
    return np.asarray(mask / np.sqrt(np.mean(mask**2)), np.float32)


@cache
def _carrier(key: str) -> _Carrier:
    """Derive the carrier from `key` by SHAKE-256; a library's random generator could change between versions."""
    down, right = (axis.ravel() for axis in np.mgrid[:_SIDE, :_SIDE])
    square = down**2 + right**2  # squared radius; integers sort identically on every machine
    # Exclude the first row and column, which are strong because of straight edges.
    at = np.flatnonzero((square >= _BAND[0] ** 2) & (square < _BAND[1] ** 2) & (down > 0) & (right > 0))
    at = at[np.argsort(square[at], kind="stable")][: len(at) // _BITS * _BITS]
    noise = hashlib.shake_256(key.encode()).digest(9 * len(at))
    sign = 1 - 2 * (np.frombuffer(noise[: len(at)], np.uint8) & 1).astype(np.float32)
    order = np.frombuffer(noise[len(at) :], "<u8").reshape(-1, _BITS)
    return _Carrier(at, sign, np.argsort(order, axis=1, kind="stable").ravel())


@cache
def _words() -> Array:
    """Return the words [4096, 24] of the extended Golay code as +1 and -1; the first 12 positions are the data bits."""
    numbers = np.arange(4096)
    rest = numbers << 11
    for place in range(22, 10, -1):
        rest = np.where(rest >> place & 1, rest ^ (_GOLAY << place - 11), rest)
    bits = ((numbers << 11 | rest)[:, None] >> np.arange(22, -1, -1)) & 1
    bits = np.hstack([bits, bits.sum(1, keepdims=True) & 1])
    return (1 - 2 * bits).astype(np.float32)


def _chance(score: float, words: int) -> float:
    """Return Hoeffding's bound on the probability that the best of `words` words has at least this score."""
    return min(1.0, words * math.exp(-(max(score, 0.0) ** 2) / 2))


def _frames(pixels: Pixels) -> Iterator[Pixels]:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3, 4) or (pixels.ndim > 2 and pixels.shape[-1] != 3):
        raise ValueError(f"expected uint8 [H, W, 3], [H, W] or [T, H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
    if not pixels.size:
        raise ValueError(f"expected at least one pixel, got an empty array {list(pixels.shape)}")
    yield from pixels if pixels.ndim == 4 else [pixels]


def _luminance(pixels: Pixels) -> Array:
    """Return the BT.601 luminance [H, W] in [0, 255]."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    return np.asarray(grey, np.float32)


def _resize(plane: Array, width: int, height: int) -> Array:
    """Resize each axis separately: by area averaging if it shrinks, by cubic interpolation if it grows."""
    if plane.shape[1] != width:
        how = cv2.INTER_AREA if width < plane.shape[1] else cv2.INTER_CUBIC
        plane = np.asarray(cv2.resize(plane, (width, plane.shape[0]), interpolation=how), np.float32)
    if plane.shape[0] != height:
        how = cv2.INTER_AREA if height < plane.shape[0] else cv2.INTER_CUBIC
        plane = np.asarray(cv2.resize(plane, (width, height), interpolation=how), np.float32)
    return plane
