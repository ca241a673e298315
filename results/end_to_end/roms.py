"""Which games differ between the ROMs of ale-py and those in another folder, in how they play.

    python results/end_to_end/roms.py FOLDER

FOLDER holds files named as those of ale_py/roms, such as `atari_py/atari_roms` of atari-py 0.2.6,
the last release on PyPI with ROMs. Both play the same 300 random actions of four frames, without
sticky actions. Prints the games whose files differ, and in how many steps the screens do. The
emulator never returns from some files that it does not know: these print nothing.
"""

import multiprocessing
import sys
from pathlib import Path

import ale_py
import numpy as np
from ale_py import roms

from pvn.envs.games import games

NUM_STEPS = 300
SECONDS = 60.0  # for a game


def compare(rom: Path, other: Path) -> str:
    """How the play of two ROMs of one game differs."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    emulators = []
    for path in (rom, other):
        emulator = ale_py.ALEInterface()
        emulator.setInt("random_seed", 1)
        emulator.setFloat("repeat_action_probability", 0.0)
        emulator.loadROM(str(path))
        emulators.append(emulator)
    shapes = [emulator.getScreenDims() for emulator in emulators]
    if shapes[0] != shapes[1]:
        return f"screens of {shapes[0][0]} and {shapes[1][0]} rows"
    random, actions = np.random.default_rng(0), emulators[0].getMinimalActionSet()
    differ = 0
    for _ in range(NUM_STEPS):
        action = actions[int(random.integers(len(actions)))]
        for emulator in emulators:
            for _ in range(4):
                emulator.act(action)
        differ += not np.array_equal(*(emulator.getScreenGrayscale() for emulator in emulators))
    return f"{differ} of {NUM_STEPS} screens differ" if differ else "plays alike"


def report(name: str, rom: Path, other: Path) -> None:
    """Prints a line."""
    print(f"{name}: {compare(rom, other)}", flush=True)


def main() -> None:
    for game in games().values():
        rom = Path(roms.get_rom_path(game.rom_id))
        other = Path(sys.argv[1]) / rom.name
        if other.is_file() and other.read_bytes() != rom.read_bytes():
            process = multiprocessing.Process(target=report, args=(game.name, rom, other))
            process.start()
            process.join(SECONDS)
            process.kill()


if __name__ == "__main__":
    main()
