"""``python -m vl_data``."""

import sys

from vl_data.command import main

if __name__ == "__main__":
    sys.exit(main())
