"""WaveFake (arXiv:2111.02813): speech that vocoders resynthesised from recordings of two voices, LJ Speech and JSUT.

WaveFake contains only the fakes. The genuine recordings are LJ Speech 1.1 and the part basic5000 of JSUT 1.1, which
have to be put beside them. A fake and the recording it was made from have the same name and are in the same split.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source

REAL = {"ljspeech": "LJSpeech-1.1/wavs", "jsut": "jsut_ver1.1/basic5000/wav"}  # voice -> folder of genuine recordings
FAKES = re.compile(r"(?P<voice>ljspeech|jsut|common_voices)_(?P<method>\w+)")  # folders of fakes
NAME = re.compile(r"(.+?)(?:_gen|_generated)?")  # of a fake: the name of its original, and a suffix


class WaveFake(Source):
    """WaveFake: one folder per voice and vocoder, beside the genuine recordings."""

    HOME = (
        "https://zenodo.org/records/5642694 (CC BY-SA 4.0); genuine recordings: https://keithito.com/LJ-Speech-Dataset "
        "and https://sites.google.com/site/shinnosuketakamichi/publication/jsut"
    )
    LAYOUT = f"""\
  generated_audio/ljspeech_melgan/LJ001-0001_gen.wav    10 folders, 104,885 fakes; also in data.root itself
  {REAL["ljspeech"]}/LJ001-0001.wav               13,100 genuine recordings
  {REAL["jsut"]}/BASIC5000_0001.wav     optional: 5,000 genuine recordings"""
    PROTOCOL_WORDS = {
        **Source.PROTOCOL_WORDS,
        "random_groups": "whole utterances, assigned at random with seed {seed}: a recording and all fakes made from "
        "it are in one split. There are only two voices, so every split contains both",
    }
    PUBLISHED = {"wavefake": {"real": 13_100 + 5_000, "fake": 104_885}}  # of its Zenodo page and of both real data sets

    def find_items(self) -> list[Item]:
        """Return one item per recording; its group is the utterance."""
        real = {voice: self._files(self.root / folder) for voice, folder in REAL.items()}
        items = [item for voice, files in real.items() for item in self._real(voice, files)]
        if not items:
            raise ManifestError(f"no genuine recordings in {self.root / REAL['ljspeech']}\n{self.explain()}")
        known = {item.item for item in items}
        place = self.root / "generated_audio" if (self.root / "generated_audio").is_dir() else self.root
        for folder in sorted(entry for entry in place.iterdir() if entry.is_dir()):
            if match := FAKES.fullmatch(folder.name):
                items += self._fake(match["voice"], folder.name, self._files(folder), known)
        if all(item.label == 0 for item in items):
            raise ManifestError(f"no folder of fakes, such as ljspeech_melgan, in {place}\n{self.explain()}")
        return items

    def _files(self, folder: Path) -> list[Path]:
        return sorted(folder.glob("*.wav"))

    def _real(self, voice: str, files: list[Path]) -> Iterator[Item]:
        for file in files:
            path = file.relative_to(self.root).as_posix()
            groups = (f"{self.name}/{voice}/{file.stem}",)
            yield Item(f"{self.name}/real/{file.stem}", path, 0, "real", groups=groups)

    def _fake(self, voice: str, method: str, files: list[Path], known: set[str]) -> Iterator[Item]:
        for file in files:
            match = NAME.fullmatch(file.stem)
            stem = match[1] if match else file.stem
            source = f"{self.name}/real/{stem}"
            path, groups = file.relative_to(self.root).as_posix(), (f"{self.name}/{voice}/{stem}",)
            origin = source if source in known else None
            yield Item(f"{self.name}/{method}/{file.stem}", path, 1, method, origin, groups)
