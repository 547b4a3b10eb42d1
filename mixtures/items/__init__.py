"""Multiple-choice items: read from benchmarks' files, or made of a corpus' held-out text, and
looked for in its train documents.

The rest of mixtures/ reads a corpus' index and never its text. Items are the one exception: they
are made of text and compared with it, by a command of their own, and no plan depends on them.
"""
