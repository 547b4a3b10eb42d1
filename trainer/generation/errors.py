"""What a person can mend when a model is to generate."""

from __future__ import annotations


class GenerationError(Exception):
    """A folder without a model or a tokenizer, or prompts that cannot be read on."""
