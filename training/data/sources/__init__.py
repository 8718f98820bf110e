"""Where training images come from, and the formats that hold them.

`faces` is what all give; `folders` a folder a person, `records` and `recordio` record files,
`shards` TFRecords, `digits` a small set that comes along.
"""
