"""Bins: looked into, made from faces, fetched and converted."""
