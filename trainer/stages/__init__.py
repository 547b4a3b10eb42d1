"""Stages of training as data: lengths, budgets, rates, batches and mixtures, all in tokens."""
