"""TensorFlow Lite models: scanned by LiteRT's schema, then run by LiteRT."""
