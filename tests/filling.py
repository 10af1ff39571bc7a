"""A recipe that fills the memory at one file; on its own, as each new worker imports it again."""

from pathlib import Path

from test_workers import fill
from unmask.media.crops import Crops
from unmask.media.pictures import WholePictures


class Filling(WholePictures):
    """Takes 1.5 GB for one file."""

    def __call__(self, path: Path, mask: Path | None = None) -> Crops:
        if path.parts[-2:] == ("real", "1.png"):
            fill(1.5)
        return super().__call__(path)
