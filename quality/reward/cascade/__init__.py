"""The cascade: the linear student for all documents, a small transformer for the uncertain middle.

Needs torch (``pip install leyden[torch]``). Its scores depend in their last bits on processor and
torch, so a build takes them as a file of scores, and never runs the cascade itself.
"""
