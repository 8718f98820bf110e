"""What is wrong with faces to train on, for a person to look at: the parts of `zoo data clean`.

`clean` finds it, `findings` says and writes it.
"""
