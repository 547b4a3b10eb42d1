"""Mixtures: what to draw from a corpus, in which order and how often, compiled into plans."""
