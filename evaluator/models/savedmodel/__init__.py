"""TensorFlow SavedModels: scanned by TensorFlow's own protos, then run by TensorFlow: `load`.

`ops` are the operations that compute, of frozen graphs too; `graph` holds constants to memory.
"""
