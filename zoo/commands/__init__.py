"""One module a command: its options, and the order of what it does."""
