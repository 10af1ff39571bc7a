"""Features on disk: computed once, never stale, read in place of pixels."""

import pickle
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from torch import nn
from torchvision.transforms.v2 import RandomHorizontalFlip

from datamodules import DataOf
from unmask.data import features
from unmask.data.augment import Augmentation
from unmask.data.datamodule import DataModule
from unmask.data.handling import Noise
from unmask.data.manifest import Item
from unmask.data.pixels import to_float
from unmask.data.prepare import prepare
from unmask.data.source import Source
from unmask.media.pictures import WholePictures
from unmask.modules.detector import Detector
from unmask.networks.cnn_lstm import CnnLstm
from unmask.networks.encoders import SmallEncoder
from unmask.training.callbacks import SeedEachStep
from unmask.training.schedules import constant

SIZE = 16


class Pictures(Source):
    """Eight pictures, each with a copy that is said to be fake, in three splits."""

    def find_items(self):
        real = [Item(f"p/real/{n}", f"{n}.png", 0, "real", groups=(f"{n}",), official_test=n > 5) for n in range(8)]
        return real + [
            Item(f"p/copy/{n}", f"{n}f.png", 1, "copy", f"p/real/{n}", (f"{n}",), official_test=n > 5) for n in range(8)
        ]


def module(place: Path, **options) -> DataOf:
    return DataOf(
        Pictures("p", place / "raw"), place / "prepared", WholePictures(SIZE),
        **{"val_fraction": 0.4, "frames_per_video": 1, "image_size": 8, "batch_size": 4, **options},
    )  # fmt: skip


@pytest.fixture
def place(tmp_path) -> Path:
    (tmp_path / "raw").mkdir()
    for n in range(8):
        for name, offset in ((f"{n}.png", 0), (f"{n}f.png", 100)):
            pixels = np.random.default_rng(n + offset).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "raw" / name)
    data = module(tmp_path)
    prepare(data.manifest(), data.root, data.folder, data.recipe, num_workers=0)
    return tmp_path


class Encoder(nn.Module):
    """A projection that counts how often it is asked."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(3 * 8 * 8, 5)
        self.register_buffer("shift", torch.zeros(1), persistent=False)
        self.asked = 0

    def forward(self, x):
        self.asked += len(x)
        return self.layer(x.flatten(1)) + self.shift


def made(data: DataModule, encoder: nn.Module, image_size: int = 8, precision: str = "32-true"):
    return features.compute(data.store, encoder, features.network_key(encoder), image_size, precision)


def encoding(encoder: nn.Module, rough=None) -> features.Encoding:
    return features.Encoding(encoder, rough, "32-true")


def expected(data: DataModule, encoder: nn.Module) -> np.ndarray:
    crops = data.store.crops
    x = torch.from_numpy(data.store.pixels(crops["shard"].to_numpy(), crops["offset"].to_numpy()))
    with torch.no_grad():
        return encoder(to_float(x, 8)).numpy()


def test_every_crop_is_encoded_once(place, monkeypatch):
    monkeypatch.setattr(features, "BATCH", 3)
    data, encoder = module(place), Encoder()
    found = made(data, encoder)
    np.testing.assert_allclose(found.array, expected(data, encoder), rtol=1e-5, atol=1e-6)
    assert found.array.shape == (16, 5) and found.array.dtype == np.float32
    assert isinstance(found.array, np.memmap) and found.path.parent == data.folder / "features"
    encoder.asked = 0
    before = found.path.stat().st_mtime_ns
    again = made(data, encoder)
    assert again.path == found.path and again.path.stat().st_mtime_ns == before
    assert encoder.asked == 3, "a sample of crops only, to see that the code still gives the same"
    left = {path.name for path in found.path.parent.iterdir()}
    assert left == {found.path.name, found.path.with_suffix(".crc32").name}, "nothing half-written stays"


def test_cores_encode_side_by_side(place, monkeypatch):
    """Each crop once and in its place, without gradients, by threads that do not each want every core again."""
    monkeypatch.setattr(features, "CORE_BATCH", 3)
    data, encoder, seen = module(place), Encoder(), []

    def encode(x):
        time.sleep(0.05)  # so that no thread takes all parts
        seen.append((threading.get_ident(), len(x), torch.get_num_threads(), torch.is_grad_enabled()))
        return encoder(x)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = features.compute(data.store, encode, "cores", 8)
        assert torch.get_num_threads() == 2, "the rest of the program keeps its threads"
        with pytest.raises(ZeroDivisionError):
            features.compute(data.store, lambda x: 1 / 0, "broken", 8)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found.array, expected(data, encoder), rtol=1e-5, atol=1e-6)
    threads, sizes, cores, gradients = (set(column) for column in zip(*seen, strict=True))
    assert len(threads) == 2 and max(sizes) == 3 and cores == {1} and gradients == {False}


def test_other_weights_buffers_size_precision_or_crops_are_other_features(place):
    data = module(place)
    other = Encoder()
    other.shift += 1  # a buffer that a state dict does not hold
    wide = Encoder()
    with torch.no_grad():
        wide.layer.weight[4, 100] += 1e-6
    paths = [made(data, encoder).path for encoder in (Encoder(), Encoder(1), other, wide)]
    paths.append(made(data, Encoder(), precision="bf16-mixed").path)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(8), Encoder())
    paths += [made(data, pool, image_size=size).path for size in (8, 12)]
    Image.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8)).save(place / "raw/3.png")
    prepare(data.manifest(), data.root, data.folder, data.recipe, num_workers=0, rerun=True)
    assert not (data.folder / "features").exists(), "prepared again: nothing old is left"
    paths.append(made(module(place), Encoder()).path)
    assert len(set(paths)) == len(paths) == 8


@pytest.mark.parametrize("harm", ["cut", "empty", "shape", "dtype", "text", "values", "zeroed"])
def test_a_damaged_file_is_made_anew(place, harm, monkeypatch):
    monkeypatch.setattr(features, "SAMPLE", 3)  # so that the row which is zeroed is not among those that are looked at
    data, encoder = module(place), Encoder()
    path = made(data, encoder).path
    content = path.read_bytes()
    if harm in ("cut", "empty"):
        path.write_bytes(content[:-40] if harm == "cut" else b"")
    elif harm == "text":
        path.write_text("no array")
    else:
        good = np.load(path)
        np.save(
            path,
            {
                "shape": good[:-1],
                "dtype": good.astype(np.float64),
                "values": good[::-1],
                "zeroed": good * (np.arange(len(good)) != 4)[:, None],
            }[harm],
        )
    found = made(data, encoder)
    assert found.path == path and path.read_bytes() == content
    np.testing.assert_allclose(found.array, expected(data, encoder), rtol=1e-5, atol=1e-6)


def test_code_that_changed_is_noticed(place):
    """Same layers and weights, another forward: the name is the same, the first rows are not."""
    data, encoder = module(place), Encoder()
    path = made(data, encoder).path
    doubled = features.compute(data.store, lambda x: 2 * encoder(x), features.network_key(encoder), 8)
    assert doubled.path == path
    np.testing.assert_allclose(doubled.array, 2 * expected(data, encoder), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frames", [None, 2])
def test_batches_hold_features_in_place_of_pixels(place, frames, monkeypatch):
    data, encoder = module(place, frames=frames), Encoder()
    data.setup("fit")
    plain = {split: list(data._loader(data.samples[split])) for split in ("train", "val", "test")}
    data.use_features(encoder, encoding(encoder))
    monkeypatch.setattr(type(data.store), "pixels", lambda *_: pytest.fail("a pixel was read"))
    count = 0
    for split, batches in plain.items():
        for batch, found in zip(batches, data._loader(data.samples[split]), strict=True):
            found = data.on_after_batch_transfer(found, 0)
            assert (
                "x" not in found and torch.equal(found["index"], batch["index"]) and torch.equal(found["y"], batch["y"])
            )
            x = to_float(batch["x"], 8)
            rows = encoder(x.flatten(0, -4)).detach().reshape(*x.shape[:-3], 5)
            assert found["features"].shape == ((len(x), 5) if frames is None else (len(x), 2, 5))
            torch.testing.assert_close(found["features"], rows)
            count += len(x)
    assert count == 16


def test_a_worker_opens_the_map_itself(place):
    data, encoder = module(place), Encoder()
    data.use_features(encoder, encoding(encoder))
    samples = data.samples["train"]
    assert samples.features.array is not None
    sent = pickle.dumps(samples)
    assert len(sent) < 20_000 and b"memmap" not in sent
    wanted = [(0, index) for index in range(len(samples))]
    assert torch.equal(pickle.loads(sent).__getitems__(wanted)["features"], samples.__getitems__(wanted)["features"])


def test_features_of_augmented_samples_are_refused(place):
    for augment in (Augmentation(worker=[nn.Identity()]), Augmentation(device=[nn.Identity()])):
        data = module(place, augment=augment)
        with pytest.raises(ValueError, match=r"augment@data\.augment=none"):
            data.use_features(Encoder(), encoding(Encoder()))


def test_augmented_copies_are_all_training_samples_and_reproducible(place):
    def copy(number, **augment):
        data = module(place, augment=Augmentation(**augment))
        batches = list(data.augmented(number, size=3))
        assert all(len(batch["x"]) <= 3 for batch in batches)
        return data, torch.cat([batch["x"] for batch in batches]), torch.cat([batch["y"] for batch in batches])

    data, plain, label = copy(0, worker=[nn.Identity()])
    samples = data.samples["train"]
    batch = samples.__getitems__([(0, index) for index in range(len(samples))])
    assert torch.equal(plain, data.on_after_batch_transfer(dict(batch), 0)["x"]) and torch.equal(label, batch["y"])
    noise = {"worker": [Noise((0.1, 0.1))], "device": [RandomHorizontalFlip(0.5)]}
    first = copy(0, **noise)[1]
    assert torch.equal(first, copy(0, **noise)[1]) and not torch.equal(first, plain)
    assert not torch.equal(first, copy(1, **noise)[1])


def coarse(encoder: nn.Module, step: float):
    """An encoder whose features are rounded to multiples of `step`: an error of step / sqrt(12)."""
    return lambda x: (encoder(x) / step).round() * step


def test_the_error_of_a_rough_encoder_is_told_in_units_of_the_spread(place):
    data, encoder = module(place), Encoder()
    spread = np.sqrt(expected(data, encoder).astype(np.float64).var(axis=0).mean())
    shifted = features.error(data.store, encoder, lambda x: encoder(x) + 0.1 * spread, 8)
    np.testing.assert_allclose(shifted, 0.1, rtol=1e-4)
    assert features.error(data.store, encoder, encoder, 8) == 0


@pytest.mark.parametrize(("step", "kept"), [(0.05, "bf16"), (1.0, "32-true")])
def test_a_lower_precision_is_taken_only_where_it_is_faithful(place, step, kept):
    """Rounding to `step` errs by step / sqrt(12); the bound is 5 % of the variation between crops."""
    data, encoder = module(place), Encoder()
    spread = np.sqrt(expected(data, encoder).astype(np.float64).var(axis=0).mean())
    rough = coarse(encoder, step * spread)
    words = data.use_features(encoder, encoding(encoder, rough))
    assert kept in words and data.protocol_words("val")["Features"] == words
    wanted = rough if kept == "bf16" else encoder
    np.testing.assert_allclose(data.samples["train"].features.array, expected(data, wanted), rtol=1e-4, atol=1e-5)


def test_another_precision_never_finds_the_features_of_this_one(place):
    data, encoder = module(place), Encoder()
    data.use_features(encoder, encoding(encoder, coarse(encoder, 1e-3)))
    fast = data.samples["train"].features.path
    again = module(place)
    again.use_features(encoder, encoding(encoder))
    exact = again.samples["train"].features.path
    assert fast != exact
    np.testing.assert_allclose(again.samples["train"].features.array, expected(data, encoder), rtol=1e-5, atol=1e-6)


def fit(data: DataModule, **options):
    """Train a frozen CnnLstm for two epochs; what it printed, and the module."""
    torch.manual_seed(0)
    network = CnnLstm(partial(SmallEncoder, width=4), frames=2, hidden=4, frozen=True)
    detector = Detector(network, nn.BCEWithLogitsLoss(), partial(torch.optim.SGD, lr=0.01), constant, **options)
    printed: list[str] = []
    detector.print = lambda *words: printed.append(" ".join(map(str, words)))
    Trainer(
        max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        use_distributed_sampler=False, num_sanity_val_steps=0, enable_model_summary=False, callbacks=[SeedEachStep(0)],
    ).fit(detector, data)  # fmt: skip
    return detector, printed


@pytest.mark.parametrize("fast", [False, True])
def test_a_frozen_encoder_runs_once_for_each_crop(place, monkeypatch, fast):
    """By default, told, and with the logits that pixels give; on a machine with bfloat16 in hardware and without.

    Where bfloat16 is fast, the encoder runs twice more over a sample of the crops, which decides whether it is
    faithful; here the sample is all 16.
    """
    monkeypatch.setattr("unmask.modules.detector.fast_bfloat16", lambda device: fast)
    seen: list[int] = []
    forward = SmallEncoder.forward
    monkeypatch.setattr(SmallEncoder, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    data = module(place, frames=2, image_size=32)
    detector, printed = fit(data)
    assert len(printed) == 1 and printed[0].startswith("features of the frozen encoder, computed once")
    assert ("bf16" in printed[0]) == fast
    assert seen == [16] * (3 if fast else 1), "the crops; two epochs of no pixel"
    once = len(seen)
    pixels, plain = fit(module(place, frames=2, image_size=32), features="off")
    assert not plain and len(seen) == once + 2 * 3, "in each epoch two batches of training and one of validation"
    # bfloat16 keeps 8 bits: its features err by some 1e-3, and so do the logits.
    near = 5e-3 if fast else 1e-5
    np.testing.assert_allclose(detector.results.table["logit"], pixels.results.table["logit"], atol=near)
    for ours, theirs in zip(detector.network.parameters(), pixels.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=5e-4 if fast else 1e-6)
    # New data comes as pixels, and the same detector scores it end to end.
    fresh = module(place, frames=2, image_size=32)
    fresh.setup()
    batch = next(iter(fresh.val_dataloader()))
    with torch.no_grad():
        logit = detector.eval().score(fresh.on_after_batch_transfer(batch, 0))
    table = detector.results.table.iloc[: len(logit)]
    np.testing.assert_allclose(logit.numpy(), table["logit"], atol=near)


def test_augmented_samples_are_encoded_in_every_step(place):
    data = module(place, frames=2, image_size=32, augment=Augmentation(device=[nn.Identity()]))
    _, printed = fit(data)
    assert data.samples["train"].features is None
    assert len(printed) == 1 and "augment@data.augment=none" in printed[0]


def test_groups_hold_what_shares_a_source_or_a_person(place):
    data = module(place)
    items = data.find_items()
    # No groups: by source.
    apart = [Item(i.item, i.path, i.label, i.method, i.source, (), i.official_test) for i in items]
    linked = [
        Item(
            i.item,
            i.path,
            i.label,
            i.method,
            None,
            (*i.groups, "x") if i.item in ("p/real/0", "p/copy/1") else i.groups,
        )
        for i in items
    ]
    for rows, count in ((items, 6), (apart, 6), (linked, 5)):
        table = data.manifest()
        by_name = {i.item: i for i in rows}
        data.items = table.assign(
            split=table["item"].map(lambda name: "train" if not name.endswith(("6", "7")) else "test"),
            groups=[list(by_name[name].groups) for name in table["item"]],
            source=[by_name[name].source for name in table["item"]],
        )
        wanted = data.items[data.items["split"] == "train"].reset_index(drop=True)
        data.samples = {"train": type("Samples", (), {"table": wanted})}
        found = dict(zip(wanted["item"], data.groups("train"), strict=True))
        assert all(found[f"p/real/{n}"] == found[f"p/copy/{n}"] for n in range(6)) and len(set(found.values())) == count


def test_the_key_is_of_the_layers_too():
    """Two encoders without a weight are told apart by what they say of themselves."""
    from unmask.networks.baselines import PixelEncoder, SpectrumEncoder

    made = [PixelEncoder(8), PixelEncoder(9), SpectrumEncoder(8), partial(nn.Identity)()]
    assert len({features.network_key(encoder) for encoder in made}) == 4
    assert features.network_key(PixelEncoder(8)) == features.network_key(PixelEncoder(8))
