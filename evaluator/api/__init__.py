"""What `import evaluator` offers to programs: evaluate, measure arrays, compare, store.

`evaluate`, `arrays`, `loaded` and `compare` are the questions, `evaluated` what comes back;
`evaluator` itself names what is public. `sources` opens what was given as a model; ``frame`` is
private.
"""
