"""The user's side: command line, registry, leaderboard, demo. May import evaluator and training."""
