"""Addresses of packs on the Hugging Face Hub: `hf://owner/name@revision`."""

import re
from pathlib import Path
from typing import NamedTuple

from unmask.files import printable
from unmask.runs.errors import RunError

EXAMPLE = "hf://OWNER/NAME@REVISION"
_NAME = r"[A-Za-z0-9][\w.-]{0,95}"
_ADDRESS = re.compile(rf"hf:/+({_NAME})/({_NAME})(?:@([\w./-]{{1,120}}))?")
COMMIT = re.compile("[0-9a-f]{40}")


class HubError(RunError):
    """A pack cannot be downloaded; the message names its address and the reason."""


class Address(NamedTuple):
    """An address on the hub: the repository `owner/name`, and a commit, tag or branch."""

    repository: str
    revision: str

    def __str__(self) -> str:
        """Return the address as a user types it."""
        return f"hf://{self.repository}@{self.revision}"


def is_address(run: str) -> bool:
    """Return whether `run` is meant as an address on the hub."""
    return run.startswith("hf:/")


def parse_address(run: str) -> Address:
    """Return the parts of an address.

    Raises:
        HubError: the address is not valid, or has no revision.
    """
    found = _ADDRESS.fullmatch(run)
    if found is None or ".." in run:
        raise HubError(f"run={printable(run[:200])}: expected {EXAMPLE}")
    owner, name, revision = found.groups()
    if revision is None:
        raise HubError(
            f"run={run}: the revision is missing; expected {EXAMPLE}, where REVISION is a commit, a tag or a branch, "
            f"such as hf://{owner}/{name}@main"
        )
    return Address(f"{owner}/{name}", revision)


def require_commit(run: str) -> None:
    """Raise HubError if an address names a branch or a tag, whose content can change, instead of a full commit."""
    if is_address(run) and not COMMIT.fullmatch(parse_address(run).revision):
        raise HubError(
            f"run={run}: a training needs a full commit (40 digits), because the content of a branch or a tag can "
            f"change; unmask predict FILE run={run} prints the commit"
        )


def folder_of(run: str | Path) -> Path:
    """Return the folder of a run; a pack on the hub is downloaded first, see `unmask.runs.hub.fetch`.

    Raises:
        RunError: the address is not valid, or the pack cannot be downloaded or is refused.
    """
    if not is_address(str(run)):
        return Path(run)
    from unmask.runs.hub import fetch  # slow to import, and most runs are folders

    return fetch(str(run))
