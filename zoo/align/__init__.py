"""Faces found in photographs, and cut out as models expect them.

`folder` aligns a folder, `faces` one image, `landmarks` points that are known; `detector` finds
them.
"""
