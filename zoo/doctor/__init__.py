"""`zoo doctor`: what is installed here, what works, and what to do about the rest.

`findings` looks, `self_test` measures a model whose figures are known.
"""
