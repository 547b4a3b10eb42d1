"""What of image data is trained on, and in which form: MiniMax-01's mix (section 6.1), and chats.

Raw or refined captions by even odds, descriptions of about 300 tokens, instruction data whose
prompt types are drawn with balanced probability; conversations as text with loss spans.
"""
