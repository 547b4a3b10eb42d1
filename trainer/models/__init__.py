"""The model: its recipe, and its modules as Megatron-Core builds them."""
