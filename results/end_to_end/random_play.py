"""Random play with the emulator of ale-py, or with that of atari-py 0.2.9 where it is installed.

    python results/end_to_end/random_play.py PACKAGE ROM NUM_STEPS SEED STICKY

PACKAGE is ale_py or atari_py, ROM a file of ale_py/roms. A step is four frames of one action of the
minimal set; STICKY is the probability of a repeated action. Prints the number of episodes, their
mean return with its standard error, and a hash of the rewards and sums of the RAM of the first
3,000 steps.
"""

import hashlib
import importlib
import sys

import numpy as np

HASHED = 3000


def main() -> None:
    package, rom, num_steps, seed, sticky = sys.argv[1:]
    emulator = importlib.import_module(package).ALEInterface()
    emulator.setInt("random_seed", int(seed))
    emulator.setFloat("repeat_action_probability", float(sticky))
    emulator.loadROM(rom)
    actions = emulator.getMinimalActionSet()
    random, trace = np.random.default_rng(int(seed)), hashlib.sha256()
    returns, score, length = [], 0, 0
    emulator.reset_game()
    for step in range(int(num_steps)):
        action = actions[int(random.integers(len(actions)))]
        for _ in range(4):
            score += emulator.act(action)
            if emulator.game_over():
                break
        length += 1
        if step < HASHED:
            trace.update(f"{score} {np.asarray(emulator.getRAM(), np.int64).sum()};".encode())
        if emulator.game_over() or length == 27_000:
            returns.append(score)
            score = length = 0
            emulator.reset_game()
    error = np.std(returns) / np.sqrt(len(returns))
    print(len(returns), f"{np.mean(returns):.1f} ± {error:.1f}", trace.hexdigest()[:8])


if __name__ == "__main__":
    main()
