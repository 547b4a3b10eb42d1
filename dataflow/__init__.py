"""The corpus build: sources, steps, ledger, shards, index, manifest and report, on Ray."""
