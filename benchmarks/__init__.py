"""Measurements of the engine, each beside its peers, and the generators of what is measured on."""
