"""The loop: a recipe fitted epoch by epoch, saved, verified, resumed.

`whole_run` is a run from its folder to its end, `fit` what trains in it, `session` what is shared
and reported, `plan` says what it would cost, `callbacks` verifies, `restored` gives models back out
of checkpoints.
"""
