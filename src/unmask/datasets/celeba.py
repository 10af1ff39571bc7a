"""CelebA, aligned and cropped (Liu et al., ICCV 2015): photographs of celebrities with forty attributes, all real.

CelebA is used for generators, and for detectors trained on real faces only. The lists may be the authors' (.txt, in
Anno/ and Eval/ or next to the folder of pictures) or Kaggle's (.csv with a header).
"""

import warnings
from pathlib import Path

from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.datasets.lists import named_once, read_csv, read_text, the_only

PICTURES = "img_align_celeba"
ATTRIBUTES, PARTITION, IDENTITY = "list_attr_celeba", "list_eval_partition", "identity_CelebA"
SPLITS = {0: "train", 1: "val", 2: "test"}

Table = dict[str, list[int]]  # file name of a picture -> values of the picture


class CelebA(Source):
    """CelebA: the pictures in `img_align_celeba`. Attributes, official split and identities are read if they exist."""

    HOME = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (for research), or Kaggle's celeba-dataset"
    LAYOUT = f"""\
  {PICTURES}/000001.jpg           202,599 pictures of 178x218 px
  {ATTRIBUTES}.txt or .csv        optional: 40 attributes, 1 or -1
  {PARTITION}.txt or .csv     optional: the official split: 0 train, 1 val, 2 test
  {IDENTITY}.txt                 optional: the person in each picture
The lists are in data.root or in its folders Anno/ and Eval/. Without the official split, people are assigned to splits
at random."""
    PROTOCOL_WORDS = {**Source.PROTOCOL_WORDS, "predefined": "the official partition"}
    ELSE_RANDOM_GROUPS = True
    PUBLISHED = {"celeba": {"real": 202_599, "fake": 0}}  # from HOME

    def find_items(self) -> list[Item]:
        """Return one item per picture, all real."""
        files = self._pictures()
        names, attributes = self._table(ATTRIBUTES, {-1, 1}, "attributes are not available")
        _, partition = self._table(PARTITION, set(SPLITS), "whole groups are assigned to splits at random")
        _, identity = self._table(IDENTITY, None, "each picture forms its own group")
        for what, table in ((ATTRIBUTES, attributes), (PARTITION, partition), (IDENTITY, identity)):
            self._compare(what, table, files)
        return [
            Item(
                f"{self.name}/real/{file.stem}",
                file.relative_to(self.root).as_posix(),
                0,
                "real",
                groups=tuple(f"{self.name}/person{who}" for who in identity.get(file.name, ())),
                predefined=SPLITS[partition[file.name][0]] if partition else None,
                attributes={
                    name: int(value == 1) for name, value in zip(names, attributes.get(file.name, ()), strict=False)
                },
            )
            for file in files
        ]

    def _pictures(self) -> list[Path]:
        """Return the sorted pictures; Kaggle's copy contains them in `img_align_celeba/img_align_celeba`."""
        for place in (self.root / PICTURES / PICTURES, self.root / PICTURES):
            if files := sorted(place.glob("*.jpg")):
                return files
        raise ManifestError(f"no .jpg in {self.root / PICTURES}\n{self.explain()}")

    def _table(self, name: str, allowed: set[int] | None, without: str) -> tuple[list[str], Table]:
        """Return the column names and rows of a list; if the list is missing, warn, and return empty results."""
        places = [self.root / folder / f"{name}{kind}" for folder in ("", "Anno", "Eval") for kind in (".txt", ".csv")]
        path = the_only(places, f"the list {name}")
        if path is not None:
            return read_table(path, 2 if name == ATTRIBUTES else 0, allowed)
        warnings.warn(f"{self.root} contains no {name}.txt or .csv: {without}", stacklevel=4)
        return [], {}

    def _compare(self, name: str, table: Table, files: list[Path]) -> None:
        """Raise an error if a list lacks a picture that exists; warn if it contains pictures that do not exist."""
        if table and (bare := [file.name for file in files if file.name not in table]):
            raise ManifestError(f"{name}: {len(bare)} of {len(files)} pictures have no line, such as {bare[0]}")
        if len(table) > len(files):
            warnings.warn(
                f"{name} lists {len(table)} pictures, but {self.root} contains {len(files)}: the download is "
                "incomplete, so results are not those of the whole data set",
                stacklevel=4,
            )


def read_table(path: Path, header: int, allowed: set[int] | None) -> tuple[list[str], Table]:
    """Read the integers of each picture from a list: the authors' .txt, or Kaggle's .csv with one header line.

    Args:
        path: the file.
        header: number of header lines in a .txt; the last of these lines names the columns.
        allowed: allowed values; None allows all.

    Returns:
        The column names (empty if the file has none) and the values of each picture.

    Raises:
        ManifestError: a line is malformed, or two lines contradict each other; the message names the lines.
    """
    commas = path.suffix == ".csv"
    rows = read_csv(path) if commas else [line.split() for line in read_text(path).splitlines()]
    header = 1 if commas else header
    head = rows[header - 1][commas:] if header and len(rows) >= header else []
    if any(cell.lstrip("-").isdigit() for cell in head):
        raise ManifestError(f"{path}, line {header}: expected {'a header' if commas else 'column names'}")
    found = []
    for number, row in enumerate(rows[header:], header + 1):
        if not row:
            continue
        values = [int(cell) for cell in row[1:] if cell.lstrip("-").isdigit()]
        fits = len(values) == len(row) - 1 == (len(head) or 1) and (allowed is None or allowed.issuperset(values))
        if not fits:
            raise ManifestError(
                f"{path}, line {number}: expected a picture and {len(head) or 1} value{'s' * (len(head) > 1)}"
                f"{f' of {sorted(allowed)}' if allowed else ''}, but got '{' '.join(row)[:60]}'"
            )
        found.append((number, row[0], values))
    return head, named_once(path, found)
