"""Sign the seal of a run with a key of the user's, and check such a signature (Ed25519, RFC 8032).

A signature is the 64 bytes that `openssl pkeyutl` writes too, so either side can do without Flashbulb.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flashbulb.reports.tables.files import RunFileError, RunIncompleteError, atomic_write

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_FILE = "seal.sig"
_N_BYTES = 64


class KeyFileError(RunFileError):
    """A key that cannot be used (a usage error)."""


def signed_text(digest: str) -> bytes:
    """Return what a signature of a seal signs: one line that says what it is."""
    return f"flashbulb seal sha256:{digest}\n".encode("ascii")


def write_signature(path: Path, digest: str, key: Path) -> None:
    """Sign a seal with the private key in `key`, and write the signature to `path`.

    Raises:
        KeyFileError: the key cannot be used.
        ModuleNotFoundError: the library `cryptography` is not installed.
    """
    signature = _private_key(key).sign(signed_text(digest))
    with atomic_write(path) as part:
        part.write_bytes(signature)


def check_signature(path: Path, digest: str, key: Path) -> None:
    """Check that the signature in `path` is one of this seal, by the owner of the public key in `key`.

    Raises:
        RunIncompleteError: there is no signature, or it is of another seal or by another key.
        KeyFileError: the key cannot be used.
        ModuleNotFoundError: the library `cryptography` is not installed.
    """
    from cryptography.exceptions import InvalidSignature

    public = _public_key(key)
    try:
        with path.open("rb") as file:
            signature = file.read(_N_BYTES + 1)
    except OSError as error:
        raise RunIncompleteError(f"{path} cannot be read: {error.strerror or error}; the run is not signed") from error
    try:
        public.verify(signature, signed_text(digest))
    except InvalidSignature as error:
        raise RunIncompleteError(
            f"{path} is no signature of this seal by {key}: the run was changed after it was signed, "
            "or another key signed it"
        ) from error


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _content_of(path)
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError as error:  # what the library raises for a key that needs a password
        raise KeyFileError(f"{path} is encrypted; sign with openssl instead (docs/evidence.md)") from error
    except ValueError as error:
        raise KeyFileError(f"{path} holds no private key in PEM; {_HOW_TO_MAKE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is a key of another kind than Ed25519; {_HOW_TO_MAKE}")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _content_of(path)
    try:
        key = load_pem_public_key(content)
    except ValueError as error:
        raise KeyFileError(f"{path} holds no public key in PEM; {_HOW_TO_EXPORT}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path} is a key of another kind than Ed25519; {_HOW_TO_EXPORT}")
    return key


_HOW_TO_MAKE = "make one with `openssl genpkey -algorithm ed25519 -out key.pem`"
_HOW_TO_EXPORT = "export it with `openssl pkey -in key.pem -pubout -out key.pub`"


def _content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror or error}") from error
