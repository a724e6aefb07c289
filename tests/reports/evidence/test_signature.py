"""A signature of a seal holds for that seal and that key alone, and is the one that openssl makes."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from flashbulb.reports.evidence.signature import signed_text
from tests.audit.commands import edit_run_json, refused, run_flashbulb
from tests.reports.run_files import seal_again
from tests.reports.runs import write_example

pytest.importorskip("cryptography", reason="the extra sign is not installed")
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Keys(NamedTuple):
    """Files of a pair of keys."""

    private: Path
    public: Path


def save(folder: Path, key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> Keys:
    folder.mkdir()
    keys = Keys(folder / "key.pem", folder / "key.pub")
    encryption = form.BestAvailableEncryption(password) if password else form.NoEncryption()
    keys.private.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, encryption))
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    keys.public.write_bytes(public)
    return keys


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_example(tmp_path / "run")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return save(tmp_path / "keys", Ed25519PrivateKey.generate())


def test_a_signed_run_verifies_with_the_public_key(run: Path, keys: Keys) -> None:
    assert run_flashbulb("verify", run, "--sign", keys.private).out.splitlines()[-1] == f"signature: {run / 'seal.sig'}"
    assert run_flashbulb("verify", run, "--key", keys.public).code == 0
    assert (run / "seal.sig").stat().st_size == 64


def test_a_run_that_was_sealed_again_after_a_change_loses_its_signature(run: Path, keys: Keys) -> None:
    run_flashbulb("verify", run, "--sign", keys.private)
    edit_run_json(run, "counts", "n_truncated", value=3)
    seal_again(run)
    assert run_flashbulb("verify", run).code == 0
    assert "is no signature of this seal" in refused("verify", run, "--key", keys.public, code=3)


def test_a_run_that_does_not_fit_is_not_signed(run: Path, keys: Keys) -> None:
    edit_run_json(run, "counts", "n_truncated", value=3)
    assert "run.json has changed" in refused("verify", run, "--sign", keys.private, code=3)
    assert not (run / "seal.sig").exists()


def test_another_key_a_torn_and_a_missing_signature_are_not_accepted(run: Path, keys: Keys, tmp_path: Path) -> None:
    assert "not signed" in refused("verify", run, "--key", keys.public, code=3)
    run_flashbulb("verify", run, "--sign", keys.private)
    other = save(tmp_path / "others", Ed25519PrivateKey.generate())
    assert "another key" in refused("verify", run, "--key", other.public, code=3)
    (run / "seal.sig").write_bytes((run / "seal.sig").read_bytes()[:63])
    assert "is no signature" in refused("verify", run, "--key", keys.public, code=3)


def test_keys_that_cannot_be_used_are_mistakes_with_the_way_out(run: Path, keys: Keys, tmp_path: Path) -> None:
    curve = save(tmp_path / "curve", ec.generate_private_key(ec.SECP256R1()))
    locked = save(tmp_path / "locked", Ed25519PrivateKey.generate(), b"secret")
    assert "is encrypted" in refused("verify", run, "--sign", locked.private)
    assert "another kind than Ed25519" in refused("verify", run, "--sign", curve.private)
    assert "another kind than Ed25519" in refused("verify", run, "--key", curve.public)
    assert "no private key" in refused("verify", run, "--sign", keys.public)
    assert "no public key" in refused("verify", run, "--key", keys.private)
    assert "cannot be read" in refused("verify", run, "--sign", tmp_path / "nowhere.pem")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_signs_and_checks_the_same(run: Path, keys: Keys, tmp_path: Path) -> None:
    digest, text = seal_again(run), tmp_path / "seal.txt"
    text.write_bytes(signed_text(digest))
    common = ["openssl", "pkeyutl", "-rawin", "-in", str(text)]
    made = ["-sign", "-inkey", str(keys.private), "-out", str(run / "seal.sig")]
    subprocess.run([*common, *made], check=True, capture_output=True)
    assert run_flashbulb("verify", run, "--key", keys.public).code == 0
    run_flashbulb("verify", run, "--sign", keys.private, "--signature", tmp_path / "ours.sig")
    checked = ["-verify", "-pubin", "-inkey", str(keys.public), "-sigfile", str(tmp_path / "ours.sig")]
    subprocess.run([*common, *checked], check=True, capture_output=True)
