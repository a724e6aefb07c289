"""Claim a run in a store for one process at a time, with nothing but writing, reading and listing objects.

Who wants a run writes a claim of its own below `.claims/`, and then lists all of them. A store that lists an object as
soon as it is written shows at least one of two processes the claim of the other, so never do both go on. A claim is
renewed as long as its process lives; one that stays as it is for `SECONDS_TO_DEATH` is taken for dead.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NamedTuple

from pyarrow import fs

from flashbulb.audit.stores.store import Store
from flashbulb.audit.stores.transfer import delete_object
from flashbulb.reports.tables.files import link_first
from flashbulb.reports.tables.stores import CLAIMS_FOLDER, StoreError, cache_root

logger = logging.getLogger(__name__)

SECONDS_TO_DEATH = 60.0
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_RENEWALS = 10.0
_WAITING, HOLDING, RELEASED = "waiting", "holding", "released"


class _Other(NamedTuple):
    """The claim of another machine, as it was first seen, and when."""

    claim: dict[str, Any]
    since: float


def machine_name() -> str:
    """Return a name that no other machine has, nor another cache of this one."""
    path = cache_root() / ".name"
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".name-{secrets.token_hex(8)}")
        fresh.write_text(secrets.token_hex(8), encoding="ascii")
        try:
            link_first(fresh, path)  # whoever comes first names it
        finally:
            fresh.unlink()
    name = f"{path.read_text(encoding='ascii')} {socket.gethostname()}"  # a cache may be copied, or shared
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def is_last_writer(store: Store, uri: str) -> bool:
    """Return whether no other machine has held a run in a store since this one did."""
    content = _read(store, f"{uri}/{CLAIMS_FOLDER}/{machine_name()}")
    return content is not None and content.get("is_last") is True


class Claim:
    """The claim of this process on a run.

    Args:
        is_last: no other machine has written into the run since this one did.
        is_done: the store has all that this machine wrote.
        lost: why the run is another's by now, if it is.
    """

    def __init__(self, store: Store, uri: str) -> None:
        self._store, self._uri, self._folder = store, uri, f"{uri}/{CLAIMS_FOLDER}"
        self._name, self._n_written = machine_name(), 0
        self._since = datetime.now().astimezone().isoformat(timespec="seconds")
        self.is_last = is_last_writer(store, uri)
        self.is_done = False
        self.lost: StoreError | None = None

    def write(self, state: str) -> None:
        """Write the claim, never twice the same."""
        self._n_written += 1
        owner = {"process": os.getpid(), "host": socket.gethostname(), "since": self._since}
        content = {**owner, "state": state, "is_last": self.is_last, "renewed": self._n_written}
        _write(self._store, f"{self._folder}/{self._name}", content)

    def wait_for_others(self) -> None:
        """Wait until no other claim is alive, and hold the run.

        Raises:
            StoreError: one is, and is not itself waiting for this one.
        """
        seen: dict[str, _Other] = {}
        while True:
            self.write(_WAITING)
            claims = _read_all(self._store, self._folder)
            now = claims.pop(self._name, {}).get("written")
            live = {name: claim for name, claim in claims.items() if claim.get("state") != RELEASED}
            if not live:
                return self.write(HOLDING)
            for name, claim in live.items():
                if name not in seen:
                    seen[name] = _Other(claim, time.monotonic())
                    text = "%s is claimed by %s; waiting up to %g s for a sign of life"
                    logger.info(text, self._uri, _owner(claim), SECONDS_TO_DEATH)
                if _is_old(claim, now) or time.monotonic() - seen[name].since > SECONDS_TO_DEATH:
                    self._delete(name)
                elif claim != seen[name].claim:
                    self._give_way(claim, name)
                    seen[name] = _Other(claim, time.monotonic())
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _give_way(self, claim: dict[str, Any], name: str) -> None:
        """Refuse a run that another process holds. Of two that wait for each other, the first by name goes on."""
        if claim.get("state") == _WAITING and self._name < name:
            return
        self._delete(self._name)
        raise StoreError(f"{self._uri} is held by {_owner(claim)}; wait until it ends, or choose another --out")

    def become_last(self) -> None:
        """Say that this machine has all that others wrote, and writes from now on."""
        for name, claim in _read_all(self._store, self._folder).items():
            if name != self._name and claim.get("state") == RELEASED:
                self._delete(name)
        self.is_last = True
        self.write(HOLDING)

    def renew(self) -> None:
        """Show that this process is alive, or find out that the run is another's."""
        claims = _read_all(self._store, self._folder)
        by = next((c for n, c in claims.items() if n != self._name and c.get("state") == HOLDING), None)
        if by is None and self._name in claims:
            return self.write(HOLDING)
        self.lost = StoreError(
            f"{self._uri} was taken over by {_owner(by or {})}, because this process did not renew its claim for "
            f"{SECONDS_TO_DEATH:g} s; nothing more is sent there, run the same command again when the other is done"
        )
        logger.error("%s", self.lost)

    def renew_until(self, ends: threading.Event) -> None:
        """Renew the claim until the event is set; where the store or this machine fails for a while, it tries again."""
        while self.lost is None and not ends.wait(_SECONDS_BETWEEN_RENEWALS):
            with suppress(StoreError, OSError):
                self.renew()

    def _delete(self, name: str) -> None:
        delete_object(self._store, f"{self._folder}/{name}")


@contextmanager
def claimed(store: Store, uri: str) -> Iterator[Claim]:
    """Claim a run while the block runs; a claim that the block does not call done dies by itself.

    Raises:
        StoreError: a living process of another machine holds the run, or the store cannot be used.
    """
    claim, ends = Claim(store, uri), threading.Event()
    claim.wait_for_others()
    thread = threading.Thread(target=claim.renew_until, args=(ends,), name=f"renew {uri}", daemon=True)
    thread.start()
    try:
        yield claim
    finally:
        ends.set()
        thread.join()
        if claim.is_done and claim.lost is None:
            with suppress(StoreError):
                claim.write(RELEASED)


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
