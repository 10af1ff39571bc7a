"""Recordings are prepared, stored and read like crops: resumed, joined, checked; windows are drawn by counting."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import unmask
from datamodules import DataOf
from sounds import RATE, clip, save
from test_prepare import MADE
from unmask.data.audit import audit
from unmask.data.contents import open_contents
from unmask.data.manifest import Item, ManifestError
from unmask.data.parts import part_path
from unmask.data.prepare import merge_parts, prepare, prepare_parts, reopen
from unmask.data.shards import merge
from unmask.data.sounds import SoundSampling
from unmask.data.source import Source
from unmask.data.store import CropStore, MemoryStore
from unmask.data.stores import JoinedStore, sound_of
from unmask.media.crops import Crops
from unmask.media.pcm import to_float32
from unmask.media.recordings import Recordings


def noise(number: int, samples: int) -> np.ndarray:
    """Distinct noise of 16 bits."""
    return np.random.default_rng(number).integers(-9000, 9000, samples).astype(np.int16)


SAMPLES = {f"{number:02d}": 4000 + 1500 * number for number in range(12)}  # 0.25 to 1.3 s


class Noises(Source):
    """Recordings of noise, half of them fakes; three speakers per split."""

    def find_items(self) -> list[Item]:
        return [
            Item(f"{self.name}/{'fake' if number % 2 else 'real'}/{stem}", f"{stem}.wav", number % 2,
                 "vocoder" if number % 2 else "real", groups=(f"{self.name}/speaker{number // 2}",),
                 predefined=("train", "val", "test")[number // 2 % 3])
            for number, stem in enumerate(SAMPLES)
        ]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("noises") / "raw"
    for number, (stem, samples) in enumerate(SAMPLES.items()):
        save(folder / f"{stem}.wav", to_float32(noise(number, samples)), RATE)
    return folder


def module(root: Path, prepared: Path, name: str = "noises", **options) -> DataOf:
    given = {"protocol": "predefined", "sampling": SoundSampling, "seconds": 0.5, "batch_size": 4, **options}
    return DataOf(Noises(name, root), prepared, Recordings(), **given)


def prepared_by(data: DataOf, **options) -> CropStore:
    return prepare(data.manifest(), data.root, data.folder, data.recipe, num_workers=0, **options)


@pytest.fixture(scope="module")
def data(root, tmp_path_factory) -> DataOf:
    data = module(root, tmp_path_factory.mktemp("prepared"))
    prepared_by(data)
    return data


# -- the store


def test_a_store_gives_back_every_sample(data):
    store = data.store
    assert len(store.crops) == 0 and sorted(store.sounds["samples"]) == list(SAMPLES.values())
    for number, (stem, samples) in enumerate(SAMPLES.items()):
        (item,) = store.items.loc[store.items["path"] == f"{stem}.wav", "item"]
        assert (sound_of(store, item) == noise(number, samples)).all()
    row = store.sounds.iloc[3]
    (piece,) = store.sound(*(np.array([value]) for value in (row["shard"], row["offset"] + 100, 50)))
    assert (piece == sound_of(store, row["item"])[100:150]).all()
    assert sound_of(store, "nobody") is None
    assert {"statistic.leading_silence", "statistic.level", "statistic.seconds", "statistic.noise_floor",
            "statistic.bit_rate", "statistic.clipped", "sha256"} <= set(store.items.columns)  # fmt: skip


def test_a_killed_preparation_resumes_and_shares_join_to_the_same_bytes(data, root, tmp_path):
    other = module(root, tmp_path)
    items = other.manifest()
    for share in ((2, 3), (1, 3)):
        prepare_parts(items, other.root, other.folder, other.recipe, num_workers=0, shard=share)
    damaged = part_path(other.folder, items["item"].iloc[0])
    damaged.write_bytes(damaged.read_bytes()[:-200])  # as a kill leaves it on some disks
    (other.folder / "sound-00007.npy.abc.tmp").write_bytes(b"left by a killed merge")
    prepared_by(other)
    names = sorted(path.name for path in data.folder.iterdir())
    assert set(MADE) < set(names) and "sound-00000.npy" in names and "crops-00000.npy" not in names
    assert sorted(path.name for path in other.folder.iterdir()) == names
    for name in names:
        assert (data.folder / name).read_bytes() == (other.folder / name).read_bytes(), name


def test_shards_are_cut_at_their_size(root, tmp_path, monkeypatch, data):
    monkeypatch.setattr("unmask.data.prepare.merge", lambda *given: merge(*given, shard_bytes=60_000))
    small = module(root, tmp_path)
    store = prepared_by(small)
    files = sorted(small.folder.glob("sound-*.npy"))
    assert len(files) > 3 and all(np.load(file).nbytes <= 60_000 for file in files)
    assert np.load(files[0]).dtype == np.int16 and np.load(files[0]).ndim == 1
    for item in store.items["item"]:
        assert (sound_of(store, item) == sound_of(data.store, item)).all()
    assert store.fingerprint == data.store.fingerprint


def test_damage_is_seen_and_named(root, tmp_path):
    data = module(root, tmp_path)
    prepared_by(data)
    path = data.folder / "sound-00000.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"sound-00000.npy.*\n.*data/recipe=sound rerun=true"):
        data.verify()
    from unmask.data.checksums import damaged_crops, damaged_sounds

    assert len(damaged_crops(data.store)) == 0
    assert damaged_sounds(data.store)["item"].tolist() == [data.store.sounds["item"].iloc[-1]]


def test_stores_are_joined_and_a_shared_recording_is_a_leak(root, tmp_path):
    one, two = (module(root, tmp_path, name) for name in ("one", "two"))
    for data in (one, two):
        prepared_by(data)
    joined = JoinedStore([one.store, two.store])
    assert len(joined.sounds) == 24 and joined.sounds["shard"].max() == 100_000
    dataset = SoundSampling(seconds=0.1).samples(joined, joined.items, Recordings())
    apart = [SoundSampling(seconds=0.1).samples(data.store, data.store.items, Recordings()) for data in (one, two)]
    found = {item: joined_row for item, joined_row in zip(dataset.table["item"], dataset.crops(range(24)), strict=True)}
    for each in apart:
        for item, row in zip(each.table["item"], each.crops(range(12)), strict=True):
            assert (found[item] == row).all()
    wav, flac = tmp_path / "raw" / "a.wav", tmp_path / "raw" / "b.flac"
    sound = to_float32(noise(0, 8000))
    save(wav, sound, RATE)
    save(flac, sound, RATE, "flac", "flac")

    class Twice(Source):
        def find_items(self) -> list[Item]:
            return [
                Item("twice/a", "a.wav", 0, "real", predefined="train"),
                Item("twice/b", "b.flac", 0, "real", predefined="test"),
            ]

    data = DataOf(Twice("twice", tmp_path / "raw"), tmp_path, Recordings(), protocol="predefined")
    prepared_by(data)
    with pytest.raises(ManifestError, match=r"the same frame is in two splits: twice/a \(train\), twice/b \(test\)"):
        open_contents(data.members)


def test_rejected_recordings_are_listed(root, tmp_path):
    folder = shutil.copytree(root, tmp_path / "raw")
    (folder / "03.wav").write_bytes(b"RIFF")
    data = module(folder, tmp_path / "prepared")
    store = prepared_by(data)
    rejected = pd.read_csv(data.folder / "rejected.csv")
    assert rejected["path"].tolist() == ["03.wav"] and "not a readable sound file" in rejected["rejected"].iloc[0]
    assert len(store.sounds) == 11


def test_a_complete_store_can_be_reopened(root, tmp_path):
    data = module(root, tmp_path)
    before = prepared_by(data)
    sounds = {item: sound_of(before, item) for item in before.items["item"]}
    manifest = before.items
    reopen(data.root, data.folder, data.recipe)
    again = merge_parts(data.manifest(), data.folder)
    assert all((sound_of(again, item) == sound).all() for item, sound in sounds.items()) and len(manifest) == 12


# -- samples


def test_a_batch_holds_the_contract(data):
    data.setup()
    batch = next(iter(data.val_dataloader()))
    assert batch["x"].dtype == torch.float32 and batch["x"].shape == (4, 8000) and batch["x"].abs().max() <= 1
    assert set(batch) == {"x", "y", "index"} and batch["y"].tolist() == data.samples["val"].labels.tolist()
    moved = data.on_after_batch_transfer(dict(batch), 0)
    assert moved["x"] is batch["x"] and data.blank().shape == (1, 8000)
    assert not data.as_stored


def test_evaluation_reads_evenly_spaced_windows_and_repeats_short_recordings(data):
    store = data.store
    samples = SoundSampling(seconds=0.5, frames_per_video=3).samples(store, store.items, data.recipe)
    assert len(samples) == 36 and samples.table["frame"].tolist() == [0, 1, 2] * 12
    for item, rows in samples.table.groupby("item"):
        whole, x = to_float32(sound_of(store, item)), samples.crops(rows.index.tolist())
        if len(whole) <= 8000:
            assert (rows["time"] == 0).all() and (x == np.resize(whole, 8000)).all()
            continue
        starts = (rows["time"] * RATE).round().astype(int).tolist()
        room = len(whole) - 8000
        assert np.abs(np.array(starts) - room * np.array([1, 3, 5]) / 6).max() <= 1
        assert all((x[at] == whole[start : start + 8000]).all() for at, start in enumerate(starts))


def test_training_draws_anew_each_epoch_by_counting_and_evaluation_never(data):
    store = data.store
    how = SoundSampling(seconds=0.25, frames_per_video=2)
    training = how.samples(store, store.items, data.recipe, seed=7)
    again = how.samples(store, store.items, data.recipe, seed=7)
    long = training.table.index[training.table["item"].str.contains("11")].tolist()
    draws = [training.__getitems__([(epoch, long[0])])["x"] for epoch in range(6)]
    assert len({draw.numpy().tobytes() for draw in draws}) == 6
    later = again.__getitems__([(5, 0), (5, long[0]), (4, long[0])])["x"]  # whatever was drawn before
    assert torch.equal(later[1], draws[5][0]) and torch.equal(later[2], draws[4][0])
    starts = np.array([[training._window(at, np.random.default_rng([7, e, at]))[1] for e in range(200)] for at in long])
    room = SAMPLES["11"] - 4000
    assert starts[0].min() < 0.05 * room and 0.45 * room < starts[0].max() <= room / 2 + 1
    assert room / 2 - 1 <= starts[1].min() < 0.55 * room and 0.95 * room < starts[1].max() <= room
    fixed = how.samples(store, store.items, data.recipe)
    assert torch.equal(fixed.__getitems__([(0, 3)])["x"], fixed.__getitems__([(9, 3)])["x"])


def test_augmentation_gets_floats_and_one_seed_per_sample(data):
    seen = []

    def louder(x, seeds):
        seen.append((x.dtype, tuple(x.shape), len(set(seeds))))
        return 2 * x

    samples = SoundSampling(seconds=0.25).samples(data.store, data.store.items, data.recipe, 1, louder)
    plain = SoundSampling(seconds=0.25).samples(data.store, data.store.items, data.recipe, 1)
    wanted = [(0, 1), (0, 2)]
    assert torch.equal(samples.__getitems__(wanted)["x"], 2 * plain.__getitems__(wanted)["x"])
    assert seen == [(torch.float32, (2, 4000), 2)]


def test_orders_and_tables_are_those_of_crops(data):
    data.setup("fit")
    order, unit = SoundSampling(balance="methods").order(data.samples["train"])
    assert unit == 1 and sorted(order(np.random.default_rng(0))) == list(range(len(data.samples["train"])))
    samples = data.samples["test"]
    table = data.predictions("test", torch.arange(len(samples)), torch.zeros(len(samples)))
    assert set(table["item"]) == set(samples.table["item"]) and table["logit"].eq(0).all()
    crops = data.crops_of(samples.table["item"].iloc[0])
    assert len(crops.pixels) == 0 and (crops.sound == sound_of(data.store, samples.table["item"].iloc[0])).all()
    words = data.protocol_words("test")
    assert words["Data"] == "noises, test split: 2 real and 2 fake recordings"
    assert words["Samples"] == "one window of 0.5 s per recording; shorter recordings are repeated"
    assert words["Crop"] == "sound, one channel, 16 kHz, 16 bits"
    assert words["Aggregation"] == "a recording's score is the mean probability of its samples"


def test_files_outside_of_data_sets_are_read_from_memory():
    sounds = {"a": noise(1, 9000), "b": noise(2, 3000)}
    store = MemoryStore({name: Crops.of_sound(sound, {}) for name, sound in sounds.items()})
    samples = SoundSampling(seconds=0.5).samples(store, store.items, Recordings())
    x = samples.pixels([0, 1])
    assert torch.equal(x[0], torch.from_numpy(to_float32(sounds["a"][500:8500])))
    assert torch.equal(x[1], torch.from_numpy(np.resize(to_float32(sounds["b"]), 8000)))


def test_settings_that_cannot_work_are_named(data):
    with pytest.raises(ValueError, match="frames=4: expected null, because recordings have no frames"):
        SoundSampling(frames=4)
    with pytest.raises(ValueError, match=r"data.sampling.seconds=0: expected"):
        SoundSampling(seconds=0)
    with pytest.raises(ValueError, match="recordings have no masks"):
        SoundSampling().samples(data.store, data.store.items, data.recipe, masks=True)
    bare = MemoryStore({"a": Crops.of_sound(noise(0, 100), {})})
    with pytest.raises(ManifestError, match="12 of 12 items were prepared without sound, such as noises/"):
        SoundSampling().samples(bare, data.store.items, data.recipe)
    with pytest.raises(ValueError, match="reads only sound"):
        data.recipe.cut(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int64), np.zeros(1))


# -- sound beside crops


def faces(number: int, sound: np.ndarray, count: int = 8) -> Crops:
    """Crops at 25 frames per second, and sound."""
    frames = np.arange(count)
    return Crops(
        track=np.zeros(count, np.int64), frame=frames, time=frames / 25, box=np.zeros((count, 4), np.float32),
        landmarks=np.zeros((count, 5, 2), np.float32), prob=np.ones(count, np.float32),
        pixels=np.random.default_rng(number).integers(0, 256, (count, 3, 8, 8)).astype(np.uint8), sound=sound,
    )  # fmt: skip


class Talking:
    """A recipe that gives crops and sound without looking at the file."""

    option, masks, frames, burst, decoder = "faces", False, 8, 8, "pyav"
    suffixes = frozenset({".wav"})

    def describe(self):
        return {"made": "by a test", "decoder": "none"}

    @property
    def key(self):
        return "talking"

    def words(self, image_size):
        return "8 px"

    def __call__(self, path, mask=None):
        return faces(int(path.stem), noise(int(path.stem), SAMPLES[path.stem]))


def test_clips_have_the_sound_around_their_middle(root, tmp_path):
    data = DataOf(Noises("talking", root), tmp_path, Talking(), protocol="predefined", frames=4, consecutive=True,
                  frames_per_video=1, seconds=0.25)  # fmt: skip
    store = prepared_by(data)
    assert len(store.crops) == 12 * 8 and len(store.sounds) == 12 and "samples" not in store.crops
    assert {"crops-00000.npy", "sound-00000.npy"} <= {path.name for path in data.folder.iterdir()}
    data.setup()
    samples = data.samples["test"]
    batch = samples.__getitems__([(0, index) for index in range(len(samples))])
    assert batch["x"].shape == (4, 4, 3, 8, 8) and batch["sound"].shape == (4, 4000)
    assert batch["sound"].dtype == torch.float32
    for row, item in zip(batch["sound"], samples.table["item"], strict=True):
        whole = to_float32(sound_of(store, item))
        middle = round((2 + 5) / 2 / 25 * RATE)  # of frames 2 to 5
        start = middle - 2000
        piece = np.zeros(4000, np.float32)
        piece[max(-start, 0) :][: len(whole) - max(start, 0)] = whole[max(start, 0) :][: 4000 - max(-start, 0)]
        assert np.array_equal(row.numpy(), piece)


def test_faces_are_stored_with_their_sound_and_without_it_as_before(demo_root, tmp_path):
    from unmask.media.recipe import FaceCrops

    assert FaceCrops().key == FaceCrops(sound=False).key != FaceCrops(sound=True).key
    assert "sound" not in FaceCrops().describe()
    recipe = FaceCrops(frames=4, burst=4, crop_size=32, sound=True)
    silent = sorted(demo_root.glob("Celeb-real/*.mp4"))[0]
    with pytest.raises(ValueError, match="the file has no sound"):
        recipe(silent)
    from unmask.media.encode import write_video
    from unmask.media.reader import open_media

    frames = open_media(silent).read(list(range(12)))
    spoken = save(tmp_path / "a.wav", 0.3 * np.sin(np.arange(8000)), RATE)
    write_video(tmp_path / "talk.mp4", frames, 25, sound=spoken)
    crops = recipe(tmp_path / "talk.mp4")
    assert len(crops.pixels) == 4 and abs(len(crops.sound) - 8000) < 2100
    assert crops.statistics["sound_level"] == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=1.5)


# -- the audit and the verbs


def test_the_audit_sees_leading_silence_and_none_where_there_is_none():
    rng, number = np.random.default_rng(1), np.arange(120)
    table = pd.DataFrame({"item": [f"a{n}" for n in number], "label": number % 2, "rejected": None})
    table["method"] = np.where(table["label"], "vocoder", "real")
    table["groups"] = [[f"s{n // 4}"] for n in number]
    table["statistic.level"], table["statistic.bit_rate"] = rng.normal(-27, 2, 120), rng.normal(1e5, 1e4, 120)
    table["statistic.leading_silence"] = rng.uniform(0.1, 0.5, 120)
    assert audit(table)["passed"] is True
    trimmed = table.assign(**{"statistic.leading_silence": table["statistic.leading_silence"] * (1 - table["label"])})
    assert audit(trimmed)["passed"] is False and audit(trimmed)["low"] > 0.9


@pytest.mark.slow
def test_own_recordings_are_prepared_through_the_console(root, tmp_path):
    for number, stem in enumerate(SAMPLES):
        kind = "fake/vocoder" if number % 2 else "real"
        (tmp_path / "raw" / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(root / f"{stem}.wav", tmp_path / "raw" / kind / f"{stem}.wav")
    clip(tmp_path / "raw/real/film.mp4", to_float32(noise(50, RATE)))
    here = ["data=recordings", f"data.root={tmp_path / 'raw'}", "data.split.val_fraction=0.3"]
    done = unmask("prepare", *here, "prepare.num_workers=0", cwd=tmp_path)
    assert "7 real and 6 fake videos and recordings" in done.stdout
    assert "13 items prepared, 0 rejected; 0.2 minutes of sound" in done.stdout
    again = unmask("prepare", *here, "check=true", cwd=tmp_path).stdout
    assert "found: 7 real and 6 fake videos and recordings" in again
