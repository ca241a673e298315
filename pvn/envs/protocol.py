"""The protocol under which games are played, in the terms of the emulator's options.

Machado et al., "Revisiting the Arcade Learning Environment" (2018), as Dopamine runs it for the DQN
replay data: sticky actions 0.25, minimal action set, four emulator frames an action, the maximum of
the last two grey frames, 84 x 84 by area interpolation, stacks of four with zeros before an
episode's start, no no-op starts, no FIRE on reset, no end at a lost life, and truncation after
108,000 emulator frames.
"""

from typing import Any

PROTOCOL: dict[str, Any] = {
    "repeat_action_probability": 0.25,
    "full_action_space": False,
    "frameskip": 4,
    "maxpool": True,
    "grayscale": True,
    "img_height": 84,
    "img_width": 84,
    "stack_num": 4,
    "noop_max": 0,
    "use_fire_reset": False,
    "episodic_life": False,
    "reward_clipping": False,
    "max_num_frames_per_episode": 108_000,
}
