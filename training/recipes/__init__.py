"""Recipes: what a training does, read from models.yaml, checked, and varied with --set.

`recipe` has the Recipe and what makes one, `parts` what it consists of, `schedules` the rates,
`registry` the names that others add; `reading` checks values.
"""
