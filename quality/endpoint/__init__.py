"""Questions to an OpenAI-compatible server: asked once, retried, capped, every raw answer kept.

It knows HTTP and money, not what is asked: a question is messages and the shape of its answer.
"""
