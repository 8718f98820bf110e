"""What `import training` offers beside layers and losses: `models`, `faces` and their `batches`,
`teacher`, `runs`, and `callback`, which verifies in any fit.
"""
