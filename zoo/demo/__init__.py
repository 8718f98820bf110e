"""`zoo demo`: real faces, two classic models and a small network, for a first hour.

`faces_and_models` makes the data, `network` trains.
"""
