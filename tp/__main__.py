"""``python -m tp`` is the command ``tp``."""

import sys

from tp.cli import command

if __name__ == "__main__":  # processes that the demo starts import this module too
    sys.exit(command())
