"""The table of games agrees with the emulator."""

import ale_py
import gymnasium
import pytest
from ale_py import ALEInterface, LoggerMode, roms

from pvn.envs.atari import AtariEnvs
from pvn.envs.games import Game, find_game, games
from pvn.errors import UserError
from pvn.statistics.references import reference_scores


def test_every_game_is_the_emulators():
    gymnasium.register_envs(ale_py)
    names = {
        spec.name: spec.kwargs["game"]
        for spec in gymnasium.registry.values()
        if spec.namespace == "ALE"
    }
    ALEInterface.setLoggerMode(LoggerMode.Error)
    emulator = ALEInterface()
    expected = {}
    for name, rom_id in names.items():
        emulator.loadROM(roms.get_rom_path(rom_id))
        expected[name] = Game(name, rom_id, len(emulator.getMinimalActionSet()))
    assert games() == expected


@pytest.mark.parametrize(("name", "num_actions"), [("Breakout", 4), ("MsPacman", 9)])
def test_the_environments_have_as_many_actions(name, num_actions):
    assert find_game(name).num_actions == num_actions
    assert AtariEnvs(name, 1).num_actions == num_actions


def test_names_of_games():
    assert find_game("MsPacman").rom_id == "ms_pacman"
    assert find_game("UpNDown").rom_id == "up_n_down"
    assert set(reference_scores()) <= set(games())


@pytest.mark.parametrize("name", ["Braekout", "Zzz"])
def test_unknown_game(name):
    hint = "did you mean Breakout" if name == "Braekout" else "an example is MsPacman"
    with pytest.raises(UserError, match=f"^unknown game '{name}'; {hint}"):
        find_game(name)
