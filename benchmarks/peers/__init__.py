"""Programs that run a peer in the peers' own environment and answer the harness."""
