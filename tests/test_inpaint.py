"""Inpainting forgeries: the masks, the files, and that a killed call, a batch or a mark decides nothing."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hydra.errors import InstantiationException
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from conftest import compose, unmask
from datamodules import DataOf
from unmask.commands.inpaint import start
from unmask.data.manifest import ManifestError
from unmask.datasets.deepfakeart import DeepfakeArt
from unmask.generation.inpainters import ClassicalInpainter, DiffusionInpainter
from unmask.generation.masks import MASKS, lower_left, lower_right, random_patches, upper_left, upper_right
from unmask.generation.published import PipelineError
from unmask.media.pictures import WholePictures
from unmask.provenance import RENDERED, TRAINED, UNSPECIFIED, read_marks, source_marks, write_picture

RNG = np.random.default_rng
SIZES = {"3": (40, 52), "11": (64, 64), "700": (70, 33)}  # record -> height, width
NUMBER = len(SIZES) * len(MASKS)


def draw(seed: int, height: int, width: int) -> np.ndarray:
    """A smooth picture with a few edges."""
    noise = cv2.resize(RNG(seed).uniform(0, 255, (5, 5, 3)).astype(np.float32), (width, height))
    noise[height // 3 :, : width // 2] *= 0.5
    return noise.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Three paintings as DeepfakeArt has them, each with a forgery of its own; one says where it comes from."""
    root = tmp_path_factory.mktemp("art")
    for number, (record, size) in enumerate(SIZES.items()):
        folder = root / "similar" / "inpainting" / record
        folder.mkdir(parents=True)
        mark = PngInfo()
        if record == "11":
            mark.add_text("digitalSourceType", f"http://cv.iptc.org/newscodes/digitalsourcetype/{RENDERED}")
        Image.fromarray(draw(number, *size)).save(folder / "original.png", pnginfo=mark)
        Image.fromarray(draw(number + 10, *size)).save(folder / "inpainting.png")
        Image.fromarray(upper_left(size, RNG(0))).save(folder / "mask.png")
    return root


def make(root: Path, out: Path, *overrides: str) -> None:
    given = ["generator=classical", f"data.root={root}", f"out={out}", "size=48", *overrides]
    start(compose("inpaint", given))


@pytest.fixture(scope="module")
def made(root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made") / "set"
    make(root, out)
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize(
    ("mask", "white"),
    [
        (upper_right, ["####", ".###", "..##", "...#"]),
        (upper_left, ["####", "###.", "##..", "#..."]),
        (lower_left, ["....", "#...", "##..", "###."]),
        (lower_right, ["....", "...#", "..##", ".###"]),
    ],
)
def test_a_half_is_white_on_its_side_of_the_diagonal(mask, white):
    expected = np.array([[255 if sign == "#" else 0 for sign in row] for row in white], np.uint8)
    found = mask((4, 4), RNG(0))
    assert found.dtype == np.uint8 and np.array_equal(found, expected)


def test_the_diagonal_of_an_oblong_runs_from_corner_to_corner():
    # Middles of 2 rows and 6 columns: below x = y/2 * 6 lie three columns more in each row.
    assert np.array_equal(upper_right((2, 6), RNG(0)) > 0, [[0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]])
    assert np.array_equal(lower_right((2, 6), RNG(0)) > 0, [[0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 1, 1]])


@pytest.mark.parametrize("size", [(100, 100), (97, 31), (512, 512)])
def test_opposite_halves_make_up_the_picture(size):
    for one, other in ((upper_right, lower_left), (upper_left, lower_right)):
        assert np.array_equal(one(size, RNG(0)).astype(int) + other(size, RNG(0)), np.full(size, 255))
        assert (one(size, RNG(0)) > 0).mean() == pytest.approx(0.5, abs=1 / min(size))


@pytest.mark.parametrize("size", [(8, 8), (48, 90), (512, 512)])
def test_random_patches_cover_40_to_60_percent(size):
    shares = []
    for seed in range(60):
        mask = random_patches(size, RNG(seed))
        assert mask.shape == size and set(np.unique(mask)) == {0, 255}
        shares.append((mask > 0).mean())
    assert 0.4 <= min(shares) and max(shares) <= 0.6
    assert len({round(share, 4) for share in shares}) > 5
    assert np.array_equal(random_patches(size, RNG(3)), random_patches(size, RNG(3)))


def test_random_patches_want_room():
    with pytest.raises(ValueError, match="at least 8 px"):
        random_patches((7, 90), RNG(0))


def test_the_layout_is_deepfakeart_s_with_tables_beside(made):
    expected = {"items.parquet", "methods.csv", "generate.json"}
    for record in SIZES:
        folder = f"similar/inpainting/{record}"
        expected |= {f"{folder}/original.png"}
        expected |= {f"{folder}/{kind}_{mask}.png" for kind in ("inpainting", "mask") for mask in MASKS}
    assert set(files(made)) == expected
    with (made / "methods.csv").open(newline="") as file:
        rows = {row["path"]: row["method"] for row in csv.DictReader(file)}
    assert rows == {name: "telea" for name in expected if "/inpainting_" in name}


def test_the_manifest_names_sources_masks_and_paintings(made):
    table = pd.read_parquet(made / "items.parquet").set_index("item")
    assert len(table) == NUMBER + len(SIZES) and table["label"].sum() == NUMBER
    row = table.loc["deepfakeart/telea/700_lower_left"]
    assert row["path"] == "similar/inpainting/700/inpainting_lower_left.png"
    assert row["mask"] == "similar/inpainting/700/mask_lower_left.png"
    assert row["source"] == "deepfakeart/real/700"
    assert list(row["groups"]) == list(table.loc["deepfakeart/real/700", "groups"])
    assert table["path"].map(lambda path: (made / path).is_file()).all()


def test_the_reader_finds_what_the_manifest_says(made, tmp_path):
    reader = DataOf(DeepfakeArt("deepfakeart", made), tmp_path, WholePictures())
    found = {(i.item, i.path, i.label, i.method, i.source, i.mask, i.attributes["mask"]) for i in reader.find_items()}
    table = pd.read_parquet(made / "items.parquet").astype(object)
    table = table.where(table.notna(), None)
    assert table["attribute.mask"].value_counts().to_dict() == dict.fromkeys([*MASKS, "none"], len(SIZES))
    columns = ["item", "path", "label", "method", "source", "mask", "attribute.mask"]
    assert found == set(table[columns].itertuples(index=False, name=None))


def only_originals(root: Path, out: Path) -> Path:
    """A copy of a data set without anything but `original.png`."""
    for path in root.glob("similar/inpainting/*/original.png"):
        (out / path.relative_to(root)).parent.mkdir(parents=True)
        shutil.copy(path, out / path.relative_to(root))
    return out


def test_originals_alone_are_enough_and_keep_their_record_numbers(root, made, tmp_path):
    make(only_originals(root, tmp_path / "originals"), tmp_path / "set")
    assert files(tmp_path / "set") == files(made)
    flat = tmp_path / "flat"  # a flat folder of pictures, named by their records
    flat.mkdir()
    for record in SIZES:
        shutil.copy(root / "similar" / "inpainting" / record / "original.png", flat / f"{record}.png")
    make(flat, tmp_path / "of_flat", "data=faces", "data.name=art")
    expected, found = files(made), files(tmp_path / "of_flat")
    pictures = {name for name in expected if name.endswith(".png")}
    assert {name: found[name] for name in pictures} == {name: expected[name] for name in pictures}


def test_originals_of_real_paintings_alone(shared_data, tmp_path):
    root = only_originals(shared_data / "deepfakeart_layout", tmp_path / "originals")
    make(root, tmp_path / "set")
    table = pd.read_parquet(tmp_path / "set" / "items.parquet")
    records = {path.name for path in root.glob("similar/inpainting/*")}
    assert records == {"0", "3", "7", "12", "20", "31", "44", "58"}
    assert set(table["item"]) == {
        *(f"deepfakeart/real/{record}" for record in records),
        *(f"deepfakeart/telea/{record}_{mask}" for record in records for mask in MASKS),
    }
    reader = DataOf(DeepfakeArt("deepfakeart_telea", tmp_path / "set"), tmp_path, WholePictures())
    assert len(reader.find_items()) == 8 * 6


def test_forgeries_keep_the_official_split_of_their_originals(root, tmp_path):
    listed = tmp_path / "art"
    for path, content in files(root).items():
        (listed / path).parent.mkdir(parents=True, exist_ok=True)
        (listed / path).write_bytes(content)
    for split, records in (("train", ["3", "700"]), ("test", ["11"])):
        names = {n: f"similar/inpainting/{n}" for n in records}
        pairs = {n: {"original": f"{p}/original.png", "generated": f"{p}/inpainting.png"} for n, p in names.items()}
        (listed / "similar" / f"{split}_similar.json").write_text(json.dumps({"inpainting": pairs}))
    make(listed, tmp_path / "set")
    reader = DataOf(DeepfakeArt("deepfakeart", tmp_path / "set"), tmp_path, WholePictures(), protocol="predefined")
    assert {item.groups[0].split("/")[1]: item.predefined for item in reader.find_items()} == {
        "3": "train", "11": "test", "700": "train"
    }  # fmt: skip


def test_the_original_went_the_same_way_and_nothing_outside_of_the_mask_changed(root, made):
    for record, (height, width) in SIZES.items():
        folder = made / "similar" / "inpainting" / record
        picture = read(root / "similar" / "inpainting" / record / "original.png")
        up = cv2.INTER_CUBIC if height * width < 48 * 48 else cv2.INTER_AREA
        back = cv2.INTER_AREA if height * width < 48 * 48 else cv2.INTER_CUBIC
        expected = cv2.resize(cv2.resize(picture, (48, 48), interpolation=up), (width, height), interpolation=back)
        original = read(folder / "original.png")
        assert np.array_equal(original, expected) and not np.array_equal(original, picture)
        for mask in MASKS:
            white = read(folder / f"mask_{mask}.png") > 127
            forged = read(folder / f"inpainting_{mask}.png")
            assert white.shape == (height, width) and 0.35 < white.mean() < 0.65
            assert np.array_equal(forged[~white], original[~white])
            assert np.abs(forged[white].astype(int) - original[white]).mean() > 2


def test_paste_false_keeps_what_the_model_made_outside(root, made, tmp_path, monkeypatch):
    monkeypatch.setattr(ClassicalInpainter, "__call__", lambda self, pictures, masks, seeds: 255 - pictures)
    make(root, tmp_path / "set", "paste=false", "limit=1", "masks=[upper_left]")
    name = "similar/inpainting/11"
    original = read(tmp_path / "set" / name / "original.png")
    assert np.abs(read(tmp_path / "set" / name / "inpainting_upper_left.png").astype(int) - (255 - original)).max() <= 2


def test_the_batch_decides_no_byte(root, made, tmp_path):
    make(root, tmp_path / "set", "batch_size=1")
    assert files(tmp_path / "set") == files(made)


def test_a_killed_call_goes_on_redoes_nothing_and_skips_nothing(root, made, tmp_path, monkeypatch):
    out, whole, counts = tmp_path / "set", ClassicalInpainter.__call__, []

    def killed(self, pictures, masks, seeds):
        counts.append(len(pictures))
        if sum(counts) > NUMBER // 2:
            raise KeyboardInterrupt
        return whole(self, pictures, masks, seeds)

    monkeypatch.setattr(ClassicalInpainter, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        make(root, out, "batch_size=2")
    half = {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    left = NUMBER - len(list(out.rglob("inpainting_*.png")))
    assert 0 < left < NUMBER
    counts.clear()
    monkeypatch.setattr(
        ClassicalInpainter, "__call__", lambda self, p, m, s: (counts.append(len(p)), whole(self, p, m, s))[1]
    )
    make(root, out, "batch_size=2")
    assert sum(counts) == left
    assert {p: p.stat().st_mtime_ns for p in half} == half
    assert files(out) == files(made)
    counts.clear()
    make(root, out)
    assert not counts and files(out) == files(made)


def test_a_lost_file_is_made_again(root, made, tmp_path):
    out = tmp_path / "set"
    make(root, out)
    for name in ("3/mask_upper_left.png", "11/original.png", "700/inpainting_lower_right.png"):
        (out / "similar" / "inpainting" / name).unlink()
    make(root, out)
    assert files(out) == files(made)


def test_another_seed_draws_other_patches_and_is_refused_in_the_same_folder(root, made, tmp_path):
    out = tmp_path / "set"
    make(root, out, "seed=1", "masks=[random_patches,upper_left]")
    ours, theirs = files(out), files(made)
    record = "similar/inpainting/3"
    assert ours[f"{record}/mask_random_patches.png"] != theirs[f"{record}/mask_random_patches.png"]
    assert ours[f"{record}/inpainting_upper_left.png"] == theirs[f"{record}/inpainting_upper_left.png"]
    with pytest.raises(ValueError, match="other settings"):
        make(root, out)
    make(root, out, "rerun=true")
    assert files(out) == theirs


def test_an_original_that_cannot_be_read_is_named_and_the_others_are_made(root, tmp_path, capsys):
    bad = tmp_path / "art"
    for path, content in files(root).items():
        (bad / path).parent.mkdir(parents=True, exist_ok=True)
        (bad / path).write_bytes(content)
    (bad / "similar" / "inpainting" / "11" / "original.png").write_bytes(b"not a picture")
    make(bad, tmp_path / "set")
    assert "not made: similar/inpainting/11/original.png: not a readable picture" in capsys.readouterr().out
    assert len(pd.read_parquet(tmp_path / "set" / "items.parquet")) == 2 * (1 + len(MASKS))


def test_marks_say_what_a_picture_is_and_not_by_their_length(made):
    folder = made / "similar" / "inpainting" / "11"
    real, fake = read_marks(folder / "original.png"), read_marks(folder / "inpainting_upper_left.png")
    assert real["digitalSourceType"].endswith(f"/{RENDERED}") and real["synthetic"] == "true"
    assert fake["digitalSourceType"].endswith("/algorithmicallyEnhanced") and fake["synthetic"] == "true"
    assert "telea" in fake["comment"]
    unknown = read_marks(made / "similar" / "inpainting" / "3" / "original.png")
    assert unknown["digitalSourceType"] == unknown["synthetic"] == UNSPECIFIED
    lengths = set()
    for path in [*made.rglob("original.png"), *made.rglob("inpainting_*.png")]:
        with Image.open(path) as picture:
            lengths.add(tuple((key, len(value)) for key, value in picture.info.items()))
    assert len(lengths) == 1


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_marks_are_read_back(tmp_path, name):
    pixels = draw(0, 30, 20)
    write_picture(tmp_path / name, pixels, source_marks(TRAINED, "made for a test"))
    marks = read_marks(tmp_path / name)
    assert marks == {
        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
        "synthetic": "true",
        "comment": "made for a test",
    }
    assert np.abs(read(tmp_path / name).astype(int) - pixels).mean() < (1e-9 if name == "a.png" else 6)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_picture_without_marks_has_none(tmp_path):
    Image.fromarray(draw(0, 30, 20)).save(tmp_path / "a.jpg", comment=b"from my camera")
    Image.fromarray(draw(0, 30, 20)).save(tmp_path / "a.webp")
    assert read_marks(tmp_path / "a.jpg") == read_marks(tmp_path / "a.webp") == {}
    with pytest.raises(ValueError, match=r"a\.gif"):
        write_picture(tmp_path / "a.gif", draw(0, 30, 20), {})


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("masks=[upper_left,middle]", "unknown 'middle'"),
        ("masks=[]", "expected at least one mask"),
        ("size=4", "size=4"),
        ("limit=0", "limit=0"),
        ("batch_size=0", "batch_size=0"),
        ("generator.method=magic", "generator.method=magic"),
        ("data.root=nowhere", "no such folder"),
    ],
)
def test_settings_that_cannot_work_are_named_before_anything_is_written(root, tmp_path, override, named):
    with pytest.raises((ValueError, InstantiationException), match=named):
        make(root, tmp_path / "set", override)
    assert not (tmp_path / "set").exists()


def test_a_folder_of_somebody_else_is_refused(root, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="not empty"):
        make(root, tmp_path)
    with pytest.raises(ValueError, match="not empty"):
        make(root, tmp_path, "rerun=true")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_videos_are_no_paintings(demo_root, tmp_path):
    with pytest.raises(ManifestError, match="contains videos"):
        start(compose("inpaint", ["data=demo_celebdf", f"data.root={demo_root}", f"out={tmp_path / 'set'}"]))


def test_the_console_says_what_is_there_and_how_to_go_on(root, tmp_path):
    given = ("inpaint", "generator=classical", f"data.root={root}", "out=a set", "size=48", "limit=1")
    assert "0 of 5 forgeries exist" in unmask(*given, "check=true", cwd=tmp_path).stdout
    assert not (tmp_path / "a set").exists()
    said = unmask(*given, cwd=tmp_path).stdout
    assert "5 forgeries in a set, 5 of them new" in said
    assert "unmask prepare data=deepfakeart data.name=deepfakeart_telea 'data.root=a set'" in said


def test_a_model_that_is_not_there_is_named_with_where_it_is_had(root, tmp_path):
    done = unmask("inpaint", f"data.root={root}", f"out={tmp_path / 'set'}", cwd=tmp_path, expect=1)
    assert "generator.model=sd2-community/stable-diffusion-2-inpainting is not on this disk" in done.stderr
    assert "https://huggingface.co/sd2-community/stable-diffusion-2-inpainting" in done.stderr
    assert "generator.download=true" in done.stderr and "generator.model=FOLDER" in done.stderr
    (tmp_path / "empty").mkdir()
    with pytest.raises(PipelineError, match="not the folder of a diffusers pipeline"):
        DiffusionInpainter(str(tmp_path / "empty"))(*inputs(1))


def tiny_parts(channels: int) -> dict[str, object]:
    """The parts of a pipeline of random weights, a few hundred thousand of them; `channels` are those of the U-Net."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    signs = [
        "<|startoftext|>",
        "<|endoftext|>",
        *"abcdefghijklmnopqrstuvwxyz.",
        *(f"{c}</w>" for c in "abcdefgilmnoprst."),
    ]
    vocabulary = {sign: number for number, sign in enumerate(signs)}
    text = CLIPTextConfig(
        vocab_size=len(signs), hidden_size=32, intermediate_size=37, num_attention_heads=4, num_hidden_layers=2,
        bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return dict(
        vae=AutoencoderKL(
            block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16),
        unet=UNet2DConditionModel(
            block_out_channels=(32, 64), layers_per_block=1, sample_size=16, in_channels=channels, out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), cross_attention_dim=32,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(2, 4),
        ),
        scheduler=DDIMScheduler(steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    """A pipeline for inpainting of random weights."""
    pytest.importorskip("diffusers")
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint import StableDiffusionInpaintPipeline

    folder = tmp_path_factory.mktemp("tiny") / "pipeline"
    StableDiffusionInpaintPipeline(**tiny_parts(channels=9)).save_pretrained(folder)
    return str(folder)


def test_weights_that_are_pickles_are_refused(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "pipeline")
    (weights,) = (folder / "unet").glob("*.safetensors")
    torch.save({"w": torch.zeros(1)}, folder / "unet/diffusion_pytorch_model.bin")
    weights.unlink()
    with pytest.raises(PipelineError, match="with weights in safetensors"):
        DiffusionInpainter(str(folder), device="cpu")(*inputs(1))


def inputs(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pictures = np.stack([draw(k, 32, 32) for k in range(number)])
    masks = np.stack([mask((32, 32), RNG(0)) for mask in MASKS.values()])[:number]
    return pictures, masks, np.arange(number) + 2**62


def test_diffusion_gives_the_same_picture_at_any_batch_size(tiny):
    inpaint = DiffusionInpainter(tiny, steps=3, device="cpu")
    pictures, masks, seeds = inputs(4)
    together = inpaint(pictures, masks, seeds)
    assert together.shape == pictures.shape and together.dtype == np.uint8
    apart = np.concatenate([inpaint(pictures[k : k + 1], masks[k : k + 1], seeds[k : k + 1]) for k in range(4)])
    # A matrix product of another size may round its last bit otherwise.
    assert np.abs(together.astype(int) - apart).max() <= 1
    other = inpaint(pictures[:1], masks[:1], seeds[:1] + 1)
    assert np.abs(other.astype(int) - together[:1]).mean() > 2


def test_diffusion_through_the_verb(tiny, root, tmp_path):
    out = tmp_path / "set"
    given = [f"data.root={root}", f"out={out}", f"generator.model={tiny}", "generator.steps=2", "generator.device=cpu"]
    start(compose("inpaint", [*given, "size=32", "limit=2", "batch_size=3"]))
    table = pd.read_parquet(out / "items.parquet")
    assert set(table["method"]) == {"real", "sd2_inpaint"} and len(table) == 2 * (1 + len(MASKS))
    for row in table[table["label"] == 1].itertuples():
        forged, white = read(out / row.path), read(out / row.mask) > 127
        original = read((out / row.path).with_name("original.png"))
        assert np.array_equal(forged[~white], original[~white])
        assert np.abs(forged[white].astype(int) - original[white]).mean() > 2
        assert read_marks(out / row.path)["digitalSourceType"].endswith(f"/{TRAINED}")


def test_diffusion_refuses_sizes_that_its_autoencoder_cannot_take(tiny):
    with pytest.raises(PipelineError, match="multiples of 8"):
        DiffusionInpainter(tiny)(np.zeros((1, 30, 32, 3), np.uint8), np.zeros((1, 30, 32), np.uint8), np.zeros(1, int))
    with pytest.raises(PipelineError, match=r"generator\.dtype=int8"):
        DiffusionInpainter(tiny, dtype="int8")


@pytest.mark.parametrize("method", ["telea", "navier_stokes"])
def test_classical_inpainting_continues_what_is_around(method):
    picture = np.tile(np.linspace(40, 200, 32, dtype=np.uint8)[None, :, None], (32, 1, 3))
    mask = np.zeros((32, 32), np.uint8)
    mask[12:18, 12:18] = 255
    holed = picture.copy()
    holed[mask > 0] = 0
    done = ClassicalInpainter(method)(holed[None], mask[None], np.zeros(1, np.int64))[0]
    assert np.abs(done.astype(int) - picture)[mask > 0].mean() < 12
    assert np.array_equal(done[mask == 0], picture[mask == 0])
