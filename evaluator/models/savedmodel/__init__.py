"""TensorFlow SavedModels: their folder, their graph by TensorFlow's own protos, then TensorFlow."""
