"""Training images and their labels: record files, a folder per person, TFRecord shards."""
