"""The kernel sentinel: a kernel is used on a GPU only after it was right there once.

Compilers get kernels wrong, and by configuration. Triton 3.4 to 3.7.0 compiles some backward passes
of linear attention to wrong code on Hopper (flash-linear-attention issues 640, 734, 984 and 1262;
triton issue 11366); which ones depends on tile, number of warps and which arguments equal 1. A test
suite that ran on another GPU, driver or Triton says nothing about this one.

So each configuration (:class:`.choice.Candidate`) is launched at its first use on a small input,
twice, into poisoned memory with guard zones, and compared with the plain formula in float64
(:mod:`.guards`). The verdict is kept in a file of the user's cache folder (:mod:`.verdicts`) until
the kernel's source, the GPU, the driver, Triton, torch or ptxas changes (:mod:`.environment`). A
configuration that fails is refused with a warning, and the next in order of preference is taken.

* ``python -m kernels.sentinel [--json] [--fresh]`` checks everything on this machine's GPU.
* ``LEYDEN_SENTINEL=off`` trusts every kernel unseen, to find out what the sentinel itself does.
* Nothing is checked on the CPU: Triton's interpreter compiles nothing.
* A check launches kernels and waits for them, which a CUDA graph cannot record. During capture, and
  while torch.compile traces, a verdict that is known or on file is used; where there is none a
  RuntimeError says to run the function once before. Trusting first and checking later would record
  a wrong kernel into a graph that is then replayed for days.

What it cannot see: a kernel that is wrong only for shapes, strides or values far from those tried
(strides that are no multiples of 16, offsets beyond 2^31); a kernel that never ends; a capture that
another thread has begun.
"""

from kernels.sentinel.choice import (
    Candidate,
    Kernel,
    KernelRefusedWarning,
    Sentinel,
    approved,
    choose,
)
from kernels.sentinel.guards import Finding, Guarded, Output, judge, surrounded
from kernels.sentinel.verdicts import Verdict, Verdicts

__all__ = [
    "Candidate",
    "Finding",
    "Guarded",
    "Kernel",
    "KernelRefusedWarning",
    "Output",
    "Sentinel",
    "Verdict",
    "Verdicts",
    "approved",
    "choose",
    "judge",
    "surrounded",
]
