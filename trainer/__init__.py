"""The trainer: hybrid lightning-attention MoE models on Megatron-Core, through staged contexts."""
