"""TensorFlow Lite models, scanned by LiteRT's schema (`graph`), then run by LiteRT (`load`)."""
