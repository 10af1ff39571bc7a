"""A data set of one's own is one Python file and one YAML; it then trains and is scored like any other."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unmask.datasets
from conftest import unmask as run_verb
from unmask.runs.run import Run

SOURCE = """
from pathlib import Path

from unmask.data.manifest import Item
from unmask.data.source import Source


class Regional(Source):
    HOME = "nowhere: it is painted by a test"
    LAYOUT = "  REGION/real/*.png  REGION/fake/*.png"

    def __init__(self, name: str, root: str | Path, region: str, demo: bool = False) -> None:
        super().__init__(name, root, demo)
        self.region = region

    def find_items(self) -> list[Item]:
        return [
            Item(f"{self.name}/{kind}/{file.stem}", f"{self.region}/{kind}/{file.name}", label, method)
            for kind, label, method in (("real", 0, "real"), ("fake", 1, "painted"))
            for file in sorted((self.root / self.region / kind).glob("*.png"))
        ]

    def choice(self) -> list[str]:
        return ["data=regional", f"data.region={self.region}"]
"""
CONFIG = """
defaults: [_data, override recipe: pictures, _self_]
name: regional_${.region}
root: ${paths.data}/regional
region: ???
source:
  _target_: unmask.datasets.regional.Regional
  region: ${..region}
split:
  protocol: random_groups
sampling:
  frames_per_video: 1
"""
RECIPE = ("data/recipe=pictures", "data.recipe.crop_size=32")
TRAIN = (
    *RECIPE, "image_size=32", "module/network=meso4", "trainer=cpu", "trainer.max_epochs=1", "explain=0",
    "augment@data.augment=none", "data.sampling.frames_per_video=1", "data.split.val_fraction=0.3",
)  # fmt: skip


def paint(folder: Path, seed: int, count: int = 16) -> Path:
    """Pictures of noise in `real` and `fake`; fakes are brighter."""
    for label, kind in enumerate(("real", "fake")):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng([seed, label, number]).integers(0, 156, (32, 32, 3)) + 100 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A working folder with the raw data and, outside of the package, the two new files."""
    place = tmp_path_factory.mktemp("regional")
    for number, region in enumerate(("north", "south")):
        paint(place / "raw" / region, number)
    paint(place / "folder", 2)
    for name, text in (("source/regional.py", SOURCE), ("conf/data/regional.yaml", CONFIG)):
        (place / name).parent.mkdir(parents=True)
        (place / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unmask.datasets, "__path__", [*unmask.datasets.__path__, str(place / "source")])
        yield place
    sys.modules.pop("unmask.datasets.regional", None)


def here(place: Path, data: str) -> list[str]:
    """The arguments that choose the data set of a region, or the folder."""
    if data == "folder":
        return ["data=folder", f"data.root={place / 'folder'}"]
    found = ["data=regional", f"data.region={data}", f"data.root={place / 'raw'}"]
    return [f"hydra.searchpath=[file://{place / 'conf'}]", *found]


@pytest.fixture(scope="module")
def prepared(place) -> Path:
    for data in ("north", "folder"):
        run_verb("prepare", *here(place, data), *RECIPE, "prepare.num_workers=0", cwd=place)
    return place


def trained(place: Path, data: str) -> Run:
    run_verb("train", *here(place, data), *TRAIN, f"name={data}", cwd=place)
    (folder,) = (place / "outputs" / data).iterdir()
    return Run(folder)


def test_it_says_what_is_there(place):
    said = run_verb("prepare", *here(place, "north"), "check=true", cwd=place).stdout
    assert "regional_north" in said and "REGION/real/*.png" in said and "found: 16 real and 16 fake pictures" in said
    refused = run_verb("train", *here(place, "north")[:2], *TRAIN, cwd=place, expect=1).stderr
    assert "data.region: no value; pass data.region=..." in refused


def test_it_is_trained_on_and_scored_elsewhere(prepared):
    run = trained(prepared, "north")
    own = run.predictions("test")
    assert set(own["dataset"]) == {"regional_north"} and set(own["method"]) == {"real", "painted"}
    assert run.config["data"]["source"]["region"] == "north"
    run_verb("evaluate", f"run={run.folder}", *here(prepared, "folder"), "trainer=cpu", cwd=prepared)
    assert set(run.predictions("test", "folder")["dataset"]) == {"folder"}


def test_a_detector_from_elsewhere_is_scored_on_it(prepared):
    run = trained(prepared, "folder")
    score = ["evaluate", f"run={run.folder}", "trainer=cpu"]
    run_verb(*score, *here(prepared, "north"), cwd=prepared)
    table = run.predictions("test", "regional_north")
    assert set(table["dataset"]) == {"regional_north"} and table["logit"].notna().all()
    refused = run_verb(*score, *here(prepared, "south"), cwd=prepared, expect=1).stderr
    command = f"unmask prepare data=regional data.region=south data.root={prepared / 'raw'} data/recipe=pictures"
    assert command in refused, "its own argument is in the command that prepares it"
