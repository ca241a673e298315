"""Published choices of checkpoints, and the selection of checkpoints in a folder."""

from collections.abc import Collection, Iterable

from pvn.errors import UserError

# The splits of SGI (arXiv 2106.04799). -1: the game's last checkpoint, which is 48, 49 or 50.
SPLITS = {
    "full": (),
    "mixed": (0, 9, 19, 29, 39, -1),
    "mixed_small": (0, 24, -1),
    "weak": (0,),
}
WEAK_RUNS = (1, 2, 3, 4, 5)


def choose_checkpoints(
    where: str, there: Collection[int], split: str | None, wanted: Iterable[int]
) -> tuple[list[int], list[str]]:
    """Returns (checkpoints to convert, ascending; a message for each range of missing checkpoints).

    Checkpoints are numbered from 0 without gaps, so a number without a checkpoint is missing.

    Args:
      where: the folder, for messages.
      there: numbers of the checkpoints in the folder.
      split: a key of `SPLITS`, or None.
      wanted: the numbers to convert if there is no split; empty for all.

    Raises:
      UserError: the folder holds no checkpoint.
    """
    if not there:
        raise UserError(f"{where}: holds no checkpoints")
    numbers = SPLITS[split] if split else tuple(wanted)
    chosen = {max(there) if n == -1 else n for n in numbers}
    chosen = chosen or set(range(max(there) + 1))
    absent = sorted(chosen - set(there))
    lines = [
        f"{where}: has no checkpoint {span}, only {spans(there)}; choose with --checkpoints"
        for span in spans(absent).split(",")
        if span
    ]
    return sorted(chosen & set(there)), lines


def spans(numbers: Collection[int]) -> str:
    """ "0-3,7" for {0, 1, 2, 3, 7}."""
    starts = sorted(n for n in numbers if n - 1 not in numbers)
    ends = sorted(n for n in numbers if n + 1 not in numbers)
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in zip(starts, ends, strict=True))
