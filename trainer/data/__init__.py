"""A run's token shards, read as a plan says: batches, data state, and the ledger of steps."""
