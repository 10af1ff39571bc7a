"""C2PA manifests: a picture signed with a certificate made here, its changed copy, and what `predict` says of them.

c2pa-python is not in the lock file, because it is optional; without it, the tests that sign a file are skipped.
"""

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from test_predict import fake_run
from test_report_pictures import predictions
from unmask.inference.examine import Examiner
from unmask.inference.page import report
from unmask.media.pictures import WholePictures
from unmask.provenance import manifests

GENERATOR = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def certificates() -> tuple[bytes, bytes]:
    """A certificate chain (PEM) that nobody trusts, and the private key of the signer."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("Test signer", "Test root")}
    now, root, pem = datetime.datetime.now(datetime.UTC), keys["Test root"], b""
    usages = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    usages += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")

    def named(name: str) -> x509.Name:
        made = ((x509.NameOID.ORGANIZATION_NAME, "Example Newsroom"), (x509.NameOID.COMMON_NAME, name))
        return x509.Name([x509.NameAttribute(kind, text) for kind, text in made])

    for name, key in keys.items():
        last = name == "Test root"
        allowed = {"key_cert_sign", "crl_sign"} if last else {"digital_signature"}
        made = x509.CertificateBuilder(named("Test root"), named(name), key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=9))
        made = made.add_extension(x509.BasicConstraints(last, None), critical=True)
        made = made.add_extension(x509.KeyUsage(**{usage: usage in allowed for usage in usages}), critical=True)
        made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False)
        if not last:
            made = made.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        pem += made.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return pem, keys["Test signer"].private_bytes(serialization.Encoding.PEM, *form)


@pytest.fixture(scope="module")
def signed(tmp_path_factory) -> Path:
    """A JPEG with a manifest that says that a model made it."""
    c2pa = pytest.importorskip("c2pa", reason="c2pa-python is optional and is not installed: pip install c2pa-python")
    place = tmp_path_factory.mktemp("c2pa")
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((160, 128), Image.Resampling.BICUBIC).save(place / "plain.jpg", quality=95)
    actions = [{"action": "c2pa.created", "digitalSourceType": GENERATOR}]
    manifest = {
        "claim_generator_info": [{"name": "Example Camera", "version": "1.0"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo("es256", *certificates(), None))
    with c2pa.Builder(json.dumps(manifest)) as builder:
        builder.sign_file(str(place / "plain.jpg"), str(place / "signed.jpg"), signer)
    return place / "signed.jpg"


def examined(path: Path) -> tuple[str, str]:
    """What `predict` says of a file's C2PA manifest, and its report."""
    examiner = Examiner([fake_run(WholePictures(32), predictions())], "none", trials=False, explain=False)
    found = examiner.examine(path)
    assert found.models, found.reasons
    return "".join(mark for mark in found.marks if mark.startswith("C2PA")), report(found)


def test_a_signed_file_names_its_issuer_and_tool_and_that_nobody_trusts_the_signer(signed):
    said, page = examined(signed)
    assert "made by 'Example Camera'" in said and "signed by 'Example Newsroom'" in said
    assert "its signature is valid, but the signer is not on a trust list" in said and "trusts the signer" not in said
    assert "(trainedAlgorithmicMedia)" in said
    assert "Example Newsroom" in page and "not installed" not in page


def test_a_file_that_was_changed_after_it_was_signed_is_invalid(signed, tmp_path):
    raw = bytearray(signed.read_bytes())
    raw[-200] ^= 1  # in the compressed picture
    (tmp_path / "changed.jpg").write_bytes(raw)
    said, _ = examined(tmp_path / "changed.jpg")
    assert "its signature or its hashes are not valid" in said and "signed by 'Example Newsroom'" in said


def test_a_manifest_is_read_where_no_other_file_can_be_read(signed, monkeypatch):
    """As in the confined processes of `unmask serve`: the system's list of file types is not readable there."""

    def refuse(*_: object) -> None:
        raise PermissionError("/etc/mime.types")

    monkeypatch.setattr("mimetypes.guess_type", refuse)
    assert "signed by 'Example Newsroom'" in "".join(manifests.read_manifest(signed))


def test_a_file_without_a_manifest_has_no_such_mark(signed):
    assert examined(signed.with_name("plain.jpg"))[0] == ""


def test_without_the_package_the_page_says_that_manifests_were_not_read(monkeypatch, tmp_path):
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(manifests, "find_spec", lambda name: None)
    said, page = examined(tmp_path / "a.png")
    assert said == "" and "c2pa-python is not installed" in page


@pytest.mark.parametrize(
    ("state", "said"),
    [("Trusted", "trusts the signer"), ("Valid", "not on a trust list"), ("Invalid", "are not valid")],
)
def test_each_state_of_a_signature_is_told(state, said):
    manifest = {"claim_generator": "tool/1", "signature_info": {"issuer": "X"}}
    found = manifests.sentence({"active_manifest": "a", "manifests": {"a": manifest}, "validation_state": state})
    assert found.startswith("C2PA: the file has a manifest, made by 'tool/1', signed by 'X'") and said in found
