"""A run's folder: checkpoints, curves, events and the record of what was trained.

`runs` is the folder, `checkpoints` what it resumes from, `curves` its figures by epoch, `events`
what TensorBoard reads.
"""
