"""The tensor kernels on a GPU, beside others and the floor: ``python -m benchmarks.kernels``."""
