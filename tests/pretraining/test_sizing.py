"""The sizes of runs, against counts by hand, real files and a real process."""

import re
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pvn.errors import UserError
from pvn.indicators.random_network import RandomNetwork
from pvn.learning.checkpoint import save_checkpoint
from pvn.learning.objectives import successor_objective
from pvn.learning.target_policies import TARGET_POLICIES, TargetPolicy
from pvn.networks.encoders import make_encoder
from pvn.networks.proto_value import make_proto_value_network
from pvn.pretraining.memory import num_bytes, temporary_bytes
from pvn.pretraining.sizing import (
    Step,
    format_sizes,
    num_parameters,
    shapes_of_params,
    size_run,
    state_shapes,
    step_flop,
)
from pvn.pretraining.training import objective_of
from tests.experiments import WHOLE_SCREEN, experiment

ADAM = (optax.adam(1e-3), optax.adam(1e-3))
F, T, A = 512, 100, 18
NATURE_PARAMETERS = (
    (8 * 8 * 4 * 32 + 32) + (4 * 4 * 32 * 64 + 64) + (3 * 3 * 64 * 64 + 64) + (11 * 11 * 64 * F + F)
)
HEADS_PARAMETERS = F * T * A + T * A
FRAME = 84 * 84
BITS = 13  # bytes of a cached response of 100 tasks


TASKS = RandomNetwork(proportion=0.05, tasks_per_network=50).indicator(T)


def nature(policy: TargetPolicy | None = TARGET_POLICIES["uniform"]) -> Step:
    network = make_proto_value_network(make_encoder("nature", width=1, num_features=F), T, A)
    objective = successor_objective(network=network, indicator=TASKS, policy=policy, gamma=0.9)
    thresholds = jax.ShapeDtypeStruct((T,), jnp.float32)
    return Step(objective, shapes_of_params(network), thresholds, T)


@pytest.fixture(scope="module")
def other(run: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second dataset, of 300 timesteps of Breakout."""
    path = tmp_path_factory.mktemp("other") / "breakout"
    arguments = ("--game=Breakout", "--num_steps=300", "--seed=1", f"--dataset={path}")
    assert run("pvn.collect", *arguments).returncode == 0
    return path


@pytest.fixture
def not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that do not look at the temporary memory: a compilation takes seconds."""
    monkeypatch.setattr("pvn.pretraining.memory.temporary_bytes", lambda *shapes, donate=(): 0.0)


def test_parameters() -> None:
    params = nature().params
    assert num_parameters(params["encoder"]) == NATURE_PARAMETERS
    assert num_parameters(params["heads"]) == HEADS_PARAMETERS
    assert num_bytes(params) == 4 * (NATURE_PARAMETERS + HEADS_PARAMETERS)


def convolution(side: int, kernel: int, stride: int, inputs: int, outputs: int) -> int:
    """FLOP with padding SAME, without the products with the padding."""
    out = -(-side // stride)
    pad = max((out - 1) * stride + kernel - side, 0) // 2
    pairs = sum(0 <= o * stride - pad + k < side for o in range(out) for k in range(kernel))
    return 2 * pairs**2 * inputs * outputs


FIRST = convolution(84, 8, 4, 4, 32)
CONVOLUTIONS = FIRST + convolution(21, 4, 2, 32, 64) + convolution(11, 3, 1, 64, 64)


def test_flop_of_a_step() -> None:
    features = CONVOLUTIONS + 2 * 7744 * F
    flop = step_flop(nature(), 32)
    assert flop.target == 32 * (features + 2 * F * T)
    # Nobody needs the gradient of the first layer's input. The bias has no input.
    online = 3 * (features + 2 * F * T * A) - FIRST + 2 * 2 * T * A
    assert flop.online == 32 * online
    assert step_flop(nature(None), 32) == (flop.online, 0, 0)
    behaviour = step_flop(nature(TARGET_POLICIES["behaviour"]), 32)
    assert behaviour == (flop.online, 32 * (features + 2 * F * T * A + 2 * T * A), 0)
    greedy = step_flop(nature(TARGET_POLICIES["greedy"]), 32)
    assert greedy == (flop.online, 32 * (features + 2 * F * T * A), 0)


def test_temporary_memory() -> None:
    """A sum of numbers in order needs a copy of them, and nothing else of that size."""
    numbers = jax.ShapeDtypeStruct((100_000,), jnp.float32)
    found = temporary_bytes(lambda x: jnp.cumsum(jnp.sort(x))[::1000], numbers)
    assert 400_000 <= found <= 1_200_000
    assert temporary_bytes(lambda x: x + 1, numbers, donate=(0,)) == 0


def test_state() -> None:
    state = state_shapes(nature(), ADAM)
    # Parameters, two moments and target, whose heads are means over actions; thresholds, two
    # moments. Step, two counts of Adam, six totals, first bad step.
    expected = 4 * NATURE_PARAMETERS + 3 * HEADS_PARAMETERS + HEADS_PARAMETERS // A + 3 * T + 10
    assert num_bytes(state) == 4 * expected


@pytest.mark.usefixtures("not_compiled")
def test_a_checkpoint_takes_the_bytes_of_the_state(dataset: Path, tmp_path: Path) -> None:
    e = experiment(dataset, num_features=64, num_tasks=10, keep_checkpoints=3)
    sizes = size_run(e)
    thresholds = jax.ShapeDtypeStruct((10,), "f4")
    step = Step(objective_of(e, e.indicator, None), shapes_of_params(e.network), thresholds, 10)
    shapes = state_shapes(step, ADAM)
    random = np.random.default_rng(0)
    state = jax.tree.map(lambda x: np.asarray(random.normal(size=x.shape), x.dtype), shapes)
    save_checkpoint(tmp_path, 1, state, {}, keep=1)
    real = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert sizes.device.state == sizes.disk.checkpoint
    assert sizes.disk.checkpoints_kept == 3 * sizes.disk.checkpoint
    assert sizes.disk.checkpoint == pytest.approx(real, rel=0.01)


def test_sizes_of_a_run(dataset: Path) -> None:
    """3,000 rows of Breakout, four actions, on four devices."""
    e = experiment(dataset, num_devices=4)
    sizes = size_run(e)
    assert (sizes.num_steps, sizes.num_devices, sizes.batch_size) == (4500, 4, 8)
    assert sizes.parameters == (NATURE_PARAMETERS, F * T * 4 + T * 4)
    assert sizes.device.saved_state == sizes.device.state  # a CPU
    assert sizes.device.batch == 8 * (5 * FRAME + BITS + 12)
    assert sizes.device.diagnostics == 512 * (8 * FRAME + BITS + 12)
    # All gradients at once and, of 512 states, what the first convolution gives.
    assert sizes.device.temporary > max(4 * sum(sizes.parameters), 512 * 21 * 21 * 32 * 4)
    assert sizes.device.temporary < 2**28
    assert sizes.device[-2:] == (0, 0)
    count = e.transitions.num_transitions
    assert sizes.disk[2:4] == (3000 * BITS, count * T * 4)
    assert sizes.disk.features == 4 * NATURE_PARAMETERS
    networks = 2 * (77_824 + 7_744 * 50)  # each with convolutions and 50 outputs
    assert sizes.disk.successor == 4 * (sizes.parameters.heads + networks + T)
    assert sizes.flop.responses == 0
    one_state = CONVOLUTIONS + 2 * 7744 * 50
    assert sizes.prepare_flop == 3000 * 2 * one_state
    assert sizes.host == (
        *(3001 * FRAME, 3000 * BITS, 0, e.transitions.nbytes, 0),
        *(8 * 32 * 5 * FRAME, 0, count * T * 4),
    )
    assert sizes.datasets == ((str(dataset), count, 4500 * 32),)


def test_inverse_dynamics_has_no_tasks(dataset: Path) -> None:
    sizes = size_run(experiment(dataset, loss="inverse_dynamics"))
    assert sizes.parameters == (NATURE_PARAMETERS, 2 * F * 256 + 256 + 256 * 4 + 4)
    assert sizes.flop[1:] == (0, 0)
    # At least the forward pass and the weights' gradients of both states.
    assert sizes.flop.online > 2 * 2 * 32 * (CONVOLUTIONS + 2 * 7744 * F)
    assert (sizes.num_states, sizes.prepare_flop) == (0, 0)
    assert (sizes.disk.responses, sizes.disk.successor) == (0, 0)
    assert (sizes.host.responses, sizes.host.threshold_fit) == (0, 0)


@pytest.mark.usefixtures("not_compiled")
def test_options_change_the_sizes(dataset: Path) -> None:
    base = size_run(experiment(dataset))
    standardised = size_run(experiment(dataset, cumulants="standardised"))
    assert standardised.host.threshold_fit == 2 * base.host.threshold_fit
    assert standardised.disk.threshold_fit == base.disk.threshold_fit
    chosen = size_run(experiment(dataset, candidates_per_task=4))
    assert chosen.choice_states == 3000  # all rows
    assert chosen.host.candidates == 3000 * 400 * 4
    assert (base.choice_states, base.host.candidates) == (0, 0)
    in_step = size_run(experiment(dataset, responses="in_step"))
    one_state = base.prepare_flop / 3000
    assert in_step.flop.responses == 32 * one_state
    assert in_step.prepare_flop == 8192 * one_state
    assert (in_step.disk.responses, in_step.host.responses) == (0, 0)
    network = 8 * 8 * 4 * 32 + 4 * 4 * 32 * 64 + 3 * 3 * 64 * 64 + 7744 * 50
    assert in_step.device.indicator == 4 * 2 * network
    assert in_step.device.batch == base.device.batch - 32 * BITS

    on_device = size_run(experiment(dataset, data_residency="device"))
    assert (on_device.device.frames, on_device.host.frames) == (3001 * FRAME, 0)
    assert on_device.device.batch == 0
    assert on_device.device.transitions == 2999 * (5 * 4 + 12) + 3000 * BITS
    assert on_device.host.responses == base.host.responses
    host_draws = size_run(experiment(dataset, data_residency="device", dataset_weights=(1.0,)))
    assert host_draws.device.batch == base.device.batch - 32 * 5 * (FRAME - 4)
    assert (host_draws.device.frames, host_draws.device.transitions) == (3001 * FRAME, 0)
    together = size_run(experiment(dataset, steps_together=10))
    assert together.device.batch == 10 * base.device.batch
    assert together.host.batches == 10 * base.host.batches

    returns = size_run(experiment(dataset, loss="monte_carlo"))
    assert (returns.host.returns, returns.flop.target) == (2 * 3000 * T * 4, 0)
    assert returns.device.batch == base.device.batch + 32 * 4 * T


def test_returns_that_do_not_fit_are_refused(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 2 * 3000 * 2000 * 4
    assert needed > 2 * 3000 * FRAME  # so the frames fit
    fields = {"loss": "monte_carlo", "num_tasks": 2000}
    monkeypatch.setattr("pvn.pretraining.experiment.usable_memory", lambda: needed)
    experiment(dataset, **fields)
    monkeypatch.setattr("pvn.pretraining.experiment.usable_memory", lambda: needed - 1)
    with pytest.raises(UserError, match=r"^config\.loss: monte_carlo keeps returns of 2,000 tasks"):
        experiment(dataset, **fields)


def test_a_device_that_draws_computes_its_share_of_the_batch(minatar: Path) -> None:
    one, two = (
        size_run(
            experiment(
                minatar, encoder="minatar", batch_size=1024, num_devices=count,
                data_residency="device",
            )
        ).device
        for count in (1, 2)
    )  # fmt: skip
    assert one.transitions == two.transitions > 0
    assert 0.4 * one.temporary < two.temporary < 0.7 * one.temporary


@pytest.mark.usefixtures("not_compiled")
def test_a_moving_buffer_keeps_to_its_budget(dataset: Path) -> None:
    budget = 0.0105
    host = size_run(experiment(dataset, data_memory_gib=budget)).host
    data = host.frames + host.responses + host.columns + host.read_ahead
    assert 0.8 * budget < data / 2**30 <= 1.01 * budget
    assert host.read_ahead > 0


@pytest.mark.usefixtures("not_compiled")
@pytest.mark.parametrize(("weights", "shares"), [((), (2999, 299)), ((1.0, 3.0), (1, 3))])
def test_draws(dataset: Path, other: Path, weights: tuple, shares: tuple) -> None:
    e = experiment(f"{dataset},{other}", dataset_weights=weights)
    drawn = size_run(e).datasets
    assert [each.path for each in drawn] == [str(dataset), str(other)]
    assert [each.transitions for each in drawn] == [2999, 299]
    assert [each.draws for each in drawn] == pytest.approx(
        [4500 * 32 * share / sum(shares) for share in shares]
    )


def test_an_indicator_that_jax_cannot_trace(dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("""
from typing import NamedTuple
import jax
import numpy as np
from pvn.indicators.indicator import Indicator

class Own(NamedTuple):
    def indicator(self, num_tasks):
        def init(key, observation):
            return np.asarray(jax.random.normal(key, (84, num_tasks))), ()
        def response(frozen, observation):
            return np.asarray(observation)[:, 0, :, 0] @ frozen
        return Indicator(num_tasks, init, response, lambda fitted, response: response)
""")
    sizes = size_run(experiment(dataset, indicator=f"{file}:Own"))
    assert np.isnan(sizes.prepare_flop)
    assert format_sizes(sizes).count("unknown TFLOP") == 1


def arguments(dataset: Path, workdir: Path, *more: str) -> list[str]:
    same = [f"--config.{name}={value}" for name, value in WHOLE_SCREEN.items()]
    return ["pvn.pretrain", f"--config.dataset={dataset}", f"--workdir={workdir}", *same, *more]


def test_the_command_prints_the_sizes_and_writes_nothing(
    run: Callable, dataset: Path, tmp_path: Path
) -> None:
    def files() -> list[tuple[Path, int]]:
        return [(f, f.stat().st_mtime_ns) for f in sorted(dataset.parent.rglob("*"))]

    before = files()
    result = run(*arguments(dataset, tmp_path / "run", "--dry_run"))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == format_sizes(size_run(experiment(dataset))) + "\n"
    for line in (
        "  encoder                          4,043,424",
        "  heads                              205,200",
        "  all                                  3.608 GFLOP",
        "  responses of 3,000 states, once      0.135 TFLOP",
        "  checkpoint                           0.063 GiB",
        "  transitions                          2,999",
        "  draws                              144,000",
        "  draws of each transition            48.016",
    ):
        assert line in result.stdout.splitlines()
    assert list(tmp_path.iterdir()) == []
    assert files() == before


def test_a_large_network_takes_little_memory(
    run: Callable, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state is more than 3 GiB."""
    fields = {"width": 4, "num_features": 4096, "num_tasks": 10_000}
    fields["responses"] = "in_step"
    changes = [f"--config.{name}={value}" for name, value in fields.items()]
    # A process that this one started would count this one's memory too.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "measured.py").write_text(
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', *sys.argv[1:]], check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    result = run("measured", *arguments(dataset, tmp_path / "run", *changes, "--dry_run"))
    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout.split()[-1]) < 2**20  # KiB
    (checkpoint,) = re.findall(r"^  checkpoint +(\S+) GiB$", result.stdout, re.MULTILINE)
    assert float(checkpoint) > 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--config.num_features=0", "config.num_features: 0, expected a whole number, from 1"),
        ("--config.data_memory_gib=0.001", "config.data_memory_gib: 0.001 is too small for blo"),
    ],
)
def test_bad_input(run: Callable, dataset: Path, tmp_path: Path, change: str, message: str) -> None:
    result = run(*arguments(dataset, tmp_path / "run", "--dry_run", change))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {message}"), result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
