"""A trace of some training steps, that XProf and Perfetto open."""

from pathlib import Path

import jax

from pvn.runs import console

FOLDER = "profile"  # in the run directory


class Profile:
    """Traces the steps `first` to `last`, counted from 1. Use as a context manager.

    The trace also shows parts of their neighbours, because steps are queued ahead.
    """

    def __init__(self, steps: tuple[int, int], workdir: Path, place: str, together: int = 1):
        """
        Args:
          steps: (first, last).
          workdir: of the run, local; the trace is in its folder `profile`.
          place: the name of the run in messages.
          together: steps of a dispatch, which are traced together.
        """
        self._first, self._last = steps
        self._folder, self._place, self._together = workdir / FOLDER, place, together
        self._started = self._running = False

    def after(self, step: int) -> None:
        """Call it before the first step and after each dispatch.

        step: steps that are taken or queued.
        """
        if step < self._first <= step + self._together:
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
            self._started = self._running = True
        elif step >= self._last + 2 * self._together:  # when the next but one is queued, it ended
            self._stop()

    def _stop(self) -> None:
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
            console.say(f"{self._place}/{FOLDER}: a profile of steps {self._first} to {self._last}")

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        if not self._started:
            console.say(
                f"warning: --profile_steps: {self._place} did not come to step {self._first} from "
                "an earlier one, so there is no profile"
            )
