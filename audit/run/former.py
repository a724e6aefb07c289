"""Keep the results of a directory while a command replaces them, and bring them back if the command is refused."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flashbulb.reports.tables.files import FORMER_FOLDER, LOCK_FILE, RUN_FILE

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FormerResults:
    """Which results a command replaces, and when the former ones count again.

    Args:
        patterns: of the files that the command writes or removes, relative to the directory.
        refusals: errors with which the command is refused. Any other end leaves what the command wrote.
        hold: returns False if what the former results tell of has changed meanwhile; they do not come back then.
    """

    patterns: tuple[str, ...]
    refusals: tuple[type[Exception], ...]
    hold: Callable[[], bool]

    @contextmanager
    def kept(self, directory: Path) -> Iterator[None]:
        """Keep the files while the block replaces them; if it is refused, they are what they were, bit for bit.

        No file of a run is written in place, so a second name keeps its content.
        """
        aside = directory / FORMER_FOLDER
        shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
        aside.mkdir()
        try:
            links = {name: aside / str(number) for number, name in enumerate(self._names(directory))}
            for name, link in links.items():
                _link(directory / name, link)
            try:
                yield
            except self.refusals:
                if self.hold():
                    self._bring_back(directory, links)
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def unclaimed(self, directory: Path) -> Iterator[None]:
        """Leave a new directory to any command if the block is refused before anything is in it."""
        try:
            yield
        except self.refusals:
            if {path.name for path in directory.iterdir()} <= {RUN_FILE, LOCK_FILE}:
                (directory / RUN_FILE).unlink(missing_ok=True)
            raise

    def _bring_back(self, directory: Path, links: Mapping[str, Path]) -> None:
        for name in set(self._names(directory)) - links.keys():
            (directory / name).unlink()
        for name, link in links.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(link, directory / name)
        logger.warning("%s keeps the results that it held before this command", directory)

    def _names(self, directory: Path) -> list[str]:
        paths = (path for pattern in self.patterns for path in sorted(directory.glob(pattern)))
        return [path.relative_to(directory).as_posix() for path in paths if path.is_file()]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # as on FAT
        shutil.copyfile(source, target)
