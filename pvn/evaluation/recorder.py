"""What an evaluation writes while it plays: the rows of episodes, and checkpoints."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pvn.evaluation.checkpoint import Checkpoint, save_checkpoint
from pvn.evaluation.learner import Learner
from pvn.evaluation.records import EpisodeRow, append
from pvn.evaluation.replay import Replay
from pvn.evaluation.rollout import PlayedEpisode, Rollout
from pvn.evaluation.stream import EpisodeStore, Position
from pvn.storage.files import LineWriter, write_whole

CHECKPOINTS = "checkpoints"
"""Name of the folder of the checkpoints."""


class Recorder:
    """Writes scores.jsonl.partial and checkpoints. A context manager.

    Agent steps of checkpoints are counted in both phases.
    """

    def __init__(
        self,
        workdir: Path,
        identity: Mapping[str, Any],
        check_held: Callable[[], None],
        publish: Callable[[], object],
        row: EpisodeRow,
        every: int,
        saved: Checkpoint | None,
    ):
        """Begins scores.jsonl.partial, with the rows of the checkpoint.

        Args:
          workdir: the run directory.
          identity: everything that determines the run; JSON.
          check_held: raises an error if the directory does not belong to this run any more.
          publish: called after each checkpoint; brings a run on `gs://` up to date.
          row: the fields that are the same for all episodes; the other fields are ignored.
          every: agent steps between checkpoints.
          saved: the checkpoint from which the run resumes.
        """
        self.workdir, self.check_held = workdir, check_held
        self.file = workdir / "scores.jsonl.partial"
        self.saved_at = saved.agent_step if saved else 0  # agent step of the newest checkpoint
        self._identity, self._row, self._every = identity, row, every
        self._publish = publish
        write_whole(self.file, saved.scores if saved else b"")
        self._lines = LineWriter(self.file)

    def write(self, phase: str, agent_step: int, episodes: list[PlayedEpisode]) -> None:
        """Appends a row for each episode. phase: "train" or "eval"."""
        if episodes:
            self.check_held()
        for _, episode_return, length in episodes:
            row = self._row._replace(phase=phase, agent_step=agent_step)
            append(self._lines, row._replace(episode_return=episode_return, length=length))

    def is_due(self, agent_step: int) -> bool:
        """Whether a checkpoint is due at this agent step."""
        return agent_step >= self.saved_at + self._every

    def save(
        self,
        phase: str,
        agent_step: int,
        rollout: Rollout,
        learner: Learner | None,
        *,
        learned_at: int = 0,
        replay: Replay | None = None,
        store: EpisodeStore | None = None,
    ) -> None:
        """Saves a checkpoint.

        Args:
          phase: "train" or "eval".
          agent_step: agent steps, or labels, so far in both phases.
          rollout: of the phase.
          learner: None for random play.
          learned_at: what the learner has learned from, in the phase "eval".
          replay: of features, in the phase "train".
          store: the dataset that is written, in the phase "train".
        """
        self.check_held()
        stored = store.flush() if store else Position()
        states = rollout.state(), learner.state() if learner else {}
        scores = self.file.read_bytes()
        checkpoint = Checkpoint(phase, agent_step, learned_at, scores, *states, stored)
        save_checkpoint(self.workdir / CHECKPOINTS, checkpoint, replay, self._identity)
        self.saved_at = agent_step
        self._publish()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
