"""What a run says about itself: ``metrics.jsonl``, TensorBoard, wandb, and a terminal's line."""

from trainer.logs.logs import Logs
from trainer.logs.metrics import REQUIRED, MetricsError, MetricsFile, read_metrics

__all__ = ["REQUIRED", "Logs", "MetricsError", "MetricsFile", "read_metrics"]
