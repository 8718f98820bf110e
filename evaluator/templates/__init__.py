"""Sets of templates, each one or more images of a person: verified one to one, searched one to N.

`template_set` is the set itself, `layouts` reads it from a folder, `image_files` its images;
`pooling` makes these images' embeddings vectors of templates. `pair_scores` are the cosines of a
1:1 list and `nearest_far` its TAR as published rows have it; `search` is 1:N, `searches` what it
found in a gallery, `identification` the figures of that and `gallery_size` what they would be in
smaller galleries. `evaluation` does all of it, and `kept_embeddings` lets that go on where it was
interrupted.
"""
