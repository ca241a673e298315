"""The replay buffer of E environments: what was seen and done at the last timesteps.

What it keeps of a state is up to its `StateBuffer`: the features of a frozen encoder, or the frames
that an encoder in training needs.
"""

from typing import Protocol

import numpy as np

from pvn.evaluation.returns import sum_rewards
from pvn.evaluation.state import State
from pvn.types import Interaction, ObservationSpec


class StateBuffer(Protocol):
    """The states of a ring buffer of C timesteps of E environments."""

    before: int
    """Number of earlier timesteps that a state may depend on."""

    def put(self, at: int, state: np.ndarray, first: np.ndarray) -> None:
        """Stores the states [E, ...] of slot `at`. first: bool [E], episodes that begin here."""
        ...

    def take(self, slot: np.ndarray, env: np.ndarray) -> np.ndarray:
        """The states [B, ...] in these slots, int [B]."""
        ...


class FeatureBuffer:
    """Keeps vectors float32 [E, F]."""

    before = 0

    def __init__(self, capacity: int, num_envs: int, num_features: int):
        self.features = np.zeros((capacity, num_envs, num_features), np.float32)

    def put(self, at: int, state: np.ndarray, first: np.ndarray) -> None:
        """Stores features float32 [E, F]."""
        self.features[at] = state

    def take(self, slot: np.ndarray, env: np.ndarray) -> np.ndarray:
        """Features float32 [B, F]."""
        return self.features[slot, env]


class FrameBuffer:
    """Keeps each frame uint8 [E, *frame] once, and gathers the last S when they are read."""

    def __init__(self, capacity: int, num_envs: int, observation: ObservationSpec):
        self._stack = observation.stack
        self.before = self._stack - 1
        self._frame = np.zeros((capacity, num_envs, *observation.frame), np.uint8)
        # Timesteps since the start of the episode, at most S - 1.
        self._age = np.zeros((capacity, num_envs), np.uint8)
        self._newest = -1  # slot

    def put(self, at: int, state: np.ndarray, first: np.ndarray) -> None:
        """Stores frames uint8 [E, *frame]."""
        self._frame[at] = state
        older = np.minimum(self._age[self._newest] + 1, self.before)
        self._age[at] = np.where(first, 0, older)
        self._newest = at

    def take(self, slot: np.ndarray, env: np.ndarray) -> np.ndarray:
        """Frames uint8 [B, S, *frame], newest last; zeros before an episode's start."""
        stack = np.empty((len(slot), self._stack, *self._frame.shape[2:]), np.uint8)
        age = self._age[slot, env]
        for back in range(self._stack):
            stack[:, self.before - back] = self._frame[(slot - back) % len(self._frame), env]
            stack[age < back, self.before - back] = 0
        return stack


class Replay:
    """A ring buffer of the last `capacity` timesteps of E environments, for n-step interactions.

    Row (t, e) holds the state that environment e showed at timestep t, the action, its reward, and
    whether the action ended the episode (`terminal`, or `truncated` by the time limit). After the
    end of an episode, row (t + 1, e) is the first row of the next episode. No interaction crosses
    the end of an episode.
    """

    def __init__(
        self, capacity: int, num_envs: int, states: StateBuffer, *, n_step: int, discount: float
    ):
        """
        Args:
          capacity: timesteps; more than n_step and the states' `before` together.
          num_envs: E.
          states: an empty buffer of the same capacity.
          n_step: number of rewards that are summed before bootstrapping.
          discount: gamma of one timestep.
        """
        shape = (capacity, num_envs)
        self.states = states
        self._action = np.zeros(shape, np.int32)
        self._reward = np.zeros(shape, np.float32)
        self._terminal = np.zeros(shape, bool)
        self._truncated = np.zeros(shape, bool)
        self.capacity, self.num_envs, self.n_step = capacity, num_envs, n_step
        self._discount = discount
        self._added = 0  # timesteps added so far, including overwritten ones

    def __len__(self) -> int:
        """Number of rows in the buffer: timesteps times environments."""
        return min(self._added, self.capacity) * self.num_envs

    @property
    def added(self) -> int:
        """Number of timesteps added so far, including overwritten ones."""
        return self._added

    @property
    def oldest(self) -> int:
        """The first timestep that is not overwritten, counted from 0."""
        return max(0, self._added - self.capacity)

    @property
    def first_start(self) -> int:
        """The first timestep that has all that its state depends on."""
        return self.oldest + (self.states.before if self.oldest else 0)

    @property
    def end_start(self) -> int:
        """One past the last timestep that n more timesteps follow."""
        return self._added - self.n_step

    @property
    def has_starts(self) -> bool:
        """Whether an interaction can start somewhere."""
        return self.end_start > self.first_start

    def add(
        self,
        state: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        terminal: np.ndarray,
        truncated: np.ndarray,
    ) -> None:
        """Adds one timestep: states [E, ...], the other arrays [E]."""
        at, last = self._added % self.capacity, (self._added - 1) % self.capacity
        first = self._terminal[last] | self._truncated[last] | (self._added == 0)
        self.states.put(at, state, first)
        self._action[at] = action
        self._reward[at] = reward
        self._terminal[at] = terminal
        self._truncated[at] = truncated
        self._added += 1

    def rows(self, first: int) -> State:
        """Copies of the arrays of the timesteps from `first` on, [added - first, E, ...] each.

        first: not overwritten. Only of a replay of features.
        """
        at = np.arange(first, self._added) % self.capacity
        return {name: array[at] for name, array in self._arrays().items()}

    def put(self, first: int, rows: State) -> None:
        """Stores the result of `rows(first)`, after all earlier timesteps."""
        end = first + len(rows["action"])
        at = np.arange(first, end) % self.capacity
        for name, array in self._arrays().items():
            array[at] = rows[name]
        self._added = end

    def _arrays(self) -> dict[str, np.ndarray]:
        assert isinstance(self.states, FeatureBuffer)
        return {
            "features": self.states.features,
            "action": self._action,
            "reward": self._reward,
            "terminal": self._terminal,
            "truncated": self._truncated,
        }

    def is_start(self, time: np.ndarray, env: np.ndarray) -> np.ndarray:
        """bool [B]: whether an interaction can start at these rows.

        It cannot at a truncated row, because its next state is not stored.
        """
        inside = (time >= self.first_start) & (time < self.end_start)
        return inside & ~self._truncated[time % self.capacity, env]

    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """(timesteps, environments), int64 [M]: all rows where an interaction can start.

        The oldest row is first.
        """
        times = np.arange(self.first_start, self.end_start)
        time = np.repeat(times, self.num_envs)
        env = np.tile(np.arange(self.num_envs), len(times))
        usable = self.is_start(time, env)
        return time[usable], env[usable]

    def gather(self, time: np.ndarray, env: np.ndarray) -> Interaction:
        """The interactions that start at these rows [B], which must be rows of `starts`.

        Rewards are summed over n steps. The sum stops where the game ends (discount 0). It also
        stops before a truncated row, k < n steps after the start. The interaction then bootstraps
        from the state of that row with discount gamma^k, because the row's next state is not
        stored.
        """

        def after(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            at = (time + k) % self.capacity, env
            return self._reward[at], self._terminal[at], self._truncated[at]

        zeros = np.zeros(len(time), np.float32)
        sums = sum_rewards(map(after, range(self.n_step)), zeros, self._discount)
        start = time % self.capacity
        return Interaction(
            s_tm1=self.states.take(start, env),
            a_tm1=self._action[start, env],
            r_t=sums.reward,
            discount_t=sums.discount,
            s_t=self.states.take((time + sums.num_rewards) % self.capacity, env),
        )
