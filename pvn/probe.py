r"""Probes frozen features: measures how well a linear function of them predicts some targets.

    python -m pvn.probe --features=runs/pong,random --dataset=data/pong \
        --targets=value,reward,action,next_features --workdir=runs/pong/probe
    python -m pvn.probe --features=runs/pong --dataset=data/pong --targets=action \
        --set=action.policy=runs/pong/eval --workdir=runs/pong/probe

docs/probing.md describes the targets and the scores; a target can be a user's own
(docs/extending.md). Each score is a row of probes.jsonl in the workdir. It replaces an older row
with the same features, dataset, target, settings, metric, agent and seed. To probe any callable,
call `pvn.probes.linear.probe`.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from pvn.data.joined import open_datasets
from pvn.data.store import Dataset
from pvn.errors import UserError
from pvn.evaluation.records import DIAGNOSTICS, PROBES, ProbeRow, is_name, put_probes
from pvn.features import Features, resolve_features, weights_sha256
from pvn.fields import check_field, fields_of
from pvn.plugins import is_plugin, plugin_identity
from pvn.probes.advantage import AdvantageTarget
from pvn.probes.diagnostics import Measure, linear_cka, measure
from pvn.probes.questions import Questions, ask_all
from pvn.probes.results import Origin, measure_rows, probe_rows
from pvn.probes.table import compute_table
from pvn.probes.target import TARGETS, NamedTarget, load_target
from pvn.probes.value import ValueTarget
from pvn.runs import config as cfg
from pvn.runs import console
from pvn.runs.run_directory import Workdir, command_line, lock_workdir
from pvn.storage.paths import make_folder

_FEATURES = cfg.define_paths(
    "features",
    "Run or features directories, or `random` (untrained), comma-separated.",
    required=True,
)
_LIKE = cfg.define_path(
    "like",
    None,
    "With --features=random: the run whose architecture to take. Default: the first directory in "
    "--features; without one, nature or minatar.",
    local=False,
)
_AGENT = flags.DEFINE_list(
    "agent",
    None,
    "Names of the features in tables, one for each. Default: pvn or random_features.",
)
_DATASET = cfg.define_paths("dataset", "Dataset directory, or several, a,b.", required=True)
_TARGETS = flags.DEFINE_list(
    "targets",
    ["value"],
    f"Targets to predict, comma-separated: {', '.join(TARGETS)}, or path/to/file.py:Name.",
)
_SET = flags.DEFINE_multi_string(
    "set", [], "A setting of one target, as action.policy=runs/pong/eval. May be repeated."
)
_DISCOUNT = flags.DEFINE_float("discount", 0.99, "Discount of the values, in [0, 1).")
_CLIP = flags.DEFINE_bool("clip_rewards", True, "Clip rewards to [-1, 1].")
_MAX_ROWS = flags.DEFINE_integer("max_rows", 50_000, "Largest number of rows.", lower_bound=100)
_DIAGNOSTICS = flags.DEFINE_bool("diagnostics", True, "Measure rank, dead units, norms, CKA, ...")
_SEED = cfg.define_seed("Seed of the split, and of random features.")
_ROLLOUTS_DIR = cfg.define_path(
    "rollouts_dir",
    None,
    "Where the target `advantage` keeps its rollouts, which take minutes; several probes may share "
    "it. Default: targets/ in --workdir.",
)
_WORKDIR = cfg.define_path(
    "workdir", None, "Directory of probes.jsonl.", required=True, local=False
)

_FOLDER = "targets"  # in the workdir: what targets keep


class Subject(NamedTuple):
    """Features to probe."""

    features: Features
    agent: str
    described: dict[str, Any]  # fields of a row that identify them


def _describe(features: Features, path: str) -> dict[str, Any]:
    """Fields of a row that identify the features: weights, encoder, a user's own code."""
    name = str(features.metadata["encoder"])
    described = {
        "path": path,
        "sha256": weights_sha256(features),
        "encoder": name.rpartition(":")[2],
        "dtype": features.metadata["dtype"],
    }
    if is_plugin(name):
        described["code"] = plugin_identity(name, features.folder)
    return described


def load_subjects(
    paths: list[str], like: str | None, names: list[str] | None, shape: tuple[int, int, int]
) -> list[Subject]:
    """The features that the flags describe, of observations of this shape (H, W, C).

    Raises:
      UserError: there are no such features; two have the same name; the numbers differ; a name
        cannot be one.
    """
    if names is not None and len(names) != len(paths):
        raise UserError(
            f"--agent={','.join(names)}: {len(names)} names for {len(paths)} --features"
        )
    if like and "random" not in paths:
        raise UserError(f"--like={like}: goes with --features=random, not with {','.join(paths)}")
    like = like or next((path for path in paths if path != "random"), None)
    subjects: list[Subject] = []
    for number, path in enumerate(paths):
        features = resolve_features(path, like if path == "random" else None, _SEED.value, shape)
        agent = names[number] if names else features.metadata.get("agent", "features")
        if not is_name(agent):
            raise UserError(f"--agent={agent!r}: expected a name of printable characters")
        if any(agent == other.agent for other in subjects):
            raise UserError(
                f"--features={','.join(paths)}: two are called {agent}; give them different names "
                "with --agent=first,second"
            )
        subjects.append(Subject(features, agent, _describe(features, path)))
    return subjects


def load_targets(names: list[str], settings: list[str]) -> list[NamedTarget]:
    """The targets that the flags --targets and --set describe.

    Raises:
      UserError: there is no such target or setting, or two targets have the same name.
    """
    given = {"discount": _DISCOUNT.value, "clip_rewards": _CLIP.value}
    for name, field in fields_of(ValueTarget).items():
        check_field(f"--{name}", given[name], field)
    if not names or len(set(names)) < len(names):
        raise UserError(f"--targets={','.join(names)}: expected one target or more, each once")
    _check_names(names)
    own: dict[str, dict[str, str]] = {name.rpartition(":")[2]: {} for name in names}
    for text in settings:
        place, equals, value = text.partition("=")
        target, dot, setting = place.partition(".")
        if not equals or not dot or target not in own:
            raise UserError(
                f"--set={text}: expected target.setting=value, with a target of "
                f"--targets={','.join(names)}"
            )
        own[target][setting] = value
    targets = [load_target(name, given, own[name.rpartition(":")[2]]) for name in names]
    for each in targets:
        if isinstance(each.target, AdvantageTarget):
            each.target.progress, each.target.say = console.progress, console.say
            if _ROLLOUTS_DIR.value:
                each.target.rollouts_dir = Path(_ROLLOUTS_DIR.value)
    return targets


def _check_names(names: list[str]) -> None:
    """Raises `UserError` unless the short names, which results have, tell the targets apart."""
    seen: dict[str, str] = {}
    for name in names:
        short = name.rpartition(":")[2]
        if is_plugin(name) and short in (*TARGETS, DIAGNOSTICS):
            raise UserError(
                f"--targets={name}: results of pvn's own have the name {short}; give yours another"
            )
        if short in seen:
            raise UserError(
                f"--targets={','.join(names)}: {seen[short]} and {name} have the same name {short} "
                "in results; rename one"
            )
        seen[short] = name


def probe_all(
    subjects: list[Subject], questions: Questions, dataset: Dataset, place: Workdir
) -> None:
    """Asks all questions of all features. Writes the rows of each features together.

    Raises:
      UserError: features are not finite or too large.
    """
    identity = {"path": dataset.path, "fingerprint": dataset.compute_fingerprint()}
    earlier: list[tuple[Subject, np.ndarray]] = []
    for subject in subjects:
        origin = _origin(subject, dataset, identity)
        rows = questions.rows
        try:
            with console.progress(len(rows), "states", f"features of {subject.agent}") as bar:
                table = compute_table(subject.features, dataset.rows, rows, bar.update)
            answers = list(questions.answers(table))
        except UserError as error:
            if not (text := str(error)).startswith("probe: "):
                raise
            text = text.removeprefix("probe: ")
            raise UserError(f"features {subject.described['path']}: {text}") from None
        made: list[ProbeRow] = []
        for target, result in answers:
            made += probe_rows(origin, target, result, _MAX_ROWS.value)
            for metric, score in result.scores.items():
                words = {"r2": "R^2", "r2_pooled": "pooled R^2"}
                word = words.get(metric, metric.replace("_", " "))
                console.say(
                    f"{subject.agent}: {target.name} probe {word} {score.value:.3f} "
                    f"[{score.low:.3f}, {score.high:.3f}] on {result.num_test_episodes} episodes"
                )
        if _DIAGNOSTICS.value:
            sample = table.at(questions.diagnosed)
            measures = measure(sample)
            made += measure_rows(origin, measures)
            for other, x in earlier:
                settings = {"other": other.agent, "states": len(sample)}
                measures.append(Measure("cka", linear_cka(x, sample), settings))
                both = subject.described | {"other_sha256": other.described["sha256"]}
                made += measure_rows(origin._replace(features=both), measures[-1:])
            console.say(f"{subject.agent}: {', '.join(map(_words, measures))}")
            earlier.append((subject, sample))
        put_probes(place.workdir / PROBES, made)
        place.push(PROBES)
        del table  # before the next one is made


def _origin(subject: Subject, dataset: Dataset, identity: dict[str, Any]) -> Origin:
    features = subject.features
    return Origin(
        game=dataset.attributes["game"],
        agent=subject.agent,
        seed=_SEED.value,
        features=subject.described,
        dataset=identity,
        details={
            "num_features": features.num_features,
            "step": features.metadata.get("step"),
            "command": command_line(),
        },
    )


def _words(each: Measure) -> str:
    other = each.settings.get("other")
    name = f"CKA with {other}" if other else each.metric.replace("_", " ")
    return f"{name} {each.value:.4g}"


def main() -> int:
    targets = load_targets(_TARGETS.value, _SET.value)
    dataset = open_datasets(_DATASET.value)
    subjects = load_subjects(
        _FEATURES.value, _LIKE.value, _AGENT.value, dataset.rows.observation.shape
    )
    with lock_workdir(_WORKDIR.value, PROBES, _FOLDER) as place:
        folder = place.workdir / _FOLDER
        make_folder(folder, f"--workdir={_WORKDIR.value}")
        try:
            questions = ask_all(
                targets,
                dataset,
                folder,
                max_rows=_MAX_ROWS.value,
                seed=_SEED.value,
                diagnostics=_DIAGNOSTICS.value,
            )
        finally:
            if not any(folder.iterdir()):
                folder.rmdir()
        if folder.exists():
            place.push(_FOLDER)
        probe_all(subjects, questions, dataset, place)
    return 0


if __name__ == "__main__":
    console.run(main, memory="--max_rows")
