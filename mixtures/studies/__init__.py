"""Studies: arms that differ in one thing, trained with several seeds, and what came of them."""
