"""Hold a run in a store while it is worked on in the cache, and send there every file that is complete."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flashbulb.audit.stores.claims import Claim, claimed
from flashbulb.audit.stores.fetching import complete
from flashbulb.audit.stores.room import unsent, use
from flashbulb.audit.stores.store import Store, open_store
from flashbulb.audit.stores.transfer import (
    FileState,
    delete_object,
    in_parallel,
    is_same,
    state_of,
    upload,
)
from flashbulb.reports.tables.files import FORMER_FOLDER, LOCK_FILE, PART_SUFFIX, RUN_FILE
from flashbulb.reports.tables.stores import CLAIMS_FOLDER, StoreError, as_uri

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 2.0
_JSON = ".json"


@contextmanager
def kept_in_store(folder: Path) -> Iterator[None]:
    """Send what the block writes into a folder, which lies in the cache of a store, to that store.

    The caller holds the folder on this machine. What others wrote into the store since is fetched before.

    Raises:
        StoreError: another machine holds the run, or the store cannot be read or written.
    """
    store = open_store(as_uri(folder))
    use(folder)
    with claimed(store, as_uri(folder)) as claim, unsent(folder):
        objects = complete(store, folder, is_newer=claim.is_last)
        claim.become_last()
        sender = _Sender(store, folder, claim, objects)
        sender.start()
        try:
            yield
        except BaseException:
            with suppress(StoreError, OSError):
                sender.finish()
            raise
        sender.finish()


def send(file: Path) -> None:
    """Send a file of the cache that belongs to no run.

    Raises:
        StoreError: the store does not take it.
    """
    in_parallel(lambda path: upload(open_store(as_uri(path)), path, as_uri(path), state_of(path.stat())), [file])


class _Sender:
    """Sends the files of a folder from a thread of its own.

    Files that name others, which are the JSON files, are sent after these, and run.json is sent last. So what is in
    the store at any time is what a process leaves that is killed: a shard without its manifest is no shard.

    Args:
        sent: files that the store holds, in the state in which it does.
    """

    def __init__(self, store: Store, folder: Path, claim: Claim, objects: Mapping[str, Any]) -> None:
        self._store, self._folder, self._claim, self._uri = store, folder, claim, as_uri(folder)
        self._seen: set[str] = set()
        now = self._look()
        self.sent = {name: now[name] for name in now.keys() & objects if is_same(folder / name, objects[name])}
        self._last: float | None = None
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"send to {self._uri}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Send what is left.

        Raises:
            StoreError: the store does not take it, or another process has taken the run over.
        """
        self._ends.set()
        self._thread.join()
        try:
            while self._send():
                pass
        except StoreError as error:
            logger.warning("%s; nothing is lost, the cache of this machine has all results", error)
            raise
        self._claim.is_done = True
        if self._last is not None:  # times of objects are whole seconds: whoever is next writes in a later one
            time.sleep(max(0.0, self._last + 1.0 - time.monotonic()))

    def _run(self) -> None:
        pause, is_failing = _SECONDS_BETWEEN_LOOKS, False
        while not self._ends.wait(pause):
            started = time.monotonic()
            self._look()
            pause = max(_SECONDS_BETWEEN_LOOKS, 9 * (time.monotonic() - started))  # spare large folders
            try:
                self._send()
                is_failing = False
            except (StoreError, OSError) as error:  # of this machine, such as too many open files
                if not is_failing:
                    logger.warning("%s; the run goes on here, and is sent when the store answers again", error)
                is_failing = True

    def _look(self) -> dict[str, FileState]:
        """Return the state of every file. Files that name others come first, so that all these are seen as well."""
        found = dict(_files(self._folder, is_json=True)) | dict(_files(self._folder, is_json=False))
        self._seen |= found.keys()
        return found

    def _send(self) -> bool:
        """Delete in the store what was deleted here, and send what is new or another; return whether any was."""
        if self._claim.lost is not None:
            raise self._claim.lost
        now = self._look()
        gone = self._seen - now.keys()
        in_parallel(self._delete, gone)
        changed = [name for name, state in now.items() if self.sent.get(name) != state]
        last = [name for name in changed if name == RUN_FILE]
        naming = [name for name in changed if name.endswith(_JSON) and name != RUN_FILE]
        for names in ([name for name in changed if not name.endswith(_JSON)], naming, last):
            in_parallel(lambda name: self._send_file(name, now[name]), names)
        return bool(gone or changed)

    def _delete(self, name: str) -> None:
        delete_object(self._store, f"{self._uri}/{name}")
        self._seen.discard(name)
        self.sent.pop(name, None)

    def _send_file(self, name: str, state: FileState) -> None:
        """Send a file, unless another has taken its place: that is sent later, after what it may name."""
        with suppress(FileNotFoundError):
            sent = upload(self._store, self._folder / name, f"{self._uri}/{name}", state)
            if sent is not None:
                self.sent[name], self._last = sent, time.monotonic()


def _files(folder: Path, *, is_json: bool) -> Iterator[tuple[str, FileState]]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in (CLAIMS_FOLDER, FORMER_FOLDER)]
        for name in names:
            if name.endswith(_JSON) == is_json and name != LOCK_FILE and not name.endswith(PART_SUFFIX):
                path = Path(place, name)
                with suppress(FileNotFoundError):
                    yield path.relative_to(folder).as_posix(), state_of(path.stat())
