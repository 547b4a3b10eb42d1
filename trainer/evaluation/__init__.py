"""Measures a trained model: held-out loss, multiple choice, long contexts, outside tasks."""
