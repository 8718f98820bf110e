"""Model files: told by content, hashed, checked, and turned into an Embedder.

`formats` tells them apart, `identity` hashes them, `options` is what a user may say,
`load` checks and loads, `export` saves the part that embeds, `input_note` reads what stands beside
a model, `runtime` sets TensorFlow up. Each format has a room: `frozen`, `keras`, `onnx`,
`openvino_ir`, `savedmodel`, `tflite`; what these share stands here (`graph` and `graph_*`, what
TensorFlow's share), and what other files are, in `unread`. `torch_weights` reads weights without a
network.
"""
