"""What a caption is worth to a model that sees: informativeness, originality, agreement.

Nothing here drops a document: these are signals, and their sum is a score for tiers.
"""
