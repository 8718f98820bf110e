"""The loop: a recipe fitted epoch by epoch, saved, verified, resumed.

`fit` runs it, `plan` says what it would cost, `callbacks` verifies.
"""
