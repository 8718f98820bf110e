"""A run's folder: checkpoints, curves, logs and the record of what was trained.

`runs` is the folder, `checkpoints` what it resumes from, and at which `position`, `curves` its
figures by epoch, `loggers` has TensorBoard and others get them too.
"""
