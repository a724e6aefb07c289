"""The terminal that an audit's summary is printed on."""

import os
import sys

from rich.console import Console

_WIDTH = 120  # where there is no terminal to ask


class SummaryConsole(Console):
    """As wide as the terminal; a reader that goes away ends no command, whose exit code may be a verdict."""

    def __init__(self) -> None:
        super().__init__(width=None if sys.stdout.isatty() else _WIDTH)

    def on_broken_pipe(self) -> None:
        """Say nothing more; by default rich exits with 1, which of an audit means that the model leaks."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
