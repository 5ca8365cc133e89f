"""Evaluation: the interval, the same questions each time, unseen keys, and loading by folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rlfl_agents.environments import make_envs
from rlfl_agents.evaluate import Share, count_solved, evaluate_policy, novelty_hashes, pass_at_k
from rlfl_agents.model.names import load_policy
from rlfl_agents.ppo import train
from rlfl_envs import ConfigError, FiniteTask, Prompt, TokenVectorEnv
from rlfl_envs.tasks.copy import Copy

from .conftest import small_config, small_policy


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    [(0, 10, 0.0, 0.27753), (7, 10, 0.39678, 0.89221), (950, 1000, 0.93469, 0.96187)],
)
def test_the_wilson_interval(successes: int, n: int, low: float, high: float) -> None:
    """Against numbers from SciPy."""
    share = Share.of(np.arange(n) < successes)
    assert (share.n, share.mean) == (n, successes / n)
    assert share.low == pytest.approx(low, abs=1e-5)
    assert share.high == pytest.approx(high, abs=1e-5)


def test_no_trials_have_no_share() -> None:
    """An empty set of unseen prompts is said to be none."""
    assert str(Share.of(np.zeros(0, dtype=bool))) == "none"


def test_every_evaluation_asks_the_same_prompts() -> None:
    """In whatever batches, and with nothing drawn from the global generators."""
    policy = small_policy(make_envs("rlfl/Copy-v0", 1))
    state = torch.get_rng_state()
    found = [evaluate_policy(policy, make_envs("rlfl/Copy-v0", 40, split="test"), 70, greedy=False) for _ in range(2)]
    assert repr(found[0]) == repr(found[1])
    assert len(found[0].samples) == found[0].success.n == 70
    assert torch.equal(torch.get_rng_state(), state)
    at_once = evaluate_policy(policy, make_envs("rlfl/Copy-v0", 70, split="test"), 70)
    assert [sample.prompt for sample in found[0].samples] == [sample.prompt for sample in at_once.samples]
    other = evaluate_policy(policy, make_envs("rlfl/Copy-v0", 70, split="test"), 70, seed=1)
    assert [sample.prompt for sample in other.samples] != [sample.prompt for sample in at_once.samples]
    with pytest.raises(ConfigError, match="prompts=0 is not allowed"):
        evaluate_policy(policy, make_envs("rlfl/Copy-v0", 1), 0)
    with pytest.raises(ConfigError, match="seed=-1 is not allowed"):
        evaluate_policy(policy, make_envs("rlfl/Copy-v0", 1), 1, seed=-1)
    task = make_envs("rlfl/Copy-v0", 1).task
    for sample in found[0].samples:
        outcome = task.evaluate([task.parse_prompt(sample.prompt)], [sample.completion])[0]
        assert sample.reward == pytest.approx(outcome.reward)
        assert sample.is_success == outcome.is_success


class Few(Copy):
    """Copy with three prompts and no others."""

    def every_prompt(self) -> list[Prompt]:
        """Always the same."""
        return [self.parse_prompt(text) for text in ("abcd", "aaaa", "dcba")]


def test_few_prompts_are_asked_once_each() -> None:
    """In their order, however many are asked for, and however many environments there are."""
    few = Few(split="test")
    assert isinstance(few, FiniteTask)
    for num_envs in (2, 8):
        envs = TokenVectorEnv(few, num_envs, autoreset_mode="Disabled")
        found = evaluate_policy(small_policy(envs), envs, 100)
        assert [sample.prompt for sample in found.samples] == [prompt.text for prompt in few.every_prompt()]
        assert found.success.n == 3
    assert evaluate_policy(small_policy(envs), envs, 2).success.n == 2
    envs = TokenVectorEnv(few, 8, autoreset_mode="Disabled")
    assert count_solved(small_policy(envs), envs, 100, 4).shape == (3,)


@pytest.mark.parametrize(
    ("samples", "solved", "k", "expected"),
    [
        (5, [2], 1, 2 / 5),
        (5, [2], 2, 1 - 3 / 10),  # of the 10 pairs 3 have neither
        (5, [2], 4, 1.0),  # any 4 have one
        (5, [0], 5, 0.0),
        (4, [1, 0, 4], 2, (1 / 2 + 0 + 1) / 3),
        (200, [1], 100, 1 / 2),  # half of all hundreds have it
    ],
)
def test_pass_at_k(samples: int, solved: list[int], k: int, expected: float) -> None:
    """Against numbers counted by hand."""
    assert pass_at_k(samples, solved, k) == pytest.approx(expected)
    with pytest.raises(ConfigError, match=rf"k={samples + 1} is not allowed; allowed: 1\.\.{samples}, the number"):
        pass_at_k(samples, solved, samples + 1)


def test_several_samples_of_the_same_prompts() -> None:
    """Of the prompts that an evaluation asks, in whatever batches; one sample each gives what is sampled there."""
    policy = small_policy(make_envs("rlfl/Copy-v0", 1, length=1, alphabet="ab"), scale=0.1)

    def counted(num_envs: int, samples: int) -> np.ndarray:
        envs = make_envs("rlfl/Copy-v0", num_envs, split="all", length=1, alphabet="ab")
        return count_solved(policy, envs, 30, samples)

    one = make_envs("rlfl/Copy-v0", 30, split="all", length=1, alphabet="ab")
    sampled = [sample.is_success for sample in evaluate_policy(policy, one, 30, greedy=False).samples]
    assert counted(30, 1).tolist() == sampled
    many = counted(600, 100)
    assert many.shape == (30,)
    assert many.min() >= 0
    assert many.max() <= 100
    texts = [sample.prompt for sample in evaluate_policy(policy, one, 30).samples]
    means = [many[[text == other for other in texts]].mean() for text in ("a", "b")]
    assert all(abs(many[i] - means[text == "b"]) < 25 for i, text in enumerate(texts))  # alike for equal prompts
    with pytest.raises(ConfigError, match="samples=7 is not allowed; allowed: a divisor of num_envs=30"):
        counted(30, 7)


def test_unseen_prompts_are_told_apart() -> None:
    """By the task's novelty key: for arithmetic the last sum, not the whole prompt."""
    envs = make_envs("rlfl/Arithmetic-v0", 64, split="test")
    policy = small_policy(envs)
    everything = evaluate_policy(policy, envs, 64, seen=np.zeros(0, dtype=np.int64))
    assert everything.unseen.n == 64
    prompts = [envs.task.parse_prompt(sample.prompt) for sample in everything.samples]
    seen = novelty_hashes(envs.task, prompts[:32])
    later = {envs.task.novelty_key(p) for p in prompts[:32]}
    expected = sum(envs.task.novelty_key(p) not in later for p in prompts)
    assert evaluate_policy(policy, envs, 64, seen=seen).unseen.n == expected < 32
    assert evaluate_policy(policy, envs, 64).unseen.n == 0


def test_distance_and_diversity_of_sampled_completions() -> None:
    """ref_kl is 0 against oneself, positive on average against another; distinct-n counts over all completions."""
    envs = make_envs("rlfl/Copy-v0", 64, split="test")
    policy, other = small_policy(envs, seed=0, scale=3.0), small_policy(envs, seed=1, scale=3.0)
    alone = evaluate_policy(policy, envs, 100, greedy=False)
    assert alone.ref_kl.tolist() == [0.0] * 100
    same = evaluate_policy(policy, envs, 100, greedy=False, reference=policy)
    assert abs(same.ref_kl).max() < 1e-4
    found = evaluate_policy(policy, envs, 100, greedy=False, reference=other)
    assert found.ref_kl.mean() > 0.1
    assert found.samples == alone.samples
    texts = [sample.completion for sample in found.samples]
    tokens = [token for text in texts for token in text]
    # Copy's completions are letters and a closing EOS, which counts as a token.
    assert found.distinct_1 == pytest.approx(len({*tokens, "EOS"}) / sum(min(4, len(text) + 1) for text in texts))


def test_the_worst_misses_come_first() -> None:
    """Only misses, from the lowest reward up."""
    envs = make_envs("rlfl/Copy-v0", 64, split="test")
    worst = evaluate_policy(small_policy(envs), envs, 64).worst(5)
    assert len(worst) == 5
    assert not any(sample.is_success for sample in worst)
    assert [sample.reward for sample in worst] == sorted(sample.reward for sample in worst)


def test_a_run_directory_says_what_it_is(tmp_path: Path) -> None:
    """Its best policy is loaded with the id and arguments it was trained with, and evaluates as training said."""
    run = tmp_path / "run"
    config = small_config(env_kwargs={"alphabet": "abc", "length": 2}, eval_prompts=64, total_samples=32 * 4)
    row = train(config, run, quiet=True)
    loaded = load_policy(run, None, {})
    assert loaded.envs.task.config.split == "test"
    assert loaded.envs.task.config.length == 2
    assert loaded.seen is not None
    latest = load_policy(run / "policy", None, {})
    assert evaluate_policy(latest.policy, latest.envs, 64).success.mean == row["eval/success"]


def test_a_run_outlives_the_model_it_began_from(tmp_path: Path) -> None:
    """Without it there is no ref_kl, and a warning says so."""
    train(small_config(total_samples=32), tmp_path / "first", quiet=True)
    began_from = tmp_path / "first" / "policy"
    train(small_config(total_samples=32, model=str(began_from)), tmp_path / "second", quiet=True)
    assert load_policy(tmp_path / "second", None, {}).reference is not None
    shutil.rmtree(began_from)
    with pytest.warns(UserWarning, match="nothing to measure ref_kl against: model="):
        assert load_policy(tmp_path / "second", None, {}).reference is None


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    """With an id or without."""
    with pytest.raises(ConfigError, match="does not say what it was trained on"):
        load_policy(tmp_path, None, {})
    with pytest.raises(ConfigError, match="holds no causal language model that can be read"):
        load_policy(tmp_path, "rlfl/Copy-v0", {})


def test_a_model_brings_its_vocabulary(tmp_path: Path) -> None:
    """Token 3 is "a" in one and "b" in the other: the model's counts, and to insist on the other is refused."""
    train(small_config(total_samples=32), tmp_path / "run", quiet=True)
    loaded = load_policy(tmp_path / "run", "rlfl/Copy-v0", {"alphabet": "ba"})
    assert loaded.envs.tokenizer.encode("ab") == [3, 4]
    with pytest.raises(ConfigError, match="another vocabulary"):
        load_policy(tmp_path / "run", "rlfl/Copy-v0", {"alphabet": "ba", "vocabulary": "characters"})
    with pytest.raises(ConfigError, match="context of 5 tokens"):
        load_policy(tmp_path / "run", "rlfl/Copy-v0", {"alphabet": "ab", "length": 9})
