"""Seeded generators of benchmark input: the same arguments give the same bytes."""
