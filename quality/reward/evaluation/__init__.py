"""How well scores agree with judgements: held-out labels, human votes, injections; the card."""
