"""The replay buffer of a linear head: features, not frames, of E environments."""

import numpy as np

from pvn.evaluation.state import State
from pvn.types import Interaction


class FeatureReplay:
    """A ring buffer of the last `capacity` timesteps of E environments, for n-step interactions.

    Row (t, e) holds the features of environment e's observation at timestep t, the action, its
    reward, and whether the action ended the episode (`terminal`, or `truncated` by the time limit).
    After the end of an episode, row (t + 1, e) is the first row of the next episode. No interaction
    crosses the end of an episode.
    """

    def __init__(
        self, capacity: int, num_envs: int, num_features: int, *, n_step: int, discount: float
    ):
        """capacity: timesteps, more than n_step. discount: gamma of one timestep."""
        shape = (capacity, num_envs)
        self._features = np.zeros((*shape, num_features), np.float32)
        self._action = np.zeros(shape, np.int32)
        self._reward = np.zeros(shape, np.float32)
        self._terminal = np.zeros(shape, bool)
        self._truncated = np.zeros(shape, bool)
        self._capacity, self._num_envs = capacity, num_envs
        self._n_step, self._discount = n_step, discount
        self._added = 0  # timesteps added so far, including overwritten ones

    def __len__(self) -> int:
        """Number of rows in the buffer: timesteps times environments."""
        return min(self._added, self._capacity) * self._num_envs

    @property
    def added(self) -> int:
        """Number of timesteps added so far, including overwritten ones."""
        return self._added

    @property
    def oldest(self) -> int:
        """The first timestep that is not overwritten, counted from 0."""
        return max(0, self._added - self._capacity)

    @property
    def has_starts(self) -> bool:
        """Whether n more timesteps follow some row, so that an interaction can start there."""
        return self._added > self._n_step

    def add(
        self,
        features: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        terminal: np.ndarray,
        truncated: np.ndarray,
    ) -> None:
        """Adds one timestep: features float32 [E, F], the other arrays [E]."""
        at = self._added % self._capacity
        self._features[at] = features
        self._action[at] = action
        self._reward[at] = reward
        self._terminal[at] = terminal
        self._truncated[at] = truncated
        self._added += 1

    def rows(self, first: int) -> State:
        """Copies of the arrays of the timesteps from `first` on, [added - first, E, ...] each.

        first: not overwritten.
        """
        at = np.arange(first, self._added) % self._capacity
        return {name: array[at] for name, array in self._arrays().items()}

    def put(self, first: int, rows: State) -> None:
        """Stores the result of `rows(first)`, after all earlier timesteps."""
        end = first + len(rows["action"])
        at = np.arange(first, end) % self._capacity
        for name, array in self._arrays().items():
            array[at] = rows[name]
        self._added = end

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "features": self._features,
            "action": self._action,
            "reward": self._reward,
            "terminal": self._terminal,
            "truncated": self._truncated,
        }

    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """(timesteps, environments), int64 [M]: all rows where an interaction can start.

        The oldest row is first. A truncated row is not among them: its next state is not stored.
        """
        times = np.arange(self.oldest, self._added - self._n_step)
        time = np.repeat(times, self._num_envs)
        env = np.tile(np.arange(self._num_envs), len(times))
        usable = ~self._truncated[time % self._capacity, env]
        return time[usable], env[usable]

    def sample(self, random: np.random.Generator, batch_size: int) -> Interaction:
        """Draws B rows of `starts` uniformly with replacement; returns their interactions."""
        low, high = self.oldest, self._added - self._n_step
        time = random.integers(low, high, batch_size)
        env = random.integers(self._num_envs, size=batch_size)
        while (cut := self._truncated[time % self._capacity, env]).any():
            time[cut] = random.integers(low, high, int(cut.sum()))
            env[cut] = random.integers(self._num_envs, size=int(cut.sum()))
        return self.gather(time, env)

    def gather(self, time: np.ndarray, env: np.ndarray) -> Interaction:
        """The interactions that start at these rows [B], which must be rows of `starts`.

        Rewards are summed over n steps. The sum stops where the game ends (discount 0). It also
        stops before a truncated row, k < n steps after the start. The interaction then bootstraps
        from the features of that row with discount gamma^k, because the row's next state is not
        stored.
        """
        count = len(time)
        total, scale = np.zeros(count, np.float32), np.ones(count, np.float32)
        ended, going = np.zeros(count, bool), np.ones(count, bool)
        steps = np.zeros(count, np.int64)
        for k in range(self._n_step):
            at = (time + k) % self._capacity
            going &= ~self._truncated[at, env]
            total += np.where(going, scale * self._reward[at, env], 0)
            scale = np.where(going, scale * np.float32(self._discount), scale)
            steps += going
            ended |= going & self._terminal[at, env]
            going &= ~ended
        start = time % self._capacity
        return Interaction(
            features_tm1=self._features[start, env],
            a_tm1=self._action[start, env],
            r_t=total,
            discount_t=np.where(ended, 0, scale).astype(np.float32),
            features_t=self._features[(time + steps) % self._capacity, env],
        )
