"""Frozen TensorFlow graphs (.pb): the part from image to embedding is cut out and checked
(`graph`), then run by TensorFlow (`load`).
"""
