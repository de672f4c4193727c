"""``python -m tp`` is the command ``tp``."""

import sys

from tp.cli import main

sys.exit(main())
