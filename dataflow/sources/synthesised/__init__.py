"""Documents that are made, not found: pictures with questions whose answers are exactly known."""
