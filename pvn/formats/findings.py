"""What a conversion finds besides rows."""


class Findings:
    """What a conversion finds besides rows. The counts are stored with the dataset."""

    def __init__(self, counts: dict[str, int] | None = None):
        self.counts = dict(counts or {})
        self.bytes_read = 0  # of the current input file
        self.left_out: list[str] = []  # messages for the person, one line each

    def add(self, name: str, count: int = 1) -> None:
        """Adds to a count. A count of 0 is not stored."""
        if count:
            self.counts[name] = self.counts.get(name, 0) + count

    def leave_out(self, name: str, problem: str, count: int = 1) -> None:
        """Counts `count` episodes or files that are not in the dataset, and keeps the reason."""
        self.add(name, count)
        self.left_out.append(problem)
