"""`zoo doctor`: placeholder"""


def doctor() -> None:
    """Check."""
