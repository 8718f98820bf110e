"""Weights that PyTorch programs saved, read without PyTorch and without running what is inside.

`read` gives the arrays of a file by name, and tells such files from others; `pickled` knows what
torch.save writes, `safetensors` the format of that name.
"""
