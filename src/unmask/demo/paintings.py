"""Demo paintings in the layout of DeepfakeArt's inpainting category (arXiv:2306.01272): originals and forged regions.

In a forged region, the same motif is painted again with another brush and then degraded as a decoder would: half the
resolution, a faint grid (arXiv:2003.01826 shows such grids in images from real generators) and imperfectly matched
colours. A change of brush alone does not reveal a forgery, because half of the paintings, real or forged, have a region
that was retouched with another brush. Finally, original and forgery get the same photographic grain and the same file
format.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.demo import folder
from unmask.demo.brush import draw_brush, paint
from unmask.demo.motifs import compose
from unmask.demo.paint import SIZE, XX, YY, Image, Random, clouds, floats, soft
from unmask.provenance import RENDERED, encode_png, source_marks, write_picture

VERSION = 1  # increment when rendered pixels change, so that folders of older versions are rejected
PERIODS = (2, 6)  # range of the period of a decoder's grid in px, without the upper bound
TEST = 0.25  # fraction of the paintings on the test list
MARK = source_marks(RENDERED, "synthetic: rendered by unmask demo")  # on both real and forged pictures


def render_paintings(
    root: Path,
    *,
    paintings: int = 120,
    difficulty: float = 0.5,
    seed: int = 0,
    workers: int = 2,
    progress: folder.Progress | None = None,
) -> None:
    """Render the demo paintings, each with one forgery; files of an earlier call with the same arguments are kept.

    Args:
        root: a new folder, or the folder of an earlier call with the same arguments.
        paintings: number of originals, at least 4.
        difficulty: how difficult it is to detect the forgeries, from 0 (obvious) to 1 (faint).
        seed: random seed; together with `paintings` and `difficulty`, it determines every byte.
        workers: number of processes; does not affect the files.
        progress: called with (paintings done, total); None for no call.

    Raises:
        ValueError: an argument is out of range, or `root` has files but was not filled with the same arguments.
    """
    if paintings < 4 or not 0 <= difficulty <= 1 or seed < 0:
        raise ValueError(
            f"paintings={paintings}, difficulty={difficulty}, seed={seed}: expected at least 4 paintings, "
            "a difficulty from 0 to 1, and a seed of at least 0"
        )
    root, numbers = Path(root), range(paintings)
    arguments = {"version": VERSION, "paintings": paintings, "difficulty": float(difficulty), "seed": seed}
    job = partial(_write, root=root, difficulty=difficulty, seed=seed)
    # The forgery is written last, so that it exists only if the other files do.
    jobs = folder.Jobs(numbers, lambda number: _path(root, number, "inpainting").exists(), job)
    folder.fill(root, arguments, jobs, workers, progress)
    held = set(np.random.default_rng([seed, 21]).permutation(paintings)[: max(1, round(TEST * paintings))].tolist())
    for name, chosen in (("train", set(numbers) - held), ("test", held)):
        listed = {
            str(n): {"original": _relative(n, "original"), "generated": _relative(n, "inpainting")}
            for n in sorted(chosen)
        }
        folder.write(root / "similar" / f"{name}_similar.json", json.dumps({"inpainting": listed}, indent=1) + "\n")


def _relative(number: int, kind: str) -> str:
    return f"similar/inpainting/{number}/{kind}.png"


def _path(root: Path, number: int, kind: str) -> Path:
    return root / _relative(number, kind)


def _write(number: int, root: Path, difficulty: float, seed: int) -> None:
    original, forged, mask = make(np.random.default_rng([seed, 22, number]), difficulty)
    write_picture(_path(root, number, "original"), original, MARK)
    write_picture(_path(root, number, "mask"), mask, MARK)
    write_picture(_path(root, number, "inpainting"), forged, MARK)


def make(r: Random, difficulty: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Paint an original and its forgery, each `[SIZE, SIZE, 3]`, and a mask `[SIZE, SIZE]`: 255 for forged pixels."""
    motif, flow = compose(r)
    hand = draw_brush(r)
    picture = paint(motif, flow, hand, r)
    if r.random() < 0.5:  # a region is retouched by another painter, as in many real paintings
        touched = region(r)
        picture = _blend(picture, paint(motif, flow, draw_brush(r), r, touched), _feather(touched, r))
    mask = region(r)
    again = decode(paint(motif, flow, draw_brush(r), r, mask), picture, mask, difficulty, r)
    inner = _feather(mask, r)
    light, grain = _photograph(r)
    noise = floats(r.normal(0, 1, (SIZE, SIZE, 1)))

    def shown(painting: Image) -> NDArray[np.uint8]:
        return np.asarray(np.clip(painting * light + grain, 0, 255), np.uint8)

    middle, spread = again[mask > 0.5].mean(0), again[mask > 0.5].std(0)

    def forged(amount: float) -> NDArray[np.uint8]:
        calmer = floats(spread / np.hypot(spread, amount))  # otherwise the noise would add contrast
        return shown(_blend(picture, (again + np.float32(amount) * noise - middle) * calmer + middle, inner))

    # A decoder's output is smoother than a painting. Without added noise, forgeries would have smaller files.
    original = shown(picture)
    amount = _solve(lambda tried: len(encode_png(forged(tried), {})), len(encode_png(original, {})))
    return original, forged(amount), np.where(mask > 0.5, 255, 0).astype(np.uint8)


def _solve(length: Callable[[float], int], wanted: int) -> float:
    """Find the amount of noise that gives a file of `wanted` bytes.

    The size of the file grows roughly with the square of the amount.
    """
    found = {amount: length(amount) for amount in (0.0, 6.0, 12.0)}
    for _ in range(2):
        amounts = sorted(found)
        amount = float(np.sqrt(np.interp(wanted, [found[a] for a in amounts], np.square(amounts))))
        found[amount] = length(amount)
    return min(found, key=lambda amount: abs(found[amount] - wanted))


def region(r: Random) -> Image:
    """Return a random mask `[SIZE, SIZE]` (0 or 1): a blot, a box or a corner that covers 12 to 50 % of the picture."""
    share, kind = r.uniform(0.12, 0.5), r.choice(["blot", "box", "corner"], p=[0.5, 0.3, 0.2])
    if kind == "box":
        w = float(np.sqrt(share * r.uniform(0.6, 1.6)).clip(share, 1))
        h = share / w
        x, y = r.uniform(0, 1 - w) * SIZE, r.uniform(0, 1 - h) * SIZE
        return floats((x <= XX) & (x + w * SIZE > XX) & (y <= YY) & (y + h * SIZE > YY))
    if kind == "corner":
        turn = r.uniform(0, 2 * np.pi)
        field = XX * np.float32(np.cos(turn)) + YY * np.float32(np.sin(turn))
    else:
        far = np.hypot(XX - r.uniform(0.2, 0.8) * SIZE, YY - r.uniform(0.2, 0.8) * SIZE) / SIZE
        field = 0.35 * clouds(r, 5, SIZE)[..., 0] - 2 * far
    return floats(field > np.quantile(field, 1 - share))


def decode(painted: Image, around: Image, mask: Image, difficulty: float, r: Random) -> Image:
    """Degrade `painted` as a decoder would; roughly match its colours inside the mask to those of `around`."""
    plain, inside = 1 - difficulty, mask > 0.5
    small = cv2.resize(painted, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA)
    drawn = cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    drawn = painted + np.float32(0.5 + 0.4 * plain) * (drawn - painted)
    drawn = drawn * (1 + (0.002 + 0.02 * plain) * r.uniform(0, 1) * _grid(int(r.integers(*PERIODS)), r))
    stretch = np.clip(around[inside].std(0) / np.maximum(drawn[inside].std(0), 1), 0.6, 1.7)
    tint = around[inside].mean(0) * (1 + r.normal(0, 0.01 + 0.02 * plain, 3))
    return floats((drawn - drawn[inside].mean(0)) * stretch + tint)


def _grid(period: int, r: Random) -> Image:
    """Return a periodic pattern `[SIZE, SIZE, 1]` of unit variance, like the grid of uneven up-sampling."""
    cell = r.normal(0, 1, (period, period, 1))
    times = -(-SIZE // period)
    return floats(np.tile((cell - cell.mean()) / cell.std(), (times, times, 1))[:SIZE, :SIZE])


def _feather(mask: Image, r: Random) -> Image:
    """Return a region's opacity `[SIZE, SIZE]`, feathered inwards, so that pixels outside the region do not change."""
    depth = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    return soft(depth - r.uniform(0.5, 3), r.uniform(1, 4)) * mask


def _blend(picture: Image, other: Image, cover: Image) -> Image:
    return floats(picture + (other - picture) * cover[..., None])


def _photograph(r: Random) -> tuple[Image, Image]:
    """Return random light `[SIZE, SIZE, 1]` on a painting and the grain `[SIZE, SIZE, 3]` of its photograph."""
    light = r.uniform(0.9, 1.08) + 0.04 * clouds(r, 3, SIZE)
    grain = cv2.GaussianBlur(floats(r.normal(0, 1, (SIZE, SIZE, 3))), (3, 3), 0.6)
    return floats(light), floats(grain / grain.std() * np.float32(r.uniform(2, 4.5)))
