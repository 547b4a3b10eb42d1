"""Images in a language model: a vision transformer and a projector before its blocks.

    recipe      sizes, as the ``vision`` block of a model's recipe
    images      what a micro-batch shows: tiles of pixels, and how each image was tiled
    tower       tiles to features        (``block``, ``attention``, ``mlp``)
    projector   features to the model's width, in the order of the sequence
    merge       features to the places of a packed sequence that wait for them
    parts       which parts of a model a stage trains
    reference   all of it in plain torch, which judges the others

Nothing is imported here: a recipe is read without torch.
"""
