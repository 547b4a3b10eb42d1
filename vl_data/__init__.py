"""Images beside text: hygiene, hashes, clusters, signals and tiling, and instruction data."""
