"""``python -m mixtures``."""

from __future__ import annotations

import sys

from mixtures.command import main

if __name__ == "__main__":
    sys.exit(main())
