"""The trainer, measured: plans, reading, wall times, agreement with its judges."""
