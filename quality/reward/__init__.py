"""Reward-based quality: what documents are worth, judged by a rubric, and the labels of that."""
