"""Direct preference optimisation (DPO): pairs of answers, their loss, and when to stop."""
