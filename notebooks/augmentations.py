"""Draw example pictures of rendered people for the docs: every augmentation in conf/augment, and self-blends.

.venv/bin/python notebooks/augmentations.py      writes .github/assets/{augment,selfblend}.jpg
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image, ImageDraw, ImageFont

from unmask.config import conf_dir
from unmask.data.augment import to_float
from unmask.demo.videos import render
from unmask.media.recipe import FaceCrops

ASSETS = Path(__file__).parents[1] / ".github" / "assets"
SIZE, COLUMNS, LABEL = 144, 6, 112  # side of a picture in px, pictures per row, width of row names in px
AUGMENTATIONS = ("none", "light", "compression", "strong")
PEOPLE = ("id0_0000", "id4_0001", "id5_0002")


def faces(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return crops [3, S, S] of rendered people and their landmarks [5, 2]."""
    render(folder, people=6, test_people=3, frames=2, workers=1)
    recipe = FaceCrops(frames=1, crop_size=SIZE)
    crops = [recipe(folder / "Celeb-real" / f"{name}.mp4") for name in PEOPLE]
    return [(made.pixels[0], recipe.landmarks_in_crop(made.box, made.landmarks)[0]) for made in crops]


def option(group: str, name: str):
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = compose("train", [f"{group}@data.{group}={name}", f"image_size={SIZE}", "data.root=x", "paths.out=x"])
    return instantiate(cfg.data[group], _convert_="all")


def augmented(face: np.ndarray, name: str) -> list[np.ndarray]:
    """Return several draws of one augmentation, each [S, S, 3]."""
    made, seeds = option("augment", name), list(range(COLUMNS))
    x = made.on_worker(torch.from_numpy(face).repeat(COLUMNS, 1, 1, 1), seeds)
    x, _ = made.on_device(to_float(x, SIZE), None, seeds)
    return [np.rint(sample.permute(1, 2, 0).numpy() * 255).astype(np.uint8) for sample in x]


def blended(face: np.ndarray, points: np.ndarray, name: str, seed: int) -> list[np.ndarray]:
    """Return two self-blends of a face as real face, mask and blend, each [S, S, 3]."""
    blend, row = option("blend", name), []
    for number in range(2):
        real, fake, mask = blend(face, points, np.random.default_rng([seed, number]))
        white = cv2.cvtColor(np.rint(mask[0] * 255).astype(np.uint8), cv2.COLOR_GRAY2RGB)
        row += [real.transpose(1, 2, 0), white, fake.transpose(1, 2, 0)]
    return row


def sheet(rows: list[list[np.ndarray]], names: list[str], titles: list[str], path: Path, quality: int) -> None:
    """Write a sheet of pictures with row names at the left and column titles above."""
    top = 22 if titles else 0
    page = Image.new("RGB", (LABEL + COLUMNS * SIZE, top + len(rows) * SIZE), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for at, title in enumerate(titles):
        pen.text((LABEL + (at + 0.5) * SIZE, 3), title, "black", font, anchor="ma")
    for at, (row, name) in enumerate(zip(rows, names, strict=True)):
        pen.text((8, top + (at + 0.5) * SIZE), name, "black", font, anchor="lm")
        page.paste(Image.fromarray(np.hstack(row)), (LABEL, top + at * SIZE))
    page.save(path, quality=quality, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        people = faces(Path(folder, "demo"))
    rows = [augmented(people[0][0], name) for name in AUGMENTATIONS]
    sheet(rows, list(AUGMENTATIONS), [], ASSETS / "augment.jpg", 85)
    kinds = ["sbi", "sbi", "parts"]
    rows = [blended(*person, kind, at) for at, (person, kind) in enumerate(zip(people, kinds, strict=True))]
    sheet(rows, kinds, ["real", "mask", "self-blend"] * 2, ASSETS / "selfblend.jpg", 85)


if __name__ == "__main__":
    main()
