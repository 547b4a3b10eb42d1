"""The steps of the build, in the order of the data's way.

``read → scan, language → decide → order → buckets → candidates → shingles → near → split → settle
→ pack → tokenizer → tokenize → lookup``. Each module holds one ``STEP``.
"""
