"""What the vision-language stages want of a run, and what it lacks."""
