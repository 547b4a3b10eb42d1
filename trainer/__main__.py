"""``python -m trainer``."""

import sys

from trainer.command import main
from trainer.quiet import quieten

if __name__ == "__main__":
    quieten()
    sys.exit(main())
