"""``python -m trainer``."""

import logging
import sys
import warnings

from trainer.command import main

if __name__ == "__main__":
    # Megatron-Core and torch tell every process that Transformer Engine is absent and which of
    # their own calls are deprecated. Neither is news to who runs this.
    warnings.filterwarnings("ignore", module=r"megatron\.|torch\.distributed")
    logging.getLogger("megatron.core.rerun_state_machine").setLevel(logging.ERROR)
    sys.exit(main())
