"""`python -m audit` and the `engram` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from audit import cli

    cli.main()


if __name__ == "__main__":
    main()
