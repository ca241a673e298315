"""The protocol under which games are played, as options of the emulator.

It is the protocol of Machado et al., "Revisiting the Arcade Learning Environment" (2018), as
Dopamine used it for the DQN Replay Dataset. Actions are sticky with probability 0.25, and come from
the minimal action set. An action lasts four emulator frames. An observation is the maximum of the
last two grey frames, resized to 84 x 84 by area interpolation. Four of them are stacked, with zeros
before the start of an episode. There are no no-op starts, and reset does not press FIRE. A lost
life does not end an episode. An episode is truncated after 108,000 emulator frames.
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

MINATAR_PROTOCOL: dict[str, Any] = {
    "sticky_action_prob": 0.1,
    "difficulty_ramping": True,
    "minimal_action_set": True,
    "max_num_steps_per_episode": 10_000,
}
"""The authors' settings of MinAtar, and a time limit; see `pvn.envs.minatar`."""
