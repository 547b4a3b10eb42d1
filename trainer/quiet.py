"""Keeps what is no news to who runs this from the terminal."""

import logging
import warnings


def quieten() -> None:
    """Silence warnings about what Leyden does without, in this process.

    Megatron-Core and torch tell every process that Transformer Engine is absent and which of their
    own calls are deprecated.
    """
    warnings.filterwarnings("ignore", module=r"megatron\.|torch\.distributed")
    logging.getLogger("megatron.core.rerun_state_machine").setLevel(logging.ERROR)
