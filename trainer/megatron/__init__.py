"""Megatron-Core 0.16.1 as this project runs it: on a GPU or a CPU, mended, started, saved."""
