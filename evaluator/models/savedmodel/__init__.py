"""TensorFlow SavedModels: scanned by TensorFlow's own protos, then run by TensorFlow: `load`."""
