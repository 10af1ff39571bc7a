"""The presets of studies are trained on rendered people at smoke size: whole frames, faces, clips and frames."""

import numpy as np
import pytest

from conftest import TINY, unmask
from unmask.runs.run import Run

pytestmark = pytest.mark.slow

SMOKE = ("data=demo_celebdf", "trainer=cpu", "trainer.max_epochs=1", "handling=false", "explain=1", "data.batch_size=8")
# Nine people form three groups, of which one is tested; the presets' own shares are for thousands of videos.
PEOPLE = ("data.split.protocol=identity_disjoint", "data.split.val_fraction=0.25", "data.split.test_fraction=0.3")
FRAMES = (*TINY, "data.recipe.burst=1")
NO_WEIGHTS = {"hybrid": ("module.network.pretrained=false",)}
ENCODER = ("module.network.encoder.pretrained=false",)
LSTM = ("image_size=80", "frames=4", "data.recipe.frames=4", "data.recipe.burst=1", "data.recipe.crop_size=80")


def trained(preset: str, demo_root, place, *more: str) -> Run:
    arguments = (f"experiment={preset}", f"data.root={demo_root}", *SMOKE, *PEOPLE, *more)
    unmask("prepare", *arguments, "prepare.num_workers=0", cwd=place)
    unmask("train", *arguments, cwd=place)
    (folder,) = (place / "outputs" / preset).glob("*/")
    run = Run(folder)
    table = run.predictions("test")
    assert run.metrics["epochs"] == 1 and np.isfinite(table["logit"]).all() and set(table["label"]) == {0, 1}
    assert (folder / "explain/explain.json").is_file(), "heat maps"
    return run


@pytest.mark.parametrize("recipe", ["pictures", "faces"])
def test_cnn_lstm_of_whole_frames_and_of_faces(recipe, demo_root, tmp_path):
    more = ["~data.recipe.search_every"] if recipe == "pictures" else []  # which the demo data sets for faces
    more += [f"data/recipe={recipe}", "module.network.encoder.pretrained=null"]
    run = trained("celebdf/cnn_lstm_study", demo_root, tmp_path, *LSTM, *more)
    assert run.metrics["monitor"] == "val/loss"
    words = run.predictions("test").attrs["protocol"]
    assert ("whole picture stretched" if recipe == "pictures" else "face") in str(words)


def test_mesonet_of_three_dimensions(demo_root, tmp_path):
    run = trained("celebdf/mesonet_study", demo_root, tmp_path, *TINY, "frames=3")
    assert run.metrics["monitor"] == "val/video_acc"


@pytest.mark.parametrize("network", ["hybrid", "vit"])  # the other presets differ only in the encoder
def test_image_models(network, demo_root, tmp_path):
    trained(f"generation_detection/{network}", demo_root, tmp_path, *FRAMES, *NO_WEIGHTS.get(network, ENCODER))
