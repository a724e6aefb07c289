"""Claim a run in a store for one process at a time, with nothing but writing, reading and listing objects.

Who wants a run writes a claim of its own below `.claims/`, and then lists all of them. A store that lists an object as
soon as it is written shows at least one of two processes the claim of the other, so never do both go on. A claim is
renewed as long as its process lives; one that stays as it is for `SECONDS_TO_DEATH` is taken for dead.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import time
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from pyarrow import fs

from flashbulb.audit.stores.store import Store
from flashbulb.reports.tables.stores import CLAIMS_FOLDER, StoreError, cache_root

logger = logging.getLogger(__name__)

SECONDS_TO_DEATH = 60.0
_SECONDS_BETWEEN_LOOKS = 1.0
_WAITING, _HOLDING, _RELEASED = "waiting", "holding", "released"


class TakenOverError(StoreError):
    """Another machine holds the run that this process held."""


class _Other(NamedTuple):
    """The claim of another machine, as it was first seen, and when."""

    claim: dict[str, Any]
    since: float


def machine_name() -> str:
    """Return the name of this machine's cache, made when it is first asked for; no other cache has it."""
    path = cache_root() / ".name"
    with suppress(FileNotFoundError):
        return path.read_text(encoding="ascii")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".name-{secrets.token_hex(8)}")
    fresh.write_text(secrets.token_hex(8), encoding="ascii")
    with suppress(FileExistsError):
        os.link(fresh, path)  # whoever comes first names it
    fresh.unlink()
    return path.read_text(encoding="ascii")


def is_last_writer(store: Store, uri: str) -> bool:
    """Return whether no other machine has held a run in a store since this one did."""
    content = _read(store, f"{uri}/{CLAIMS_FOLDER}/{machine_name()}")
    return content is not None and content.get("is_last") is True


class Claim:
    """The claim of this process on a run."""

    def __init__(self, store: Store, uri: str) -> None:
        self._store, self._uri, self._folder = store, uri, f"{uri}/{CLAIMS_FOLDER}"
        self._name, self._n_written = machine_name(), 0
        self._since = datetime.now().astimezone().isoformat(timespec="seconds")
        self.was_last = is_last_writer(store, uri)

    def write(self, state: str, *, is_last: bool) -> None:
        self._n_written += 1  # a claim that changes is alive
        owner = {"process": os.getpid(), "host": socket.gethostname(), "since": self._since}
        content = {**owner, "state": state, "is_last": is_last, "renewed": self._n_written}
        _write(self._store, f"{self._folder}/{self._name}", content)

    def withdraw(self, name: str) -> None:
        """Delete a claim."""
        _delete(self._store, f"{self._folder}/{name}")

    def renew(self) -> None:
        """Show that this process is alive.

        Raises:
            TakenOverError: another process has taken the run over.
        """
        claims = _read_all(self._store, self._folder)
        by = next((c for n, c in claims.items() if n != self._name and c.get("state") == _HOLDING), None)
        if by is not None or self._name not in claims:
            raise TakenOverError(
                f"{self._uri} was taken over by {_owner(by or {})}, because this process did not renew its claim for "
                f"{SECONDS_TO_DEATH:g} s; nothing more is sent there, run the same command again when the other is done"
            )
        self.write(_HOLDING, is_last=True)

    def wait_for_others(self) -> None:
        """Wait until no other claim is alive.

        Raises:
            StoreError: one is, and is not itself waiting for this one.
        """
        seen: dict[str, _Other] = {}
        while True:
            self.write(_WAITING, is_last=self.was_last)
            claims = _read_all(self._store, self._folder)
            now = claims.pop(self._name, {}).get("written")
            live = {name: claim for name, claim in claims.items() if claim.get("state") != _RELEASED}
            if not live:
                return
            for name, claim in live.items():
                if name not in seen:
                    seen[name] = _Other(claim, time.monotonic())
                    logger.info("%s is claimed by %s; waiting for a sign of life", self._uri, _owner(claim))
                if _is_old(claim, now) or time.monotonic() - seen[name].since > SECONDS_TO_DEATH:
                    self.withdraw(name)
                elif claim != seen[name].claim:
                    self._give_way(claim, name)
                    seen[name] = _Other(claim, time.monotonic())
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _give_way(self, claim: dict[str, Any], name: str) -> None:
        """Refuse a run that another process holds. Of two that wait for each other, the first by name goes on."""
        if claim.get("state") == _WAITING and self._name < name:
            return
        self.withdraw(self._name)
        raise StoreError(f"{self._uri} is held by {_owner(claim)}; wait until it ends, or choose another --out")

    def hold(self) -> None:
        """Say that this process writes from now on, and that nobody else was the last to do so."""
        for name in _read_all(self._store, self._folder).keys() - {self._name}:
            self.withdraw(name)
        self.write(_HOLDING, is_last=True)

    def release(self) -> None:
        """Say that this process writes no longer."""
        self.write(_RELEASED, is_last=True)


def _is_old(claim: dict[str, Any], now: int | None) -> bool:
    """Return whether a claim is too old by the clock of the store, if that tells times."""
    written = claim.get("written")
    return written is not None and now is not None and now - written > SECONDS_TO_DEATH


def _owner(content: dict[str, Any]) -> str:
    if "process" not in content:
        return "another process"
    return f"process {content['process']} on {content.get('host')} since {content.get('since')}"


def _read_all(store: Store, folder: str) -> dict[str, dict[str, Any]]:
    """Read all claims by name, with the time when each was written by the clock of the store, in seconds."""
    selector = fs.FileSelector(store.path(folder), allow_not_found=True)
    found = store.call(folder, "be read", lambda: store.files.get_file_info(selector))
    claims = {}
    for info in found:
        if info.type == fs.FileType.File and (claim := _read(store, f"{folder}/{info.base_name}")) is not None:
            claims[info.base_name] = {**claim, "written": None if info.mtime_ns is None else info.mtime_ns // 10**9}
    return claims


def _read(store: Store, uri: str) -> dict[str, Any] | None:
    """Read a claim; None if there is none."""
    path = store.path(uri)

    def read() -> bytes | None:
        if store.files.get_file_info(path).type != fs.FileType.File:
            return None
        with suppress(FileNotFoundError), store.files.open_input_stream(path, compression=None) as stream:
            return bytes(stream.read())
        return None

    data = store.call(uri, "be read", read)
    if data is None:
        return None
    try:
        content = json.loads(data)
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}


def _write(store: Store, uri: str, content: dict[str, Any]) -> None:
    def write() -> None:
        with store.files.open_output_stream(store.path(uri), compression=None) as stream:
            stream.write(json.dumps(content).encode())

    store.call(uri, "be written", write)


def _delete(store: Store, uri: str) -> None:
    def delete() -> None:
        with suppress(FileNotFoundError):
            store.files.delete_file(store.path(uri))

    store.call(uri, "be written", delete)
