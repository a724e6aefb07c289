"""`python -m audit` and the `engram` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from audit.cli import app

    app()


if __name__ == "__main__":
    main()
