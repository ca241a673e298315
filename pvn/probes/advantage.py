"""Which action is better, as a probe target: advantages from rollouts in the emulator.

The advantage of action a in state s is A(s, a) = Q(s, a) - mean over a' of Q(s, a'). Q is the value
of taking a, and of acting uniformly at random after it: the discounted sum of the rewards of
`steps` steps. A rollout k of a state gives a return G_k(s, a) for each action and therefore
A_k(s, a) = G_k(s, a) - mean over a' of G_k(s, a'). The target is the mean over n rollouts. All
actions of a rollout share its random numbers (later actions, sticky frames), which removes much of
the noise of their difference. Rollouts are independent of each other, so the variance of the noise
of the target is

    N(s, a) = 1 / (n (n - 1)) sum over k of (A_k(s, a) - mean over k)^2

With the means of N over states and actions, of the squared error E and of the variance V of the
target, R^2 of the advantage without noise is 1 - (E - N) / (V - N): the noise of the rollouts is
independent of the features.
"""

import contextlib
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, NamedTuple

import numpy as np

from pvn.data.store import Dataset
from pvn.errors import UserError
from pvn.fields import SEED, flag, real, whole
from pvn.probes.rollouts import Branching, branch_dataset, check_collected, draw_branch_points
from pvn.storage.files import Lock, Locked, write_whole
from pvn.storage.paths import make_folder

Progress = Callable[[int, str, str], Any]
"""(total, unit, description) -> a progress bar, as `pvn.runs.console.progress` makes it."""

_VERSION = 1  # of the computation; part of the name of the stored returns


class AdvantageSettings(NamedTuple):
    """Settings of `AdvantageTarget`."""

    num_states: Annotated[int, whole(10)] = 1000  # rows that are drawn from the dataset
    rollouts: Annotated[int, whole(2)] = 8  # per state and action
    steps: Annotated[int, whole(1)] = 30
    discount: Annotated[float, real(0, 1, closed="[]")] = 0.99
    clip_rewards: Annotated[bool, flag()] = True  # to [-1, 1], as in training
    seed: Annotated[int, SEED] = 0


class AdvantageTarget(AdvantageSettings):
    """Advantages of all actions. `scores` holds for the states of the last call of `targets`."""

    noise = float("nan")  # mean of N(s, a), of the last call of `targets`
    progress: Progress | None = None  # shows how far the rollouts are
    say: Callable[[str], object] = staticmethod(lambda line: None)  # says what it waits for
    rollouts_dir: Path | None = None  # keeps the returns of the rollouts, instead of `folder`

    def targets(self, dataset: Dataset, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """Advantages float32 [N, A], and whether they are known, bool [N, A]: at the drawn rows.

        It takes minutes. The returns are kept in `folder`, stream by stream, and found again. If
        another process computes the same there, this one waits for it.

        Args:
          dataset: from pvn.collect.
          folder: an existing folder.

        Raises:
          UserError: the dataset has another origin, the emulator does not repeat its games, or the
            file of the returns is damaged.
        """
        check_collected(dataset)
        settings = self._asdict() | {"version": _VERSION, "dataset": dataset.compute_fingerprint()}
        name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        if self.rollouts_dir:
            folder = self.rollouts_dir
            make_folder(folder, f"--rollouts_dir={folder}")
        row = draw_branch_points(dataset, self.num_states, self.seed)
        returns = self._returns(dataset, row, folder / f"advantage_{name}.npz")
        advantages, noise = estimate(returns)
        self.noise = float(noise.mean())
        shape = (len(dataset.rows.action), advantages.shape[1])
        values, known = np.zeros(shape, np.float32), np.zeros(shape, bool)
        values[row], known[row] = advantages, True
        return values, known

    def _returns(self, dataset: Dataset, row: np.ndarray, file: Path) -> np.ndarray:
        """Returns float64 [n, A, rollouts] of rows int64 [n]; the file keeps those of streams."""
        shape = (len(row), dataset.attributes["num_actions"], self.rollouts)
        returns = _load(file, shape)
        if not np.isnan(returns).any():
            return returns
        with self._lock(file.with_suffix(".lock")):
            returns = _load(file, shape)  # others may have computed them meanwhile
            missing = np.isnan(returns[:, 0, 0])
            branching = Branching(
                self.rollouts, self.steps, self.discount, self.clip_rewards, self.seed
            )
            show = self.progress or _hidden
            with show(int(missing.sum()), "states", "rollouts") as bar:
                for done, found in branch_dataset(dataset, row[missing], branching, bar.update):
                    returns[np.searchsorted(row, done)] = found
                    stream = io.BytesIO()
                    np.savez_compressed(stream, row=row, returns=returns)
                    write_whole(file, stream.getvalue())
        return returns

    @contextlib.contextmanager
    def _lock(self, file: Path) -> Iterator[None]:
        """Holds a lock; waits until nobody else does."""
        said, lock = False, None
        while lock is None:
            try:
                lock = Lock(file)
            except Locked as holder:
                if not said:
                    who = str(holder) or "another process"
                    self.say(f"advantage: waits for the rollouts of {who}")
                said = True
                time.sleep(1)
        try:
            yield
        finally:
            lock.release()

    def scores(self, values: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        """Scores of predicted advantages [M, A], by the advantages of the rollouts [M, A].

        r2_corrected: R^2 without the noise of the rollouts, over all actions. NaN if the targets
          vary no more than their noise.
        best_action: share of states in which the action with the highest prediction is the best.
          States in which all actions are equal do not count. NaN if there is no other.
        chosen_advantage: mean advantage of the action with the highest prediction; 0 by chance.
        """
        values, predictions = values.astype(np.float64), predictions.astype(np.float64)
        variance = np.mean(np.var(values, axis=0))
        error = np.mean(np.square(values - predictions))
        signal = variance - self.noise
        choice = np.argmax(predictions, axis=1)
        best = values == values.max(axis=1, keepdims=True)
        chosen = np.arange(len(values)), choice
        decided = ~best.all(axis=1)
        nan = float("nan")
        return {
            "r2_corrected": float(1 - (error - self.noise) / signal) if signal > 0 else nan,
            "best_action": float(best[chosen][decided].mean()) if decided.any() else nan,
            "chosen_advantage": float(values[chosen].mean()),
        }

    def details(self, values: np.ndarray) -> dict[str, float]:
        """Properties of the advantages of the rollouts [M, A], whatever the features.

        best_action_chance: the score best_action of a random action.
        noise_share: share of the variance of the targets that is noise.
        Both are NaN where they are not defined.
        """
        values = values.astype(np.float64)
        variance = np.mean(np.var(values, axis=0))
        best = values == values.max(axis=1, keepdims=True)
        decided = ~best.all(axis=1)
        nan = float("nan")
        return {
            "best_action_chance": float(best[decided].mean()) if decided.any() else nan,
            "noise_share": float(self.noise / variance) if variance > 0 else nan,
        }


def _load(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The returns in a file; NaN where it has none."""
    if not file.exists():
        return np.full(shape, np.nan)
    try:
        with np.load(io.BytesIO(file.read_bytes())) as stored:
            return np.asarray(stored["returns"])
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile):
        raise UserError(
            f"{file}: is damaged; delete it, and its rollouts are played again"
        ) from None


@contextlib.contextmanager
def _hidden(total: int, unit: str, description: str) -> Iterator[Any]:
    """A `Progress` that shows nothing."""
    yield SimpleNamespace(update=lambda count: None)


def estimate(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Advantages and the variances of their noise, both float64 [n, A].

    returns: float [n, A, rollouts], with at least two rollouts.
    """
    advantages = returns - returns.mean(axis=1, keepdims=True)
    noise = advantages.var(axis=2, ddof=1) / returns.shape[2]
    return advantages.mean(axis=2), noise
