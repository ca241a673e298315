from pvn.statistics.summary import probe_kind, run_returns, summarise
from tests.statistics.rows import episode, probed


def test_seeds_weigh_the_same():
    played = [episode(0.0), episode(0.0), episode(0.0), episode(10.0, seed=1)]
    (result,) = summarise(played, [])
    # The mean of the seeds' means 0 and 10, not of four episodes. Resamples give 0, 5, 5 or 10.
    assert result.episode_return == (5.0, (0.0, 10.0))
    assert (result.num_episodes, result.num_seeds) == (4, 2)


def test_one_episode_has_no_interval():
    (result,) = summarise([episode(3.0)], [])
    assert result.episode_return == (3.0, None)


def test_training_episodes_are_no_scores():
    (result,) = summarise([episode(3.0, phase="train")], [])
    assert (result.episode_return, result.num_episodes, result.normalised) == (None, 0, None)


def test_probes_join_every_head_of_their_features():
    probes = [
        probed("pvn", 0, 0.99, 0.5, 0.25, 0.75),
        probed("pvn", 1, 0.99, 0.75, 0.5, 0.875),
        probed("pvn", 0, 0.9, 0.125, 0.0, 0.25),
        probed("other", 0, 0.9, 0.5, 0.5, 0.5),
    ]
    results = summarise([episode(1.0, head=head) for head in ("fqi", "dqn")], probes)
    low, high = (probe_kind(probes[i]) for i in (2, 0))
    assert low.settings == (("clip_rewards", "true"), ("discount", "0.9"))
    expected = {low: (0.125, (0.0, 0.25)), high: (0.625, (0.25, 0.875))}
    assert [(r.agent, r.head, r.probes) for r in results] == [
        ("pvn", "dqn", expected),
        ("pvn", "fqi", expected),
        ("other", "none", {low: (0.5, None)}),  # low = value = high: it has no interval
    ]


def test_results_are_ordered_by_game_then_ours_then_baselines():
    agents = ["zeta", "random_policy", "alpha", "random_features", "pvn"]
    played = [episode(1.0, game, agent) for agent in agents for game in ("Pong", "Alien")]
    order = ["pvn", "random_features", "random_policy", "alpha", "zeta"]
    assert [(r.game, r.agent) for r in summarise(played, [])] == [
        (game, agent) for game in ("Alien", "Pong") for agent in order
    ]


def test_the_last_evaluation_of_a_run_is_its_score():
    played = [
        episode(1.0, step=100),
        episode(3.0, step=300),
        episode(5.0, step=300),
        episode(9.0, step=200, seed=1),
        episode(7.0, step=100, seed=1),
    ]
    (result,) = summarise(played, [])
    # Seed 0 has mean 4 at step 300, seed 1 has 9 at step 200.
    assert (result.episode_return.value, result.num_episodes) == (6.5, 3)
    assert result.agent_steps == (200, 300)
    assert run_returns(played) == {("pvn", "dqn"): {"Pong": {0: 4.0, 1: 9.0}}}


def test_probes_of_policies_of_several_seeds_are_averaged():
    def settings(digest):
        return {"policy": "pvn, dqn", "max_states": 9, "policy_sha256": digest}

    probes = [
        probed("pvn", seed, 0, value, value - 0.1, value + 0.1, target="action")._replace(
            settings=settings(f"{seed}b")
        )
        for seed, value in ((0, 0.25), (1, 0.75))
    ]
    assert probes[0].identity != probes[0]._replace(settings=settings("1b")).identity
    (result,) = summarise([], probes)
    ((kind, estimate),) = result.probes.items()
    assert (kind.target, estimate.value) == ("action", 0.5)
