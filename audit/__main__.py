"""`python -m audit` and the `engram` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; interrupted while it is still being imported, it ends as quietly as later."""
    try:
        from audit import cli
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    cli.main()


if __name__ == "__main__":
    main()
