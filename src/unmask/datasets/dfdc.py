"""DFDC, the Deepfake Detection Challenge (arXiv:2006.07397): its training parts, its public test set, or both.

Each training part has a metadata.json that names the original of each fake. The public test set has a labels.csv. An
original and its fakes are kept in one split. But the people are not named, so a person may be in several splits.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from unmask.config import Settings
from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.datasets.lists import named_once, read_csv, read_json

LABELS = {"REAL": 0, "FAKE": 1}
MARKS = ("0 (real)", "1 (fake)")  # labels in the test list
METADATA, TEST_LIST = "metadata.json", "labels.csv"
TEST_FOLDER = "test_videos"  # folder of the videos of a labels.csv in Kaggle's copy


class DFDC(Source):
    """DFDC: training parts, which are folders with a metadata.json, and test sets, which have a labels.csv.

    An original and its fakes are in the same split.
    """

    HOME = "https://ai.meta.com/datasets/dfdc (with an account; for research), or Kaggle's deepfake-detection-challenge"
    LAYOUT = f"""\
  dfdc_train_part_0/{METADATA}    {{"x.mp4": {{"label": "FAKE", "original": "y.mp4"}}, ...}}; 50 parts in full
  dfdc_train_part_0/*.mp4            19,154 real and 100,000 fake videos in all parts
  test/{TEST_LIST}                    optional: `filename,label`, 1 = fake
  test/*.mp4                         its videos, or in {TEST_FOLDER}/
Folders may have any name, or data.root may be such a folder itself. With a test set, all parts are for training and
validation; without a test set, the parts are split at random by original video."""
    PROTOCOL_WORDS = {
        **Source.PROTOCOL_WORDS,
        "predefined": "the public test set; validation by original video. Identities are unknown, so a person may be "
        "in two splits",
        "identity_disjoint": "an original and its fakes stay together; identities are unknown, so a person may be in "
        "two splits",
        "random_groups": "an original and its fakes stay together, assigned at random with seed {seed}; identities are "
        "unknown, so a person may be in two splits",
    }
    ELSE_RANDOM_GROUPS = True
    # Numbers of videos in the lists of the training parts and the public test set (polimi-ispl/icpr2020dfdc, issue 63).
    PARTS, PUBLIC_TEST = {"real": 19_154, "fake": 100_000}, {"real": 2500, "fake": 2500}

    def find_items(self) -> list[Item]:
        """Return one item per listed video; labels and originals are taken from the lists."""
        tests, parts = (
            sorted({path.parent for depth in ("", "*/", "*/*/") for path in self.root.glob(f"{depth}{name}")})
            for name in (TEST_LIST, METADATA)
        )
        parts = [place for place in parts if place not in tests]
        if not tests and not parts:
            raise ManifestError(f"no {METADATA} and no {TEST_LIST} below {self.root}\n{self.explain()}")
        items = [item for place in parts for item in self._part(place, "train" if tests else None)]
        return items + [item for place in tests for item in self._test(place)]

    def published(self, items: pd.DataFrame) -> dict[str, int]:
        """Return the published numbers of real and fake videos of the parts that this copy contains."""
        if self.demo:
            return {}
        tests = items["predefined"] == "test"
        held = [count for count, there in ((self.PARTS, ~tests), (self.PUBLIC_TEST, tests)) if there.any()]
        return {kind: sum(count[kind] for count in held) for kind in ("real", "fake")}

    def _part(self, place: Path, predefined: str | None) -> Iterator[Item]:
        """Yield one item for each video in a metadata.json."""
        entries = read_metadata(place / METADATA)
        self._check_there(place / METADATA, [place / name for name in entries])
        for name, entry in entries.items():
            label, original = LABELS[entry["label"]], entry.get("original")
            group = Path(original if label and original else name).stem
            source = f"{self.name}/real/{group}" if label and original in entries else None
            yield self._item(place / name, label, source, predefined, (f"{self.name}/{group}",))

    def _test(self, place: Path) -> Iterator[Item]:
        """Yield one item for each line of a labels.csv; this list does not name the originals of fakes."""
        inside = place / TEST_FOLDER
        files = {(inside if inside.is_dir() else place) / name: label for name, label in read_labels(place / TEST_LIST)}
        self._check_there(place / TEST_LIST, list(files))
        for file, label in files.items():
            yield self._item(file, label, None, "test", (f"{self.name}/{file.stem}",))

    def _item(
        self, file: Path, label: int, source: str | None, predefined: str | None, groups: tuple[str, ...]
    ) -> Item:
        method = "dfdc" if label else "real"
        path = file.relative_to(self.root).as_posix()
        return Item(f"{self.name}/{method}/{file.stem}", path, label, method, source, groups, predefined=predefined)

    def _check_there(self, listing: Path, files: list[Path]) -> None:
        if lost := [file for file in files if not file.exists()]:
            raise ManifestError(
                f"{len(lost)} of {len(files)} videos in {listing} are missing, such as {lost[0]}: the download is "
                "incomplete"
            )


def read_metadata(path: Path) -> dict[str, Settings]:
    """Read the metadata.json of a training part: {file name: {`label`: REAL or FAKE, `original`: only for fakes}}.

    Raises:
        ManifestError: the file has another format, or a label contradicts an `original`.
    """
    try:
        entries: dict[str, Settings] = read_json(path)
        wrong = [name for name, entry in entries.items() if entry["label"] not in LABELS]
    except ManifestError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        example = '{"x.mp4": {"label": "FAKE", "original": "y.mp4"}}'
        raise ManifestError(f"{path}: expected {example} ({error!r})") from None
    if wrong:
        raise ManifestError(f"{path}: the label of {wrong[0]} is '{entries[wrong[0]]['label']}', not REAL or FAKE")
    for name, entry in entries.items():
        original = entry.get("original")
        if original and (entry["label"] == "REAL" or entries.get(original, {"label": "REAL"})["label"] == "FAKE"):
            raise ManifestError(
                f"{path}: {name} is labelled {entry['label']} and made from {original}; expected a FAKE made from "
                "a REAL video: are the labels swapped?"
            )
    return entries


def read_labels(path: Path) -> list[tuple[str, int]]:
    """Read the list of the public test set; return pairs (file name, label) with 0 real, 1 fake.

    Raises:
        ManifestError: a line is malformed, or two lines label a video differently; the message names the lines.
    """
    rows = read_csv(path)
    if not rows or rows[0] != ["filename", "label"]:
        raise ManifestError(f"{path}, line 1: expected the header `filename,label`")
    for number, row in enumerate(rows[1:], 2):
        if row and (len(row) != 2 or row[1] not in ("0", "1")):
            raise ManifestError(
                f"{path}, line {number}: expected `FILENAME,LABEL` with 0 or 1 (fake), but got '{','.join(row)}'"
            )
    labels = named_once(path, [(number, row[0], MARKS[int(row[1])]) for number, row in enumerate(rows[1:], 2) if row])
    return [(name, MARKS.index(mark)) for name, mark in labels.items()]
