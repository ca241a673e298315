"""A trace of some training steps, that XProf and Perfetto open."""

from pathlib import Path

import jax

from pvn import console

FOLDER = "profile"  # in the run directory


class Profile:
    """Traces the steps `first` to `last`, counted from 1. Use as a context manager.

    The trace also shows parts of their neighbours, because steps are queued ahead.
    """

    def __init__(self, steps: tuple[int, int], workdir: Path, together: int = 1):
        """
        Args:
          steps: (first, last).
          workdir: of the run; the trace is in its folder `profile`.
          together: steps of a dispatch, which are traced together.
        """
        self._first, self._last = steps
        self._together = together
        self._folder, self._running = workdir / FOLDER, False

    def start(self, step: int) -> None:
        """Call it before the first step. step: steps that are already taken."""
        if step >= self._first:
            console.say(
                f"warning: --profile_steps: the run goes on after step {step:,}, so steps "
                f"{self._first} to {self._last} are not traced"
            )
        self.after(step)

    def after(self, step: int) -> None:
        """Call it after each dispatch. step: steps that are taken or queued."""
        if step < self._first <= step + self._together:
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
            self._running = True
        elif step >= self._last + 2 * self._together:  # when the next but one is queued, it ended
            self._stop()

    def _stop(self) -> None:
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
            console.say(f"{self._folder}: a profile of steps {self._first} to {self._last}")

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
