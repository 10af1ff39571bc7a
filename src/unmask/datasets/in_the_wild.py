"""In-the-Wild (arXiv:2203.16263): speech of public figures, genuine and synthetic, collected from the internet.

The generators are unknown. Most people occur with both genuine and synthetic speech.
"""

from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.datasets.asvspoof import require_files
from unmask.datasets.lists import named_once, read_csv

LABELS = {"bona-fide": 0, "spoof": 1}
META = "meta.csv"
METHOD = "in_the_wild"  # of all synthetic recordings


class InTheWild(Source):
    """In-the-Wild: WAV files, and `meta.csv` with their speakers and labels."""

    HOME = "https://deepfake-total.com/in_the_wild (Apache 2.0 licence)"
    LAYOUT = f"""\
  {META}    `file,speaker,label`: bona-fide or spoof
  0.wav       to 31778.wav, 31,779 recordings; also in release_in_the_wild/
To evaluate on all recordings, set data.split.protocol=random_groups data.split.test_fraction=1."""
    PROTOCOL_WORDS = {
        **Source.PROTOCOL_WORDS,
        "random_groups": "whole speakers, assigned at random with seed {seed}",
    }
    PUBLISHED = {"in_the_wild": {"real": 19_963, "fake": 11_816}}  # number of rows of its meta.csv with each label

    def find_items(self) -> list[Item]:
        """Return one item per recording; its group is the speaker."""
        folder = next((self.root / at for at in ("", "release_in_the_wild") if (self.root / at / META).is_file()), None)
        if folder is None:
            raise ManifestError(f"{self.root / META} is missing\n{self.explain()}")
        path = folder / META
        head, *rows = read_csv(path) or [[]]
        if head != ["file", "speaker", "label"]:
            raise ManifestError(f"{path}, line 1: expected the header `file,speaker,label`, but got {','.join(head)}")
        for number, row in enumerate(rows, 2):
            if row and (len(row) != 3 or row[2] not in LABELS):
                raise ManifestError(
                    f"{path}, line {number}: expected `FILE,SPEAKER,LABEL` with {' or '.join(LABELS)}, but got "
                    f"'{','.join(row)[:80]}'"
                )
        listed = named_once(path, [(number, row[0], (row[1], row[2])) for number, row in enumerate(rows, 2) if row])
        require_files(path, [folder / name for name in listed])
        return [
            self._item((folder / name).relative_to(self.root).as_posix(), speaker, LABELS[label])
            for name, (speaker, label) in listed.items()
        ]

    def _item(self, path: str, speaker: str, label: int) -> Item:
        method, stem = METHOD if label else "real", path.rpartition("/")[2].removesuffix(".wav")
        return Item(f"{self.name}/{method}/{stem}", path, label, method, groups=(f"{self.name}/{speaker}",))
