"""Run the `flashbulb` command as `python -m flashbulb`."""

from flashbulb.audit.__main__ import main

if __name__ == "__main__":
    main()
