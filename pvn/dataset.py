"""Inspects a dataset.

    python -m pvn.dataset info data/pong
    python -m pvn.dataset verify data/pong
    python -m pvn.dataset view data/pong --episode=3 --output=episode.gif

`info` prints statistics of the dataset. `verify` reads the whole dataset and checks every checksum
and invariant. It prints a line for each error and then exits with status 1. `view` draws an episode
as an animated GIF, or as a contact sheet if the output ends in .png.
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from pvn.data.gif import to_gif, to_grey
from pvn.data.layout import RAM_BYTES
from pvn.data.store import Dataset, open_dataset, stored_bytes, unfinished
from pvn.data.transitions import episode_spans, transition_rows
from pvn.data.verify import problems
from pvn.errors import UserError
from pvn.runs import config as cfg
from pvn.runs import console
from pvn.storage.files import write_whole
from pvn.storage.paths import normalise_path

_EPISODE = flags.DEFINE_integer("episode", 0, "view: number of the episode.", lower_bound=0)
_OUTPUT = cfg.define_path("output", "episode.gif", "view: file to write, .gif or .png.")
_MAX_FRAMES = flags.DEFINE_integer(
    "max_frames",
    1000,
    "view: largest number of frames. A GIF shows the first ones, a PNG at most 100, evenly spaced.",
    1,
)

_USAGE = "python -m pvn.dataset info|verify|view DIR"


def describe(dataset: Dataset) -> str:
    """Statistics of a dataset, as lines of text."""
    rows, attributes = dataset.rows, dataset.attributes
    starts, stops = episode_spans(rows.episode)
    whole = rows.terminal[stops - 1] & ~rows.cut_start[starts]
    returns = np.add.reduceat(rows.reward.astype(np.float64), starts)[whole]
    lengths = (stops - starts)[whole]
    actions = np.bincount(rows.action, minlength=attributes["num_actions"])
    size = stored_bytes(dataset.path)
    count = len(rows.action)

    def spread(values: np.ndarray) -> str:
        if not len(values):
            return "-"
        low, middle, high = np.quantile(values, [0, 0.5, 1])
        return f"mean {values.mean():,.2f}, median {middle:,g}, from {low:,g} to {high:,g}"

    conversion = {"unfinished": what} if (what := unfinished(attributes)) else {}
    lines = conversion | {
        "game": f"{attributes['game']}, {attributes['num_actions']} actions",
        "rows": f"{count:,}, of which {len(transition_rows(rows)):,} are transitions",
        "episodes": (
            f"{len(starts):,}: {int(rows.terminal.sum()):,} ended, "
            f"{int(rows.truncated.sum()):,} truncated, "
            f"{int(rows.cut_start.sum()):,} without their start"
        ),
        "returns": spread(returns) + " (of whole episodes)",
        "lengths": spread(lengths),
        "ram": "none" if rows.ram is None else f"{RAM_BYTES} bytes a row, before compression",
        "rewards": attributes.get("rewards", "as the game gives them"),
        "actions": ", ".join(f"{a}: {n / count:.1%}" for a, n in enumerate(actions)),
        "protocol": json.dumps(attributes["protocol"]),
        "source": json.dumps(attributes["source"]),
        "found": json.dumps(attributes.get("complete", {}).get("counts", {})),
        "on disk": (
            f"{size / 2**20:,.1f} MiB, {size / count:,.1f} bytes a row, "
            f"{count * rows.observation.frame_bytes / size:.0f} times smaller than its frames"
        )
        if size
        else "-",
        "fingerprint": dataset.compute_fingerprint(),
    }
    return "".join(f"{name + ':':<13}{text}\n" for name, text in lines.items())


def verify(dataset: Dataset) -> int:
    """Prints a line for each error in a dataset. Returns the exit status."""
    with console.progress(len(dataset.rows.action), "rows", "verify") as bar:
        found = 0
        for problem in problems(dataset, bar.update):
            found += 1
            console.say(f"error: dataset {dataset.path}: {problem}")
    if not found:
        print(f"{dataset.path}: {len(dataset.rows.action):,} rows, every checksum and rule holds")
    return int(found > 0)


def view(dataset: Dataset, episode: int, output: Path, max_frames: int) -> None:
    """Draws an episode to a .gif or .png file.

    Args:
      dataset: holds the episode.
      episode: its number.
      output: the file, whose folder must exist.
      max_frames: largest number of frames.

    Raises:
      UserError: there is no such episode or no such folder, or the output has another ending.
    """
    rows = np.flatnonzero(dataset.rows.episode == episode)
    if not len(rows):
        last = int(dataset.rows.episode[-1])
        raise UserError(f"--episode={episode}: there is no such episode, expected 0 to {last}")
    kind = output.suffix.lower()
    if kind not in (".gif", ".png"):
        raise UserError(f"--output={output}: expected a file that ends in .gif or .png")
    if not output.parent.is_dir():
        raise UserError(f"--output={output}: there is no folder {output.parent}")
    if kind == ".gif":
        chosen = rows[:max_frames]
    else:
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(max_frames, 100)).astype(int))]
    frames = dataset.rows.frame[int(chosen[0]) : int(chosen[-1]) + 1][chosen - chosen[0]]
    if kind == ".gif":
        picture = to_gif(frames)
    else:
        stream = io.BytesIO()
        Image.fromarray(contact_sheet(frames)).save(stream, "png")
        picture = stream.getvalue()
    write_whole(output, picture)
    print(f"{output}: {len(chosen)} of the {len(rows)} frames of episode {episode}")


def contact_sheet(frames: np.ndarray) -> np.ndarray:
    """uint8 [H, W] with n frames, ten in each row, with white lines between them."""
    pictures = np.stack([to_grey(frame) for frame in frames])
    height, width = pictures.shape[1] + 2, pictures.shape[2] + 2
    columns = min(len(frames), 10)
    count = -(-len(frames) // columns)
    tiles = np.full((count * columns, height, width), 255, np.uint8)
    tiles[: len(frames), 1:-1, 1:-1] = pictures
    grid = tiles.reshape(count, columns, height, width).swapaxes(1, 2)
    return grid.reshape(count * height, columns * width)


def main(verb: str, path: str) -> int:
    if verb not in ("info", "verify", "view"):
        raise UserError(f"{verb!r}: expected {_USAGE}")
    dataset = open_dataset(normalise_path(path, "DIR"))
    if verb == "info":
        sys.stdout.write(describe(dataset))
    elif verb == "verify":
        return verify(dataset)
    else:
        view(dataset, _EPISODE.value, Path(_OUTPUT.value), _MAX_FRAMES.value)
    return 0


if __name__ == "__main__":
    console.run(main, usage=_USAGE)
