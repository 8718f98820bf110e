"""A model measured on bins: images to embeddings to scores, within memory, watched for collapse.

`embed` has options and embeddings, `evaluation` the Measurement, `collapse` and `memory` what is
watched, `rows` that a model answers row by row, `timing` how long a batch takes.
"""
