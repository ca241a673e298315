"""What the commands print."""

_TINY = ("s are dead (", "the features have collapsed")


def without_dead(stderr: str) -> str:
    """The output without warnings of what is dead: networks and data are tiny in tests."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not any(text in line for text in _TINY))
