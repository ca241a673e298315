"""What the commands print."""


def without_dead(stderr: str) -> str:
    """The output without warnings of dead units and tasks: networks and data are tiny in tests."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if "s are dead (" not in line)
