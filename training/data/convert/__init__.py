"""Training data turned into another form: packed, unpacked, described, written whole.

`pack`, `unpack` and `tfrecords` write, `describe` looks in; `convert` is what they share, `staging`
how a folder appears at once.
"""
