"""`python -m audit.planted`: the same as `engram planted train`."""

from __future__ import annotations

import sys

from audit.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["planted", "train"]
    main()
