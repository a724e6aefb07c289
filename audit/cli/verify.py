"""`flashbulb verify`: compare a finished audit with its seal. Needs neither the model nor its libraries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashbulb.audit.cli.app import app, errors_as_lines
from flashbulb.audit.cli.gate import RUN_HELP, untrusted_as_document
from flashbulb.audit.cli.report import held_if_inside
from flashbulb.audit.cli.shell.options import Json
from flashbulb.audit.cli.shell.output import print_json, print_lines
from flashbulb.audit.settings import SettingsError
from flashbulb.reports.tables.files import RunIncompleteError

if TYPE_CHECKING:
    from flashbulb.reports.tables.seal import Seal


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(help=RUN_HELP)],
    *,
    digest: Annotated[
        str | None, typer.Option(help="Digest of the seal as it was handed over, 64 hex digits or sha256:HEX.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Public key (Ed25519, PEM) whose owner must have signed the seal.")
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(help="Private key (Ed25519, PEM) to sign the seal with if everything fits.")
    ] = None,
    signature: Annotated[Path | None, typer.Option(help="File of the signature; by default RUN/seal.sig.")] = None,
    as_json: Json = False,
) -> None:
    """Compare run.json, every table and every kept image of a finished audit with its seal.

    The seal alone shows that files were changed, lost or added, but not that somebody changed the run and sealed it
    again. `--digest` and `--key` do: give a digest or a public key that you did not get with the run.

    Reads RUN, and the given key and signature. Writes nothing but, with `--sign`, the signature.

    Example: flashbulb verify runs/mine
    Example: flashbulb verify runs/mine --digest sha256:HEX
    Example: flashbulb verify runs/mine --sign key.pem
    Example: flashbulb verify runs/mine --key key.pub

    Exit codes: 0 everything fits; 2 error in options, settings or files, or a run of an older release; 3 something does
    not fit, or the audit is unfinished; 4 internal error.
    """
    with errors_as_lines(), untrusted_as_document(as_json):
        from flashbulb.reports.evidence.signature import SIGNATURE_FILE, check_signature, write_signature
        from flashbulb.reports.tables.run_record import load_run
        from flashbulb.reports.tables.seal import check_seal

        expected = None if digest is None else _digest_in(digest)
        if signature is not None and key is None and sign is None:
            raise SettingsError("--signature needs --key to check it, or --sign to write it")
        load_run(run)
        try:
            seal = check_seal(run)
        except OSError as error:
            raise RunIncompleteError(f"{run} cannot be read: {error.strerror or error}") from error
        if expected not in (None, seal.digest):
            raise RunIncompleteError(
                f"{run} has the seal sha256:{seal.digest}, not sha256:{expected}: it is another run, or it was sealed "
                "again after a change"
            )
        file = signature or run / SIGNATURE_FILE
        if sign is not None:
            with held_if_inside(run, file):
                write_signature(file, seal.digest, sign)
        if key is not None:
            check_signature(file, seal.digest, key)
        _print(seal, file if sign or key else None, as_json=as_json)


def _digest_in(text: str) -> str:
    """Return the hex digits of a digest that was copied from some output."""
    digits = text.strip().lower().removeprefix("sha256:")
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise SettingsError(f"--digest should be the 64 hex digits of a seal, got {text!r}")
    return digits


def _print(seal: Seal, signature: Path | None, *, as_json: bool) -> None:
    n_images = sum("/" in name for name in seal.files)
    n_tables = len(seal.files) - n_images
    if as_json:
        signed = None if signature is None else str(signature)
        print_json({"seal": seal.digest, "n_tables": n_tables, "n_images": n_images, "signature": signed})
        return
    lines = [f"intact: run.json, {n_tables} tables and {n_images:,} images are as they were sealed"]
    lines += [f"seal: sha256:{seal.digest}"]
    print_lines([*lines, *([f"signature: {signature}"] if signature else [])])
