"""OpenVINO's own models, an .xml with its .bin: read and checked in Python (`document`) by a table
of operations (`ops`), then run by OpenVINO from what was read (`load`); `macs` counts.
"""
