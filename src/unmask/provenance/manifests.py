"""Read C2PA manifests (Content Credentials) with c2pa-python, if it is installed. Nothing is downloaded.

A manifest is signed. It states who made or edited a file, and with which tool. A valid signature shows that the file
has not changed since it was signed. It does not show that the signer is trustworthy.
"""

import json
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from unmask.provenance.marking import WORDS
from unmask.provenance.marks import TERMS

# Neither remote manifests nor the status of certificates are fetched.
SETTINGS = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
STATES = {
    "Trusted": "its signature is valid, and c2pa-python trusts the signer",
    "Valid": "its signature is valid, but the signer is not on a trust list",
    "Invalid": "its signature or its hashes are not valid: the file changed after it was signed, or the mark is forged",
}


def is_installed() -> bool:
    """Return whether c2pa-python is installed."""
    return find_spec("c2pa") is not None


def read_manifest(path: Path) -> list[str]:
    """Describe the active manifest of a file in one sentence.

    The list is empty if the file has no manifest, or if c2pa-python is not installed.

    Args:
        path: a picture or a video.
    """
    if not is_installed():
        return []
    c2pa = import_module("c2pa")
    try:
        context = c2pa.Context(c2pa.Settings.from_dict(SETTINGS))
        # Given a path, c2pa-python reads the system's list of file types, which a confined process cannot read.
        with path.open("rb") as stream:
            reader = c2pa.Reader.try_create(path.suffix.removeprefix("."), stream, context=context)
            if reader is None:
                return []
            with reader:
                return [sentence(json.loads(reader.json()))]
    except (c2pa.C2paError, OSError, ValueError, KeyError, TypeError) as error:
        kind = type(error).__name__
        # A format that C2PA does not support has no manifest.
        return [] if "NotSupported" in kind else [f"C2PA: the file's manifest could not be read ({kind})"]


def sentence(store: Mapping[str, object]) -> str:
    """Describe the active manifest of a manifest store, as c2pa-python's `Reader.json` returns it."""
    manifests, active = store.get("manifests"), store.get("active_manifest")
    manifest = manifests.get(active) if isinstance(manifests, Mapping) else None
    manifest = manifest if isinstance(manifest, Mapping) else {}
    tool = str(manifest.get("claim_generator") or "") or _tool(manifest.get("claim_generator_info"))
    signature = manifest.get("signature_info")
    issuer = str(signature.get("issuer") or "") if isinstance(signature, Mapping) else ""
    parts = ["C2PA: the file has a manifest"]
    parts += [f"made by '{tool[:80]}'"] if tool else []
    parts += [f"signed by '{issuer[:80]}'"] if issuer else []
    found = ", ".join(parts)
    if term := _source_type(manifest):
        found += f"; it says the content was {WORDS.get(term, 'made in another way')} ({term})"
    state = str(store.get("validation_state") or "")
    return found + (f"; {STATES[state]}" if state in STATES else "")


def _tool(info: object) -> str:
    first = info[0] if isinstance(info, list) and info else None
    return str(first.get("name") or "") if isinstance(first, Mapping) else ""


def _source_type(manifest: Mapping[str, object]) -> str:
    """Return the IPTC digital source type of the manifest's actions, or an empty string if no action has one."""
    assertions = manifest.get("assertions")
    for assertion in assertions if isinstance(assertions, list) else []:
        data = assertion.get("data") if isinstance(assertion, Mapping) else None
        actions = data.get("actions") if isinstance(data, Mapping) else None
        for action in actions if isinstance(actions, list) else []:
            term = str(action.get("digitalSourceType") or "") if isinstance(action, Mapping) else ""
            if term.startswith(TERMS):
                return term.removeprefix(TERMS)
    return ""
