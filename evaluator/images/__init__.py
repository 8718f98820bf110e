"""Images: their format told by content, decoded to pixels, and as a model's input takes them.

`decode`, `image_format`, `png`, `alignment` by five points, and `inputs` with InputSpec and
Embedder.
"""
