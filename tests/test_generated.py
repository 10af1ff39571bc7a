"""The loop: what generators make becomes a detector's data before it is marked, and detectors meet other generators."""

import csv
import json
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from sklearn.metrics import roc_auc_score

from conftest import compose, unmask
from datamodules import DataOf, from_config
from unmask.arguments import quote
from unmask.data.manifest import ManifestError
from unmask.data.store import CropStore, StoreError
from unmask.datasets.generated import Generated
from unmask.evaluation.loading import data_of
from unmask.media.pictures import WholePictures
from unmask.modules.latents import seed_of, walk
from unmask.provenance import inspect, read_marks, watermark
from unmask.reporting import table_spec
from unmask.runs.run import Run
from unmask.studies import jobs, needs, tables

SMALL = ["trainer=smoke", "image_size=32", "data.batch_size=8", "explain=0", "callbacks.samples.count=4"]
GAN = ["module.generator.filters=4", "module.discriminator.filters=4", *SMALL]
VAE = ["module.encoder.filters=4", "module.decoder.filters=4", *SMALL]


def trained(place: Path, here: list[str], preset: str, *more: str) -> Path:
    unmask("train", f"experiment=celeba/{preset}", *here, *more, f"name={preset}", cwd=place)
    (folder,) = (place / "outputs" / preset).iterdir()
    return folder


@pytest.fixture(scope="module")
def loop(portraits, tmp_path_factory):
    """A folder with two small generators and twenty samples of each: place, {name: folder of samples}, {name: run}."""
    source, here = portraits
    place = tmp_path_factory.mktemp("loop")
    (place / "outputs").mkdir()
    (place / "outputs/prepared").symlink_to(source / "outputs/prepared")
    runs = {"dcgan": trained(place, here, "dcgan", *GAN), "vae": trained(place, here, "vae", *VAE)}
    for name, run in runs.items():
        unmask("sample", f"run={run}", "count=20", f"out={name} made", cwd=place)
    return place, {name: place / f"{name} made" for name in runs}, runs


def store(folder: Path) -> CropStore:
    (made,) = folder.glob("crops/*/crops.parquet")
    return CropStore(made.parent)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcgan", "vae"])
def test_an_exported_generator_makes_the_pictures_of_its_run(loop, tmp_path, name):
    import onnx

    place, made, runs = loop
    file, out = tmp_path / f"{name}.onnx", tmp_path / "made"
    printed = unmask("export", f"run={runs[name]}", f"out={file}", "licence=MIT", cwd=place).stdout
    assert "equals PyTorch within" in printed and f"unmask sample model={file}" in printed
    printed = unmask("sample", f"model={file}", "count=20", f"out={out}", cwd=tmp_path).stdout
    assert "the generator's real pictures are not available" in printed
    for number in range(20):
        ours, theirs = (
            np.asarray(Image.open(folder / f"pictures/{number:06d}.png"), np.int16) for folder in (out, made[name])
        )
        assert abs(ours - theirs).max() <= 1  # rounding of a value that differs by 1e-6
        assert read_marks(out / f"pictures/{number:06d}.png")
    stored = {one.key: one.value for one in onnx.load(file).metadata_props}
    assert stored["licence"] == "MIT" and stored["kind"] == "generator" and str(place) not in str(stored)
    said = unmask("predict", str(out / "overview.png"), f"model={file}", cwd=tmp_path, expect=1).stderr
    assert f"it is a generator; to use it: unmask sample model={file}" in said


@pytest.mark.slow
def test_what_cannot_be_exported_is_refused_by_name(loop, tmp_path):
    place, _, runs = loop
    said = unmask("export", f"run={runs['vae']}", "format=torch_export", cwd=place, expect=1).stderr
    assert "format=torch_export: expected onnx, because vae is a generator" in said
    said = unmask("export", f"run={runs['vae']}", "quantize=int8", cwd=place, expect=1).stderr
    assert "quantize and score are for detectors, but vae is a generator" in said
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    said = unmask("sample", f"model={tmp_path / 'x.onnx'}", cwd=place, expect=1).stderr
    assert "it is damaged, or not an ONNX model" in said


def test_detectors_see_the_pixels_before_they_were_marked(loop):
    """A mark must never become the label: the watermark is in what is published and not in what is learned from."""
    _, made, runs = loop
    crops, seeds = store(made["dcgan"]), [seed_of(0, number) for number in range(20)]
    sampled = Run(runs["dcgan"]).module().sample(20, seeds)
    fakes = crops.items[crops.items["label"] == 1].sort_values("path")
    assert len(fakes) == 20
    for row, picture in zip(fakes.itertuples(), sampled, strict=True):
        kept = crops.of_item(row.item)[1][0]
        published = np.asarray(Image.open(made["dcgan"] / row.path))
        assert np.abs(kept - 255 * picture.numpy()).max() <= 2, "what the generator made"
        assert (kept.transpose(1, 2, 0) != published).any(), "what is published was marked"


def test_the_watermark_is_read_in_what_is_published_and_not_in_what_is_learned_from(loop):
    _, made, _ = loop
    crops = store(made["vae"])
    fakes = crops.items[crops.items["label"] == 1].sort_values("path")
    # One mark lies in every picture: of many, tiled to one, it is read beyond doubt.
    kept = np.stack([crops.of_item(item)[1][0].transpose(1, 2, 0) for item in fakes["item"]])
    published = np.stack([np.asarray(Image.open(made["vae"] / path)) for path in fakes["path"]])
    assert watermark.read(published).present
    assert not watermark.read(kept).present
    assert inspect(made["vae"] / fakes["path"].iloc[0]), "its file says that it is synthetic"


def test_real_pictures_come_from_the_generators_own_splits_at_its_size(loop, monkeypatch):
    place, made, runs = loop
    monkeypatch.chdir(place)
    items = store(made["dcgan"]).items
    data = data_of(Run(runs["dcgan"]))
    data.setup("test")
    own = data.items.set_index("item")["split"]
    real = items[items["label"] == 0]
    assert (own.loc[real["item"]].to_numpy() == real["predefined"].to_numpy()).all()
    assert items.groupby(["label", "predefined"]).size().to_dict() == {
        (0, "test"): 5, (0, "train"): 12, (0, "val"): 2, (1, "test"): 6, (1, "train"): 12, (1, "val"): 2
    }  # fmt: skip
    name = real["item"].iloc[0]
    (row,) = np.flatnonzero(data.samples[own[name]].table["item"] == name)
    learned = data.on_after_batch_transfer(data.samples[own[name]].__getitems__([(0, int(row))]), 0)["x"][0]
    kept = store(made["dcgan"]).of_item(name)[1][0]
    assert kept.shape == (3, 32, 32) and np.abs(kept - 255 * learned.numpy()).max() <= 0.5 + 1e-3


def test_a_walk_goes_over_the_samples_and_is_marked(loop):
    place, made, runs = loop
    unmask("sample", f"run={runs['vae']}", "count=20", "walk=3", f"out={made['vae']}", cwd=place)
    film = made["vae"] / "walk-3.mp4"
    with av.open(str(film)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 24
    assert len(frames) == 3 * 24
    for stop in range(3):
        still = np.asarray(Image.open(made["vae"] / f"pictures/{stop:06d}.png")).astype(float)
        assert np.abs(frames[24 * stop] - still).mean() < 6, "each stop is the sample, as far as the codec goes"
    assert read_marks(film)["digitalSourceType"].endswith("trainedAlgorithmicMedia")
    refused = unmask("sample", f"run={runs['vae']}", "walk=1", "out=x", cwd=place, expect=1)
    assert "walk=1" in refused.stderr


def test_the_way_between_two_noises_keeps_their_length():
    """By hand: halfway between two orthogonal unit vectors lies their sum over the root of two."""
    way = walk(torch.eye(2).reshape(2, 2, 1), 4)[..., 0]
    angles = torch.arange(4) * torch.pi / 8
    torch.testing.assert_close(way[:4], torch.stack([angles.cos(), angles.sin()], 1))
    assert way[2].tolist() == pytest.approx([0.5**0.5, 0.5**0.5])
    long = walk(torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)), 5).flatten(1).norm(dim=1)
    assert float(long.min()) > 0.95 * 768**0.5 and len(long) == 15


@pytest.mark.slow
def test_a_folder_grows_and_what_is_there_stays(loop, tmp_path):
    place, known, runs = loop
    out = tmp_path / "grows"
    unmask("sample", f"run={runs['vae']}", "count=10", f"out={out}", cwd=place)
    before = {path: path.stat().st_mtime_ns for path in (out / "pictures").iterdir()}
    first = {item: store(out).of_item(item)[1] for item in store(out).items["item"]}
    two = ["trainer.accelerator=cpu", "trainer.devices=2", "batch_size=3"]
    unmask("sample", f"run={runs['vae']}", "count=20", f"out={out}", *two, cwd=place)
    for path in (out / "pictures").iterdir():  # neither the processes nor the batch decide a pixel
        made, other = (
            np.asarray(Image.open(where / path.name)).astype(int) for where in (path.parent, known["vae"] / "pictures")
        )
        assert np.abs(made - other).max() <= 2
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert len(list((out / "pictures").iterdir())) == 20 and not (store(out).folder / "parts").exists()
    again = store(out)
    assert int(again.items["label"].sum()) == 20 and set(first) < set(again.items["item"])
    assert all(np.array_equal(again.of_item(item)[1], pixels) for item, pixels in first.items())

    # Asked for fewer it lists fewer, the manifest and the store alike; asked for the same it leaves the store alone.
    unmask("sample", f"run={runs['vae']}", "count=5", f"out={out}", cwd=place)
    fewer = store(out).items
    assert int(fewer["label"].sum()) == len(pd.read_parquet(out / "items.parquet")) == 5
    assert all(np.array_equal(store(out).of_item(item)[1], again.of_item(item)[1]) for item in fewer["item"])
    made = (store(out).folder / "crops.parquet").stat().st_mtime_ns
    unmask("sample", f"run={runs['vae']}", "count=5", f"out={out}", cwd=place)
    assert (store(out).folder / "crops.parquet").stat().st_mtime_ns == made


def test_a_check_says_what_is_there_and_makes_nothing(loop, tmp_path):
    place, made, runs = loop
    given = ["sample", f"run={runs['vae']}", "check=true"]
    assert "0 of 100 pictures of vae are in" in unmask(*given, f"out={tmp_path / 'x'}", cwd=place).stdout
    assert "20 of 30 pictures" in unmask(*given, "count=30", f"out={made['vae']}", cwd=place).stdout
    assert not (tmp_path / "x").exists()


def test_a_generator_swaps_no_faces_and_the_error_names_the_verb_that_takes_it(loop):
    place, _, runs = loop
    refused = unmask("swap", f"run={runs['vae']}", "video=x", "to=A", cwd=place, expect=1).stderr.strip()
    assert refused.endswith(f"vae is a generator, not a swapper; to use it: unmask sample run={runs['vae']}")
    assert "\n" not in refused
    assert "run missing: unmask sample run=DIR" in unmask("sample", "count=3", cwd=place, expect=1).stderr


@pytest.mark.parametrize(("verb", "groups"), [("sample", {"trainer"}), ("swap", {"trainer"}), ("inpaint", {"data"})])
def test_the_config_of_a_verb_holds_what_it_reads(verb, groups):
    cfg = compose(verb, [])
    others = {"data", "module", "trainer", "callbacks", "logger", "experiment", "explain", "report"} - groups
    assert groups <= set(cfg) and not others & set(cfg)


def test_made_anew_nothing_of_the_old_samples_stays(loop, tmp_path):
    place, _, runs = loop
    out = tmp_path / "anew"
    given = ["sample", f"run={runs['vae']}", "count=4", f"out={out}", "walk=2"]
    unmask(*given, cwd=place)
    old = {item: store(out).of_item(item)[1] for item in store(out).items.query("label == 1")["item"]}
    assert "made with other settings" in unmask(*given, "seed=1", cwd=place, expect=1).stderr
    unmask(*given[:-1], "seed=1", "rerun=true", cwd=place)
    sampled = Run(runs["vae"]).module().sample(1, [seed_of(1, 0)])[0]
    new = store(out).of_item(next(iter(old)))[1][0]
    assert np.abs(new - 255 * sampled.numpy()).max() <= 2 and not np.array_equal(new, old[next(iter(old))][0])
    assert not list(out.glob("walk-*.mp4"))


def test_without_real_pictures_it_says_so_and_the_samples_stay(loop, tmp_path):
    place, _, runs = loop
    copied = tmp_path / "run"
    cfg = OmegaConf.load(runs["vae"] / ".hydra/config.yaml")
    cfg.data.prepared = str(tmp_path / "nowhere")
    (copied / ".hydra").mkdir(parents=True)
    OmegaConf.save(cfg, copied / ".hydra/config.yaml")
    (copied / "checkpoints").symlink_to(runs["vae"] / "checkpoints")
    done = unmask("sample", f"run={copied}", "count=3", f"out={tmp_path / 'made'}", cwd=place)
    assert "real pictures are not available" in done.stdout
    assert len(list((tmp_path / "made/pictures").iterdir())) == 3
    with pytest.raises(
        StoreError,
        match=r"no crops that were made with data/recipe=pictures and data.recipe.crop_size=32; create them with",
    ):
        DataOf(Generated(tmp_path / "made", demo=True), tmp_path, WholePictures(crop_size=32)).store  # noqa: B018


def test_a_rendered_generators_samples_are_called_demo(loop):
    _, made, _ = loop
    with pytest.raises(ValueError, match=r"data\.demo=false: expected true, because the generator"):
        Generated(made["vae"])
    assert Generated(made["vae"], demo=True).name == "generated_vae"


def test_a_detector_of_one_generator_is_scored_on_the_other(loop):
    place, made, _ = loop
    given = [f"data.run={made['dcgan']}", "data.demo=true", "image_size=32", "trainer=smoke", "explain=0"]
    unmask("train", "experiment=loop/cnn", *given, "name=of_dcgan", cwd=place)
    (run,) = (place / "outputs/of_dcgan").iterdir()
    unmask("evaluate", f"run={run}", "data=generated", f"data.run={made['vae']}", "data.demo=true", cwd=place)
    table = Run(run).predictions("test", "generated_vae")
    assert set(table["method"]) == {"real", "vae"} and len(table) == 11
    assert table.attrs["protocol"]["Trained on"] == "generated_dcgan"
    own = Run(run).predictions("test")
    assert set(own["method"]) == {"real", "dcgan"}
    assert set(own.query("label == 0")["item"]) == set(table.query("label == 0")["item"]), "the same real test pictures"


def starter(place: Path, calls: list[str]):
    def call(verb: str, *arguments: str) -> int:
        calls.append(verb)
        unmask(verb, *arguments, cwd=place)
        return 0

    return call


@pytest.mark.slow
def test_the_loop_ends_with_its_matrix(portraits, tmp_path, monkeypatch):
    source, here = portraits
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/prepared").symlink_to(source / "outputs/prepared")
    monkeypatch.chdir(tmp_path)
    calls: list[str] = []
    monkeypatch.setattr(jobs, "call", starter(tmp_path, calls))
    cfg = compose("report", ["table=loop", "run=true", "resamples=50"])
    OmegaConf.set_struct(cfg, False)
    kept = {"DCGAN": GAN, "VAE": VAE}
    plain = OmegaConf.to_container(cfg.table, resolve=True)
    plain["needs"] = [
        {**need, "count": 20, "overrides": [*here, *kept[need["name"]], f"name={need['name'].lower()}"]}
        for need in plain["needs"]
        if need["name"] in kept
    ]
    plain["tests"] = {name: plain["tests"][name] for name in kept}
    plain["rows"] = plain["rows"][:2]
    for row in plain["rows"]:
        row["overrides"] += ["image_size=32", "trainer=smoke", "explain=0", "data.batch_size=8"]
    cfg.table = plain
    tables.make(cfg)
    assert calls == ["train", "sample"] * 2 + ["train", "evaluate"] * 2
    with Path("outputs/tables/loop.csv").open() as file:
        cells = {(row["row"], row["on"]): row for row in csv.DictReader(file)}
    assert len(cells) == 4 and all(cell["state"] == "measured" for cell in cells.values())
    (run,) = [path for path in Path("outputs/loop/cnn").iterdir() if Run(path).config["data"]["run"].endswith("dcgan")]
    table = Run(run).predictions("test", "generated_vae")
    assert float(cells["CNN, of DCGAN", "VAE"]["value"]) == roc_auc_score(table["label"], table["logit"])
    assert cells["CNN, of DCGAN", "VAE"]["low"] == "n/a", "5 real and 6 fake pictures are too few for an interval"
    shown = Path("outputs/tables/loop.md").read_text()
    assert "Image AUC on DCGAN" in shown and "rendered demo data" in shown
    assert "On VAE: generated_vae, test split: 5 real and 6 fake" in shown
    tables.make(cfg)
    assert len(calls) == 8, "nothing is done twice"

    # Samples that were made again are scored again.
    made = next(Path("outputs/generated/loop_vae").glob("crops/*/crops.parquet"))
    made.touch()
    tables.make(cfg)
    assert calls[8:] == ["evaluate"]

    # Those of a generator that was trained otherwise are made again, those of this one are not.
    need = table_spec.read(plain).needs[1]
    generator, out = next(Path("outputs/vae").iterdir()), Path(need.out)
    assert needs._to_make(generator, out, 20) is None and needs._to_make(generator, out, 30) == []
    assert needs._to_make(next(Path("outputs/dcgan").iterdir()), out, 20) == ["rerun=true"]


def test_what_a_generator_of_a_table_lacks_is_told():
    plain = OmegaConf.to_container(compose("report", ["table=loop"]).table, resolve=True)
    table = table_spec.read(plain)
    assert [need.name for need in table.needs] == ["DCGAN", "VAE", "diffusion"]
    plain["needs"] = ["demos", {"name": "X", "experiment": "celeba/vae", "number": 3}]
    with pytest.raises(table_spec.TableError) as error:
        table_spec.read(plain)
    for words in ("needs: demos", "needs X: it has no count", "needs X: it has no out", "unknown key number"):
        assert words in str(error.value)


def test_the_loops_generators_compose(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = table_spec.read(OmegaConf.to_container(compose("report", ["table=loop"]).table, resolve=True))
    for need in table.needs:
        cfg = needs._load("train", [f"experiment={need.experiment}", *map(quote, need.overrides)])
        assert cfg.data.demo and Path(cfg.hydra.run.dir).parent == Path("outputs") / cfg.name


def test_files_of_the_same_bytes_stay_in_one_split():
    from unmask.data.splits import random_groups

    rng = np.random.default_rng(7)
    items = pd.DataFrame({"item": [f"f/{n:03d}" for n in range(60)], "label": 0, "rejected": None})
    items["groups"] = [[name] for name in items["item"]]
    plain = random_groups(items, 0.2, 0.3)
    assert (random_groups(items.assign(sha256=[f"{n}" for n in range(60)]), 0.2, 0.3) == plain).all(), "none are alike"
    sha = np.array([f"{n}" for n in range(60)], object)
    twins = rng.permutation(60).reshape(-1, 2)[:10]
    for a, b in twins:
        sha[b] = sha[a]
    split = random_groups(items.assign(sha256=sha), 0.2, 0.3)
    assert any(plain[a] != plain[b] for a, b in twins) and all(split[a] == split[b] for a, b in twins)


def test_a_folder_of_real_media_alone_is_for_generators(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a/1.png", "a/2.png", "3.png", "4.png", "b/5.png"):
        (tmp_path / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(tmp_path / "faces" / name)
    cfg = compose("prepare", ["data=faces", f"data.root={tmp_path / 'faces'}"])
    data = from_config(cfg)
    found = {item.item: item for item in data.source.find_items()}
    assert sorted(found) == [f"faces/real/{name}" for name in ("3", "4", "a/1", "a/2", "b/5")]
    assert found["faces/real/a/1"].groups == found["faces/real/a/2"].groups != found["faces/real/3"].groups
    assert "data=faces" in data.members[0][0].command()
    with pytest.raises(ManifestError, match="no video or picture in"):
        (tmp_path / "empty").mkdir()
        from_config(compose("prepare", ["data=faces", f"data.root={tmp_path / 'empty'}"])).source.find_items()


def test_the_note_of_a_folder_says_what_it_was_made_of(loop):
    _, made, _ = loop
    note = json.loads((made["vae"] / "generate.json").read_text())
    assert note["demo"] is True and note["data"] == "demo_celeba"
