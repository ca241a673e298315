"""Counts and messages of a conversion."""


class Findings:
    """Counts and messages of a conversion. The counts are stored with the dataset.

    Attributes:
      counts: name -> count.
      bytes_read: bytes read so far of the current input file.
      left_out: messages for the user, one line for each thing that was left out.
    """

    def __init__(self, counts: dict[str, int] | None = None):
        self.counts = dict(counts or {})
        self.bytes_read = 0
        self.left_out: list[str] = []

    def add(self, name: str, count: int = 1) -> None:
        """Adds to a count. A count of 0 is not stored."""
        if count:
            self.counts[name] = self.counts.get(name, 0) + count

    def leave_out(self, name: str, problem: str, count: int = 1) -> None:
        """Counts `count` episodes or files that are left out, and keeps the reason."""
        self.add(name, count)
        self.left_out.append(problem)
