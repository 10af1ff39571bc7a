"""The official layouts of sound data sets in small: labels, attacks, speakers, splits, and what is missing."""

import json
from pathlib import Path

import pandas as pd
import pytest

from conftest import compose
from datamodules import DataOf, from_config
from unmask.data.manifest import ManifestError
from unmask.datasets.asvspoof import ASVspoof2019, ASVspoof2021
from unmask.datasets.avdeepfake1m import AVDeepfake1M, segments
from unmask.datasets.fakeavceleb import TYPES, FakeAVCeleb
from unmask.datasets.in_the_wild import InTheWild
from unmask.datasets.wavefake import WaveFake
from unmask.media.recordings import Recordings


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())
    return root


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def of(source, **options) -> DataOf:
    return DataOf(source, source.root.parent / "prepared", Recordings(), **{"protocol": "predefined", **options})


def one_split_per_group(items: pd.DataFrame) -> bool:
    return bool((items.explode("groups").groupby("groups")["split"].nunique() == 1).all())


# -- ASVspoof 2019 LA

LA = {
    "train.trn": ["LA_0079 LA_T_1138215 - - bonafide", "LA_0079 LA_T_1004644 - A05 spoof",
                  "LA_0080 LA_T_1000137 - - bonafide", "LA_0080 LA_T_9999999 - A01 spoof"],
    "dev.trl": ["LA_0069 LA_D_1047731 - - bonafide", "LA_0070 LA_D_1105538 - A03 spoof"],
    "eval.trl": ["LA_0039 LA_E_2834763 - A11 spoof", "LA_0014 LA_E_8877452 - A14 spoof",
                 "LA_0031 LA_E_1665632 - - bonafide"],
}  # fmt: skip


def la(root: Path, inside: str = "") -> Path:
    for name, lines in LA.items():
        write(root / f"{inside}ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{name}.txt", "\n".join(lines) + "\n")
        part = name.partition(".")[0]
        tree(root, *(f"{inside}ASVspoof2019_LA_{part}/flac/{line.split()[1]}.flac" for line in lines))
    return root


@pytest.mark.parametrize("inside", ["", "LA/"])
def test_asvspoof_2019_reads_keys_attacks_speakers_and_its_three_sets(tmp_path, inside):
    items = of(ASVspoof2019("la", la(tmp_path / "raw", inside))).manifest().set_index("item")
    fake = items.loc["la/A05/LA_T_1004644"]
    assert (fake["label"], fake["method"], fake["split"], list(fake["groups"])) == (1, "A05", "train", ["la/LA_0079"])
    assert fake["path"] == f"{inside}ASVspoof2019_LA_train/flac/LA_T_1004644.flac"
    real = items.loc["la/real/LA_E_1665632"]
    assert (real["label"], real["split"]) == (0, "test")
    assert items["split"].value_counts().to_dict() == {"train": 4, "test": 3, "val": 2} and one_split_per_group(items)


def test_asvspoof_2019_a_missing_set_is_left_out_and_a_missing_file_named(tmp_path):
    root = la(tmp_path / "raw")
    protocols = root / "ASVspoof2019_LA_cm_protocols"
    (protocols / "ASVspoof2019.LA.cm.train.trn.txt").unlink()
    assert set(of(ASVspoof2019("la", root)).manifest()["split"]) == {"val", "test"}
    (root / "ASVspoof2019_LA_dev/flac/LA_D_1105538.flac").unlink()
    with pytest.raises(ManifestError, match=r"1 of 2 recordings in .*dev.trl.txt are missing, such as .*LA_D_1105538"):
        of(ASVspoof2019("la", root)).manifest()
    for path in protocols.iterdir():
        path.unlink()
    with pytest.raises(ManifestError, match=r"no protocol in .*\nla: download it from https://datashare.ed.ac.uk"):
        of(ASVspoof2019("la", root)).manifest()


@pytest.mark.parametrize(
    "line",
    ["LA_0079 LA_T_1 - - fake", "LA_0079 LA_T_1 bonafide", "LA_0079 LA_T_1 - - spoof", "LA_0079 LA_T_1 - A01 bonafide"],
)
def test_asvspoof_2019_a_malformed_line_is_named(tmp_path, line):
    root = la(tmp_path / "raw")
    write(root / "ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.train.trn.txt", f"{LA['train.trn'][0]}\n{line}\n")
    with pytest.raises(ManifestError, match=r"train.trn.txt, line 2: expected `SPEAKER FILE - SYSTEM KEY`"):
        of(ASVspoof2019("la", root)).manifest()


def test_asvspoof_2019_a_speaker_in_two_sets_is_refused(tmp_path):
    root = la(tmp_path / "raw")
    path = root / "ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.dev.trl.txt"
    path.write_text(path.read_text().replace("LA_0069", "LA_0079"))
    data = of(ASVspoof2019("la", root))
    assert "predefined" in data.source.DISJOINT
    assert data.source.PROTOCOL_WORDS["predefined"].endswith("without common speakers")


# -- ASVspoof 2021 DF

DF = """\
LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress traditional_vocoder - - - -
TEF2 DF_E_2000013 low_m4a vcc2020 Task1-team20 spoof notrim eval neural_vocoder_nonautoregressive Task1 team20 FF E
LA_0043 DF_E_2000027 mp3m4a asvspoof bonafide bonafide notrim eval bonafide - - - -
"""


def test_asvspoof_2021_is_for_testing_and_keeps_codec_and_vocoder(tmp_path):
    root = tree(tmp_path / "raw", "ASVspoof2021_DF_eval/flac/DF_E_2000013.flac",
                "ASVspoof2021_DF_eval_part01/ASVspoof2021_DF_eval/flac/DF_E_2000027.flac")  # fmt: skip
    write(root / "keys/DF/CM/trial_metadata.txt", DF)
    items = of(ASVspoof2021("df", root)).manifest().set_index("item")
    assert len(items) == 2 and set(items["split"]) == {"test"}, "only the subset eval is read"
    fake = items.loc["df/Task1-team20/DF_E_2000013"]
    assert (fake["label"], fake["attribute.codec"], fake["attribute.vocoder"]) == (
        1, "low_m4a", "neural_vocoder_nonautoregressive",
    )  # fmt: skip
    assert items.loc["df/real/DF_E_2000027", ["label", "method", "attribute.source"]].tolist() == [
        0,
        "real",
        "asvspoof",
    ]
    with pytest.raises(
        ManifestError, match=r"1 of 3 recordings in .*trial_metadata.txt are missing, such as DF_E_20000"
    ):
        of(ASVspoof2021("df", root, "all")).manifest()
    with pytest.raises(ValueError, match=r"data.subset=test: expected one of progress, eval, hidden, all"):
        ASVspoof2021("df", root, "test")
    (root / "keys/DF/CM/trial_metadata.txt").unlink()
    with pytest.raises(ManifestError, match=r"keys/DF/CM/trial_metadata.txt is missing"):
        of(ASVspoof2021("df", root)).manifest()


# -- In-the-Wild


def wild(root: Path, folder: str = "") -> Path:
    people = [f"Person {n}" for n in range(8)]
    rows = [f"{n}.wav,{people[n // 4]},{'spoof' if n % 2 else 'bona-fide'}" for n in range(32)]
    write(root / folder / "meta.csv", "\n".join(["file,speaker,label", *rows]))
    return tree(root, *(f"{folder}{n}.wav" for n in range(32)))


@pytest.mark.parametrize("folder", ["", "release_in_the_wild/"])
def test_in_the_wild_keeps_speakers_apart(tmp_path, folder):
    data = of(InTheWild("in_the_wild", wild(tmp_path / "raw", folder)), protocol="random_groups", val_fraction=0.3)
    items = data.manifest().set_index("item")
    assert items.loc["in_the_wild/in_the_wild/1", ["label", "path"]].tolist() == [1, f"{folder}1.wav"]
    assert items.loc["in_the_wild/real/4", "groups"] == ["in_the_wild/Person 1"]
    assert set(items["split"]) == {"train", "val", "test"} and one_split_per_group(items)
    assert data.source.published(items.reset_index()) == {"real": 19_963, "fake": 11_816}
    whole = of(data.source, protocol="random_groups", test_fraction=1.0).manifest()
    assert set(whole["split"]) == {"test"}


def test_in_the_wild_names_what_is_wrong(tmp_path):
    root = wild(tmp_path / "raw")
    lines = (root / "meta.csv").read_text().splitlines()
    for changed, reason in (
        (["name,who,label", *lines[1:]], "line 1: expected the header `file,speaker,label`, but got name,who,label"),
        (
            [*lines[:3], "2.wav,Person 0,real", *lines[4:]],
            r"line 4: expected `FILE,SPEAKER,LABEL` with bona-fide or spo",
        ),
        ([*lines, "99.wav,Person 0,spoof"], r"1 of 33 recordings in .*meta.csv are missing, such as .*99.wav"),
        ([*lines, "0.wav,Person 0,spoof"], "contradict each other"),
    ):
        (root / "meta.csv").write_text("\n".join(changed))
        with pytest.raises(ManifestError, match=reason):
            of(InTheWild("in_the_wild", root), protocol="random_groups").manifest()


# -- WaveFake


def wavefake(root: Path, place: str = "generated_audio/") -> Path:
    names = [f"LJ{n:03d}-0001" for n in range(10)]
    tree(root, *(f"LJSpeech-1.1/wavs/{name}.wav" for name in names))
    tree(root, *(f"jsut_ver1.1/basic5000/wav/BASIC5000_{n:04d}.wav" for n in range(3)))
    tree(root, *(f"{place}ljspeech_{m}/{name}_gen.wav" for m in ("melgan", "hifiGAN") for name in names))
    tree(root, *(f"{place}jsut_parallel_wavegan/BASIC5000_{n:04d}_gen.wav" for n in range(3)))
    other = f"{place}common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech"
    return tree(root, f"{other}/gen_0.wav", f"{other}/generated/gen_0.wav", "notes/readme.txt")


@pytest.mark.parametrize("place", ["generated_audio/", ""])
def test_wavefake_keeps_a_recording_with_its_fakes(tmp_path, place):
    data = of(WaveFake("wavefake", wavefake(tmp_path / "raw", place)), protocol="random_groups", val_fraction=0.3)
    items = data.manifest().set_index("item")
    fake = items.loc["wavefake/ljspeech_melgan/LJ003-0001_gen"]
    assert (fake["label"], fake["method"], fake["source"]) == (1, "ljspeech_melgan", "wavefake/real/LJ003-0001")
    assert items.loc["wavefake/jsut_parallel_wavegan/BASIC5000_0002_gen", "source"] == "wavefake/real/BASIC5000_0002"
    assert items.groupby("label").size().tolist() == [13, 20 + 3 + 1], "a folder `generated` holds the same files again"
    assert set(items["split"]) == {"train", "val", "test"} and one_split_per_group(items)
    assert "only two voices" in data.source.PROTOCOL_WORDS["random_groups"]


def test_wavefake_names_what_is_missing(tmp_path):
    with pytest.raises(ManifestError, match=r"no genuine recordings in .*LJSpeech-1.1/wavs"):
        WaveFake("wavefake", tree(tmp_path / "a", "ljspeech_melgan/LJ001-0001_gen.wav")).find_items()
    with pytest.raises(ManifestError, match=r"no folder of fakes, such as ljspeech_melgan, in"):
        WaveFake("wavefake", tree(tmp_path / "b", "LJSpeech-1.1/wavs/LJ001-0001.wav")).find_items()


# -- FakeAVCeleb

HEAD = "source,target1,target2,method,category,type,race,gender,path,"


def celeb(root: Path) -> Path:
    rows, paths = [], []
    for n in range(8):
        me, other = f"id{n:05d}", f"id{n ^ 1:05d}"
        for method, letter, kind, target, name in (
            ("real", "A", "RealVideo-RealAudio", "-", "00001.mp4"),
            ("rtvc", "B", "RealVideo-FakeAudio", "-", "00001_fake.mp4"),
            ("wav2lip", "C", "FakeVideo-RealAudio", "5", "00001_5_wavtolip.mp4"),
            ("faceswap-wav2lip", "D", "FakeVideo-FakeAudio", other, f"00001_{other}_wavtolip.mp4"),
        ):
            folder = f"{kind}/African/men/{me}"
            rows.append(f"{me},{target},-,{method},{letter},{kind},African,men,{name},FakeAVCeleb/{folder}")
            paths.append(f"{folder}/{name}")
    write(root / "meta_data.csv", "\n".join([HEAD, *rows]))
    return tree(root, *paths)


@pytest.mark.parametrize(("judged", "counts"), [("sound", [16, 16]), ("image", [16, 16]), ("either", [8, 24])])
def test_fakeavceleb_is_labelled_by_sound_image_or_either(tmp_path, judged, counts):
    source = FakeAVCeleb("fakeavceleb", celeb(tmp_path / "raw"), judged)
    data = of(source, protocol="random_groups", val_fraction=0.3)
    items = data.manifest()
    assert items.groupby("label").size().tolist() == counts
    kinds = {(kind, label) for kind, label in zip(items["attribute.type"], items["label"], strict=True)}
    wanted = {"sound": "FakeAudio", "image": "FakeVideo", "either": "Fake"}[judged]
    assert kinds == {(kind, int(wanted in kind)) for kind in TYPES}
    assert set(items["split"]) == {"train", "val", "test"} and one_split_per_group(items)
    swapped = items[items["path"].str.endswith("00001_id00001_wavtolip.mp4")].iloc[0]
    assert list(swapped["groups"]) == ["fakeavceleb/id00000", "fakeavceleb/id00001"], "also the person swapped in"
    assert swapped["source"] == "fakeavceleb/real/RealVideo-RealAudio/African/men/id00000/00001"
    published = source.published(items)
    assert (
        sum(published.values()) == 21_566
        and published["real"] == {"sound": 10_209, "image": 1000, "either": 500}[judged]
    )


def test_fakeavceleb_names_what_is_wrong(tmp_path):
    root = celeb(tmp_path / "raw")
    with pytest.raises(ValueError, match=r"data.judged=audio: expected one of either, sound, image"):
        FakeAVCeleb("fakeavceleb", root, "audio")
    (root / "RealVideo-FakeAudio/African/men/id00003/00001_fake.mp4").unlink()
    with pytest.raises(ManifestError, match=r"1 of 32 recordings .* such as RealVideo-FakeAudio/African/men/id00003/"):
        FakeAVCeleb("fakeavceleb", root).find_items()
    text = (root / "meta_data.csv").read_text()
    (root / "meta_data.csv").write_text(text.replace("RealVideo-RealAudio", "Unknown", 1))
    with pytest.raises(ManifestError, match="line 2: expected a row of source,target1"):
        FakeAVCeleb("fakeavceleb", root).find_items()
    (root / "meta_data.csv").write_text(text.replace("race", "origin", 1))
    with pytest.raises(ManifestError, match=r"line 1: expected the columns .*; race missing"):
        FakeAVCeleb("fakeavceleb", root).find_items()


# -- AV-Deepfake1M


def million(root: Path) -> Path:
    kinds = {"real": "real", "real_video_fake_audio": "audio_modified", "fake_video_real_audio": "visual_modified",
             "fake_video_fake_audio": "both_modified"}  # fmt: skip
    for part, people in (("train", range(4)), ("val", range(4, 6))):
        entries = []
        for person in people:
            for name, kind in kinds.items():
                file = f"id{person:05d}/abc/00001/{name}.mp4"
                entries.append({
                    "file": file, "original": None if kind == "real" else f"id{person:05d}/abc/00001/real.mp4",
                    "split": part, "modify_type": kind, "audio_model": "vits", "fake_segments": [[1.2, 1.56]],
                    "audio_fake_segments": [[1.2, 1.56], [2, 2.5]] if "fake_audio" in name else [],
                    "visual_fake_segments": [[1.2, 1.6]] if "fake_video" in name else [],
                    "video_frames": 100, "audio_frames": 64000,
                })  # fmt: skip
                tree(root, f"{part}/{file}")
        write(root / f"{part}_metadata.json", entries)
    return root


def test_avdeepfake1m_keeps_segments_originals_and_people(tmp_path):
    data = of(AVDeepfake1M("avdeepfake1m", million(tmp_path / "raw")), val_fraction=0.3)
    items = data.manifest().set_index("item")
    fake = items.loc["avdeepfake1m/audio_modified/train/id00002/abc/00001/real_video_fake_audio"]
    assert (fake["label"], fake["attribute.sound_segments"], fake["attribute.image_segments"]) == (
        1, "1.20-1.56;2.00-2.50", "",
    )  # fmt: skip
    assert fake["source"] == "avdeepfake1m/real/train/id00002/abc/00001/real"
    assert items.groupby("label").size().tolist() == [12, 12], "forged images with genuine sound count as real"
    assert set(items.loc[items["path"].str.startswith("val/"), "split"]) == {"test"} and one_split_per_group(items)
    assert (items["split"] == "val").any()
    every = AVDeepfake1M("avdeepfake1m", data.root, "either").find_items()
    assert sum(item.label for item in every) == 18
    assert segments([]) == "" and segments([(0, 0.5)]) == "0.00-0.50"


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"a.mp4": {}}, "expected .*modify_type"),
        (
            [{"file": "id1/a/1/real.mp4", "modify_type": "unknown"}],
            "has the modify_type 'unknown'; expected one of real",
        ),
        ([{"file": "id1/a/1/real.mp4", "modify_type": "real"}], r"1 of 1 recordings .* such as train/id1/a/1/real.mp4"),
        ([{"file": "../../x.mp4", "modify_type": "real"}], "expected a path below the folder of the list"),
        ([{"file": "a.mp4", "modify_type": "real"}] * 2, "1 clips are listed twice"),
    ],
)
def test_avdeepfake1m_names_what_is_wrong(tmp_path, entries, reason):
    write(tmp_path / "raw/train_metadata.json", entries)
    with pytest.raises(ManifestError, match=reason):
        AVDeepfake1M("avdeepfake1m", tmp_path / "raw").find_items()


# -- configs


@pytest.mark.parametrize(
    "name",
    ["asvspoof2019_la", "asvspoof2021_df", "in_the_wild", "wavefake", "fakeavceleb", "fakeavceleb_av", "avdeepfake1m",
     "avdeepfake1m_av", "demo_voices", "recordings"],
)  # fmt: skip
def test_every_config_builds_its_data_module(tmp_path, name):
    given = [f"data={name}", f"data.root={tmp_path}", f"paths.out={tmp_path}", "augment@data.augment=none"]
    data = from_config(compose("train", given))
    beside = name.endswith("_av")
    assert data.recipe.option == ("faces" if beside else "sound")
    assert data.sampling.seconds == {"demo_voices": 3.0}.get(name, 1.0 if beside else 4.0)
    assert data.blank().shape == ((1, 3, 256, 256) if beside else (1, round(16_000 * data.sampling.seconds)))
    command = data.members[0][0].command()
    assert command.startswith(f"unmask prepare data={name.removesuffix('_av')} data")


def test_an_augmentation_of_pictures_is_refused_for_sound(tmp_path):
    given = ["data=demo_voices", f"data.root={tmp_path}", f"paths.out={tmp_path}"]
    for chosen, names in ((["light"], "ColorJitter, RandomHorizontalFlip"), (["handling"], ".*Jpeg|.*JPEG")):
        with pytest.raises(ValueError, match=rf"transforms pictures \(.*({names}).*set augment@data.augment=none"):
            from_config(compose("train", [*given, f"augment@data.augment={chosen[0]}"]))
