import ale_py
import gymnasium
import numpy as np
import pytest
from ale_py import roms

from pvn.envs import atari
from pvn.envs.atari import AtariEnvs
from pvn.envs.games import find_game
from pvn.envs.protocol import PROTOCOL
from pvn.errors import UserError


def area_sums(screen):
    """The sum over the area of each of 84 x 84 pixels.

    A pixel of the 210 x 160 screen is split into 2 x 21 parts. An area is 5 x 40 parts.
    """
    rows = screen.astype(np.uint16).repeat(2, axis=0).reshape(84, 5, 160).sum(axis=1)
    return rows.astype(np.int32).repeat(21, axis=1).reshape(84, 84, 40).sum(axis=2)


def assert_is_resized(observed, screens):
    """Each pixel of `observed` [N, 84, 84] is the integer nearest to the mean over its area.

    The emulator computes the mean in float32 with OpenCV. If the exact mean is halfway between two
    integers (at most 0.2 % of the pixels), rounding errors decide, and both integers are accepted.
    """
    for frame, screen in zip(observed, screens, strict=True):
        assert (np.abs(200 * frame.astype(int) - area_sums(screen)) <= 100).all()


def single_environment(game, seed, actions):
    """Plays gymnasium's single environment under the protocol of the DQN replay data.

    Returns (grey screens at full size, rewards, ends), with an entry for each step and each reset.
    """
    gymnasium.register_envs(ale_py)
    env = gymnasium.make(
        f"ALE/{game}-v5",
        frameskip=1,
        repeat_action_probability=0.25,
        full_action_space=False,
        obs_type="grayscale",
    )
    # Gymnasium would hash the seed. The emulator reads the seed when it loads the ROM.
    env.unwrapped.ale.setInt("random_seed", seed)
    env.unwrapped.ale.loadROM(roms.get_rom_path(find_game(game).rom_id))
    seen = []

    def begin():
        buffer[:] = [env.reset()[0], np.zeros((210, 160), np.uint8)]
        seen.append((buffer[0], 0.0, False))

    buffer = [None, None]
    begin()
    for action in actions:
        total = 0.0
        for frame in range(4):
            screen, reward, end, truncated, _ = env.step(action)
            total += reward
            assert not truncated
            if end:
                break  # before the screen is stored, as in Dopamine
            if frame >= 2:
                buffer[frame - 2] = screen
        seen.append((np.maximum(*buffer), total, end))
        if end:
            begin()
    env.close()
    return map(list, zip(*seen, strict=True))


def play(envs, actions):
    """Takes the actions [N, E], and restarts environments that end.

    Returns for each environment (stacks, rewards, ends), with an entry for the first observation,
    for each step and for each restart.
    """
    seen = [[(stack, 0.0, False)] for stack in envs.observation.copy()]
    for action in actions:
        step = envs.step(action)
        assert not step.truncated.any()
        stacks = envs.observation.copy()
        for env in range(envs.num_envs):
            seen[env].append((stacks[env], float(step.reward[env]), bool(step.terminal[env])))
        if step.terminal.any():
            envs.restart(step.terminal)
            for env in np.flatnonzero(step.terminal):
                seen[env].append((envs.observation[env].copy(), 0.0, False))
    columns = [zip(*entries, strict=True) for entries in seen]
    return [[np.stack(stacks), list(r), list(e)] for stacks, r, e in columns]


def some_actions(envs, steps, seed=0):
    return np.random.default_rng(seed).integers(envs.num_actions, size=(steps, envs.num_envs))


def booted(game, seeds):
    envs = AtariEnvs(game, len(seeds))
    envs.reset(np.array(seeds), np.ones(len(seeds), bool))
    return envs


def assert_same(one, other):
    assert one[1:] == other[1:]
    np.testing.assert_array_equal(one[0], other[0])


@pytest.mark.parametrize(
    ("game", "num_actions", "steps"),
    [("Breakout", 4, 320), ("Pong", 6, 240), ("MsPacman", 9, 300)],
)
def test_play_is_that_of_a_single_environment(game, num_actions, steps):
    seeds = [5, 2**31 - 1]
    envs = booted(game, seeds)
    assert envs.num_actions == num_actions
    actions = some_actions(envs, steps)
    for env, (stacks, rewards, ends) in enumerate(play(envs, actions)):
        screens, expected_rewards, expected_ends = single_environment(
            game, seeds[env], actions[:, env]
        )
        assert rewards == expected_rewards
        assert ends == expected_ends
        assert stacks.shape == (len(ends), 84, 84, 4)
        assert stacks.dtype == np.uint8
        assert_is_resized(stacks[..., -1], screens)

        # The older frames of a stack are the newest frames of earlier steps.
        expected, episode = np.zeros_like(stacks), []
        for number, end in enumerate(ends):
            episode = [*episode, number][-4:]
            expected[number, ..., 4 - len(episode) :] = np.moveaxis(stacks[episode, ..., -1], 0, -1)
            if end:
                episode = []
        assert np.array_equal(stacks, expected)

        assert any(ends) == (game == "Breakout")  # Pong and MsPacman take longer
        if game == "Pong":
            assert min(rewards) < 0
        if game == "MsPacman":
            assert max(rewards) >= 10  # not clipped


def test_reset_makes_play_a_function_of_seed_and_actions():
    alone = booted("Breakout", [7])
    actions = some_actions(alone, 320)
    [expected] = play(alone, actions)
    assert any(expected[2])

    # The play is the same after other episodes, in another slot, beside other environments. The
    # reset does not change the other environments.
    def among_three(reset):
        envs = booted("Breakout", [1, 2, 3])
        play(envs, some_actions(envs, 230, seed=1))
        before = envs.observation.copy()
        if reset:
            envs.reset(np.array([7]), np.array([False, True, False]))
        np.testing.assert_array_equal(envs.observation[[0, 2]], before[[0, 2]])
        others = some_actions(envs, 320, seed=2)
        others[:, 1] = actions[:, 0]
        return play(envs, others)

    first, second, third = among_three(reset=True)
    assert_same(second, expected)
    undisturbed = among_three(reset=False)
    assert_same(first, undisturbed[0])
    assert_same(third, undisturbed[2])
    assert not np.array_equal(undisturbed[1][0][:321], expected[0][:321])

    # The same emulator again, and another seed.
    alone.reset(np.array([7]), np.array([True]))
    assert_same(play(alone, actions)[0], expected)
    alone.reset(np.array([8]), np.array([True]))
    assert not np.array_equal(play(alone, actions)[0][0][:200], expected[0][:200])


def test_seeds_go_to_the_masked_environments_in_order():
    expected = [booted("Breakout", [seed]) for seed in (11, 12)]
    envs = booted("Breakout", [1, 2, 3])
    envs.reset(np.array([11, 12]), np.array([True, False, True]))
    actions = some_actions(expected[0], 60)
    together = play(envs, np.repeat(actions, 3, axis=1))
    for slot, alone in zip((0, 2), expected, strict=True):
        assert_same(together[slot], play(alone, actions)[0])


def test_an_end_and_a_restart():
    envs = booted("Breakout", [5, 6])
    random = np.random.default_rng(0)
    ended = np.zeros(2, bool)
    while not ended.any():
        before = envs.observation.copy()
        ended = envs.step(random.integers(4, size=2)).terminal
    assert ended.sum() == 1
    over = int(np.flatnonzero(ended)[0])
    final = envs.observation.copy()
    # After the end, the observation still belongs to the episode that ended.
    np.testing.assert_array_equal(final[over, ..., :3], before[over, ..., 1:])
    assert final[over].any(axis=(0, 1)).all()

    envs.restart(ended)
    assert not envs.observation[over, ..., :3].any()
    assert envs.observation[over, ..., 3].any()
    np.testing.assert_array_equal(envs.observation[1 - over], final[1 - over])
    # The next step is a real step: it takes the actions, and the other environment continues.
    step = envs.step(np.array([1, 1]))
    assert not step.terminal.any()
    assert envs.observation.any(axis=(1, 2))[over].tolist() == [False, False, True, True]
    np.testing.assert_array_equal(envs.observation[1 - over, ..., :3], final[1 - over, ..., 1:])


def test_time_limit_is_in_emulator_frames_and_truncates(monkeypatch):
    assert PROTOCOL["max_num_frames_per_episode"] == 108_000  # 30 minutes at 60 Hz
    monkeypatch.setitem(atari.PROTOCOL, "max_num_frames_per_episode", 400)
    envs = booted("Pong", [5, 6])
    for number in range(1, 151):
        if number == 51:
            envs.restart(np.array([False, True]))  # its time limit starts again
        step = envs.step(np.zeros(2, np.int64))
        assert step.truncated.tolist() == [number == 100, number == 150]
        assert not step.terminal.any()
        if step.truncated[0]:
            envs.restart(step.truncated)


@pytest.mark.parametrize(
    ("game", "hint"),
    [
        ("MsPacmann", "did you mean MsPacman or Pacman or Hangman?"),
        ("ms_pacman", "did you mean MsPacman or Pacman or Hangman?"),
        ("Zzz", "an example is MsPacman"),
        ("", "an example is MsPacman"),
    ],
)
def test_unknown_game(game, hint):
    with pytest.raises(UserError) as error:
        AtariEnvs(game, 1)
    assert str(error.value) == f"unknown game {game!r}; {hint}"
