"""A page of sampled samples as a model will see them: tiles, text, and what of it is learnt."""
