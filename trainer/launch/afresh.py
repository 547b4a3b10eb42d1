"""Commands one after another in one process: each begins as if the process had just started."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LATE = (
    "trainer.evaluation.corpus_loss",
    "trainer.evaluation.multiple_choice",
    "trainer.generation.loading",
    "trainer.run.train",
)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def warm() -> str:
    """Import what training and evaluation need, which takes seconds; ``cuda`` or ``cpu``."""
    import torch

    from trainer.megatron import cpu, faults

    for name in _LATE:
        importlib.import_module(name)
    cpu.install()
    faults.mend()
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def afresh() -> Iterator[None]:
    """Put back, at the end, what a command changes of its process.

    Environment, folder, arguments, signal handlers, warnings, logging, random states (Python,
    NumPy, torch), torch's threads and switches, process groups, and Megatron-Core's registers,
    which grow or stay as the first model left them.

    ``warm`` is called before. Signal handlers are those of the main thread, where this runs.
    """
    import numpy as np
    import torch

    environment, folder, arguments = dict(os.environ), Path.cwd(), list(sys.argv)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    root = logging.getLogger()
    level, outlets = root.level, list(root.handlers)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    strict, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    gradients = torch.is_grad_enabled()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        _end_groups()
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv[:] = arguments
        for number, handler in handlers.items():
            signal.signal(number, handler)
        root.setLevel(level)
        root.handlers[:] = outlets
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(strict)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_grad_enabled(gradients)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def _end_groups() -> None:
    """End process groups that a command left, and clear what Megatron-Core keeps by process."""
    from megatron.core import num_microbatches_calculator as batches
    from megatron.core import parallel_state
    from megatron.core.rerun_state_machine import destroy_rerun_state_machine
    from megatron.core.tensor_parallel import random as parallel_random
    from megatron.core.transformer.moe import moe_utils

    from trainer.megatron import start

    start.stop()
    batches.unset_num_microbatches_calculator()
    destroy_rerun_state_machine()
    parallel_state.destroy_global_memory_buffer()
    moe_utils.get_moe_layer_wise_logging_tracker().clear()
    parallel_random.get_cuda_rng_tracker().reset()
