"""Built runs, as files: what the commands of this room read of them."""
