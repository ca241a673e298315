"""What the commands print."""


def without_dead_units(stderr: str) -> str:
    """The output without the warnings of dead units: the networks of tests are tiny."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if "units are dead" not in line)
