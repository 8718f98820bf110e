"""Measures face-embedding models on verification bins. Imports neither zoo nor training."""
