"""Upload a pack to the Hugging Face Hub, with the login of the user (`hf auth login`, or the variable HF_TOKEN)."""

import re
import warnings
from pathlib import Path

from unmask.files import printable
from unmask.runs import pack
from unmask.runs.address import Address
from unmask.runs.errors import RunError
from unmask.runs.hub import TIMEOUT, clear_errors

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
OURS = (".gitattributes", pack.CARD)  # files that the hub itself writes to a new repository


def require_repository(name: str) -> None:
    """Raise RunError unless `name` is `owner/name`."""
    if not REPOSITORY.fullmatch(name) or ".." in name:
        raise RunError(f"push={printable(name[:200])}: expected owner/name, the name of a repository on the hub")


def push(folder: Path, repository: str, private: bool) -> Address:
    """Upload a verified pack as one commit, and return its address with this commit.

    The repository is created if it does not exist. A repository with other files than a pack is not changed.

    Args:
        folder: the pack.
        repository: `owner/name`.
        private: whether a new repository is visible only to its owner; an existing one keeps its visibility.

    Raises:
        RunError: the pack is refused, the repository contains other files, or the upload failed.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    require_repository(repository)
    names = [pack.CHECKSUMS, *pack.verify(folder)]
    here = Address(repository, "main")
    with clear_errors(here, "upload"):
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        info = api.model_info(repository, timeout=TIMEOUT)
        there = [one.rfilename for one in info.siblings or []]
        if pack.CHECKSUMS not in there and (other := sorted(set(there) - set(OURS))):
            raise RunError(
                f"push={repository}: this repository contains {printable(other[0][:80])} and is not a pack; choose "
                "another name"
            )
        stale = [name for name in there if name not in names and name != ".gitattributes" and pack.is_allowed(name)]
        changes: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in names
        ]
        changes += [CommitOperationDelete(path_in_repo=name) for name in stale]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the tables of a pack look like a data set
            done = api.create_commit(repository, changes, commit_message="Publish a pack", parent_commit=info.sha)
    return Address(repository, done.oid)
