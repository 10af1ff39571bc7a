"""Find near-duplicate pictures whose bytes differ: re-saved, resized, or taken from a re-encoded video.

A picture is described by a 32x32 grey thumbnail and its 64-bit DCT hash: one bit for each of the 8x8 coefficients of
lowest frequency, 1 if the coefficient is above their median (compare C. Zauner, "Implementation and Benchmarking of
Perceptual Image Hash Functions", 2010). Coefficient (0, 0), which is the mean brightness, is not used: the median is
taken over the other 63, and its bit is always 0. Two pictures count as the same if their hashes differ in few bits and
their thumbnails correlate. The hash alone is not enough, because aligned faces of different people may have similar
hashes. The thresholds `DISTANCE` and `CORRELATION` were chosen by
measurements on face photographs and videos (tests/test_duplicates.py repeats some of these measurements):

- 10.5 million pairs of UTKFace, CIPLAB, FFHQ / StyleGAN2 and CelebA crops: 834 pairs differ in at most 8 bits. Of
  these, 44 correlate above 0.95, and all 44 are pairs of the same photograph.
- Copies of 2,900 of these crops (JPEG at quality 20 to 95 with 4:2:0, WebP, resized to half or quarter and back,
  brightened by 15 %): all differ in at most 8 bits, and nearly all correlate above 0.98. Of copies cropped by 1 % at
  each border, 99.9 % differ in at most 8 bits, and all correlate above 0.95. Of copies cropped by 2 %, 95 % differ in
  at most 8 bits, but few correlate above 0.95. Mirrored copies are not found.
"""

from collections.abc import Iterator
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE, LOW = 32, 8  # side of a thumbnail, px; side of the block of low frequencies
DISTANCE = 8  # maximum number of differing bits
CORRELATION = 0.95  # minimum correlation of the thumbnails of equal pictures
FLAT = 4.0  # grey levels; a thumbnail with a lower standard deviation has too little content to compare
BAND, BANDS = 16, 4  # bits per band of the hash; number of bands
CHUNK = 2**15  # number of pairs compared at once; these fit into the CPU cache

Rows = NDArray[np.int64]


def thumbnails(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert RGB crops [N, 3, S, S] to grey thumbnails [N, 32, 32]."""
    out = np.empty((len(pixels), SIDE, SIDE), np.uint8)
    for number, crop in enumerate(pixels):
        grey = cv2.cvtColor(np.ascontiguousarray(crop.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY)
        out[number] = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return out


def dct_hash(thumbs: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the 64-bit hash of each thumbnail [N, 32, 32] -> [N]; the bit of coefficient (0, 0) is always 0."""
    matrix = _dct_matrix()
    low = np.einsum("ui,nij,vj->nuv", matrix, thumbs.astype(np.float32), matrix, optimize=True)
    flat = low.reshape(len(thumbs), LOW * LOW)
    bits = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(np.uint64).reshape(-1)


def distance(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the number of bits in which two hashes differ."""
    return np.asarray(np.bitwise_count(a ^ b), np.uint8)


def near(
    thumbs: NDArray[np.uint8], owner: Rows, most: int = DISTANCE, least: float = CORRELATION
) -> tuple[Rows, Rows, NDArray[np.uint8], NDArray[np.float32]]:
    """Find all pairs of pictures that look the same and belong to different items.

    Args:
        thumbs: thumbnails [N, 32, 32]; nearly uniform thumbnails (see `FLAT`) are in no pair.
        owner: number of the item that each thumbnail belongs to [N].
        most: maximum number of differing hash bits.
        least: minimum correlation of the thumbnails.

    Returns:
        Rows a < b of `thumbs`, the distances in bits and the correlations, all [P]. Each pair occurs once.
    """
    unit = thumbs.reshape(len(thumbs), -1)
    told = np.flatnonzero(unit.std(axis=1, dtype=np.float32) >= FLAT) if len(unit) else np.zeros(0, np.int64)
    hashes = dct_hash(thumbs[told])
    found = []
    for a, b in candidates(hashes, most, owner[told]):
        bits, (a, b) = distance(hashes[a], hashes[b]), (told[a], told[b])
        match = _correlation(unit, a, b)
        keep = match >= least
        found.append((np.minimum(a, b)[keep], np.maximum(a, b)[keep], bits[keep], match[keep]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.float32)
    a, b, bits, match = (np.concatenate(column) for column in zip(*found, strict=True))
    once = np.unique(a * len(thumbs) + b, return_index=True)[1]  # a pair may match in several bands
    return a[once], b[once], bits[once], match[once]


def candidates(hashes: NDArray[np.uint64], most: int, owner: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Yield all pairs of rows whose hashes differ in at most `most` bits and whose owners differ; pairs may repeat.

    Not all N^2 pairs are compared. If two hashes differ in at most `most` bits, at least one of their four 16-bit bands
    differs in at most `most` // 4 bits. So only hashes with such a similar band are compared (multi-index hashing:
    Norouzi et al., CVPR 2012).
    """
    for band in range(BANDS):
        key = ((hashes >> np.uint64(BAND * band)) & np.uint64(2**BAND - 1)).astype(np.int64)
        order = np.argsort(key, kind="stable")
        sorted_key, sorted_hash, sorted_owner = key[order], hashes[order], owner[order]
        start = np.searchsorted(sorted_key, np.arange(2**BAND + 1))
        for flip in _flips(most // BANDS):
            first = start[sorted_key ^ flip]
            first = np.arange(1, len(order) + 1) if flip == 0 else first  # each pair of rows with the same key once
            last = start[(sorted_key ^ flip) + 1]
            last = np.where(sorted_key < sorted_key ^ flip, last, first) if flip else last
            for a, b in _expand(first, last):
                keep = (distance(sorted_hash[a], sorted_hash[b]) <= most) & (sorted_owner[a] != sorted_owner[b])
                if keep.any():
                    yield order[a[keep]], order[b[keep]]


def _flips(most: int) -> list[int]:
    """Return all 16-bit numbers with at most `most` bits set."""
    return [number for number in range(2**BAND) if number.bit_count() <= most]


def _expand(first: Rows, last: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Pair row i with positions first[i] to last[i] (exclusive), for all rows; yield about `CHUNK` pairs at a time."""
    count = np.maximum(last - first, 0)
    rows = np.flatnonzero(count)
    end = np.cumsum(count[rows])
    at = 0
    while at < len(rows):
        done = end[at - 1] if at else 0
        stop = max(int(np.searchsorted(end, done + CHUNK, side="right")), at + 1)
        these = rows[at:stop]
        a = np.repeat(these, count[these])
        b = np.arange(len(a)) - np.repeat(end[at:stop] - done - count[these], count[these]) + first[a]
        yield a, b
        at = stop


def _correlation(unit: NDArray[np.uint8], a: Rows, b: Rows) -> NDArray[np.float32]:
    """Return the Pearson correlations [P] between rows a [P] and rows b [P] of thumbnails [N, 1024]."""
    out = np.empty(len(a), np.float32)
    for at in range(0, len(a), 4096):
        x, y = (unit[rows[at : at + 4096]].astype(np.float32) for rows in (a, b))
        x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
        norm = np.sqrt(np.einsum("ij,ij->i", x, x) * np.einsum("ij,ij->i", y, y))
        out[at : at + 4096] = np.einsum("ij,ij->i", x, y) / norm
    return out


@cache
def _dct_matrix() -> NDArray[np.float32]:
    """Return the first 8 rows of the orthonormal DCT-II matrix -> [8, 32]."""
    k, i = np.arange(LOW)[:, None], np.arange(SIDE)[None]
    matrix = np.sqrt(2 / SIDE) * np.cos(np.pi * k * (2 * i + 1) / (2 * SIDE))
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, np.float32)
