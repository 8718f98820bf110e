"""Retrains the entries of the zoo. May import evaluator, never zoo."""
