"""Starts the ranks of a run, here or over a Ray cluster, and ends them together."""
