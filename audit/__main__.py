"""Entry point of the `flashbulb` command and of `python -m flashbulb`."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

NOT_INSTALLED = "flashbulb: not installed; run `pip install -e '.[audit]'` in the source folder"


def main() -> None:
    """Run the command line. An interrupt during the imports exits with 130 and no traceback, like a later one."""
    try:
        version("flashbulb")
        from flashbulb.audit import cli
    except PackageNotFoundError:
        print(NOT_INSTALLED, file=sys.stderr)  # noqa: T201 (the command line is not imported yet)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    cli.main()


if __name__ == "__main__":
    main()
