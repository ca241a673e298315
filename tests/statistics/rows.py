"""Makes rows of results, as the commands write them, and directories that hold them."""

import json

from pvn.evaluation.records import EpisodeRow, ProbeRow


def row(episode_return, **fields):
    """A line of scores.jsonl."""
    base = {"game": "Pong", "agent": "pvn", "head": "dqn", "seed": 0, "phase": "eval"}
    return base | {"agent_step": 1000, "episode_return": episode_return, "length": 900} | fields


def probe_row(value, discount=0.99, **fields):
    """A line of probes.jsonl."""
    return {
        "game": "Pong", "agent": "pvn", "seed": 0, "target": "value",
        "settings": {"discount": discount, "clip_rewards": True, "max_rows": 50_000},
        "features": {"path": "runs/pong", "sha256": "ab"},
        "dataset": {"path": "data/pong", "fingerprint": "cd"},
        "metric": "r2", "value": value, "low": value - 0.125, "high": value + 0.125,
        "details": {"penalty": 10.0, "num_features": 512},
    } | fields  # fmt: skip


def write(directory, scores=None, probes=None):
    """Makes a directory with these lines, which may be text too. Returns its path."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in (("scores.jsonl", scores), ("probes.jsonl", probes)):
        if rows is not None:
            lines = [r if isinstance(r, str) else json.dumps(r) for r in rows]
            (directory / name).write_text("".join(f"{line}\n" for line in lines))
    return str(directory)


def without(fields, name):
    return {key: value for key, value in fields.items() if key != name}


def episode(episode_return, game="Pong", agent="pvn", head="dqn", seed=0, phase="eval", step=0):
    return EpisodeRow(game, agent, head, seed, phase, step, episode_return, 100)


def probed(agent, seed, discount, value, low, high, **fields):
    """A value probe in Pong."""
    settings = {"discount": discount, "clip_rewards": True, "max_rows": 50_000}
    row = ProbeRow("Pong", agent, seed, "value", settings, {}, {}, "r2", value, low, high, {})
    return row._replace(**fields)


def suite(folder):
    """Rows of three agents in two games with two seeds: training, two evaluations, probes."""
    scores, probes = [], []
    for agent, plus in (("pvn", 1.0), ("random_features", 0.0), ("other", 2.0)):
        for game, base, gain in (("Pong", -20.0, 9.0), ("Breakout", 2.0, 5.0)):
            for seed in (0, 1):
                for step in (1000, 300_000):
                    value = base + gain * (plus + seed) * step / 300_000
                    scores.append(row(value, game=game, agent=agent, seed=seed, agent_step=step))
                for step in range(25_000, 300_001, 25_000):
                    value = base + gain * (plus + seed) * step / 300_000
                    scores.append(
                        row(
                            value, game=game, agent=agent, seed=seed, phase="train", agent_step=step
                        )
                    )
                probes.append(probe_row(0.1 * plus + 0.5, game=game, agent=agent, seed=seed))
    return write(folder, scores, probes)
