"""The policy: what it attends to, how it draws, and that every path through it gives the same numbers."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from rlfl_agents.environments import make_envs
from rlfl_agents.model.build import build_policy
from rlfl_agents.model.masks import Masks, masked_log_dist
from rlfl_agents.model.policy import Policy, attended, draw
from rlfl_agents.model.reading import FIELD, places
from rlfl_envs import ConfigError, Tokenizer

from .conftest import small_policy


def test_attention_leaves_the_leading_padding_out() -> None:
    """PAD is 0, BOS is 1; PAD inside a text would be text."""
    prompts = torch.tensor([[0, 0, 1, 5], [1, 5, 0, 6], [0, 0, 0, 0]])
    assert attended(prompts, 0, 1).tolist() == [[False, False, True, True], [True] * 4, [False, False, False, True]]


def test_the_last_of_the_leading_run_is_bos_where_pad_is_bos() -> None:
    """GPT-2's vocabulary: one token is PAD, BOS and EOS."""
    prompts = torch.tensor([[9, 9, 9, 5], [9, 5, 6, 7], [5, 6, 7, 8]])
    assert attended(prompts, 9, 9).tolist() == [[False, False, True, True], [True] * 4, [True] * 4]
    assert attended(prompts, 9, None).tolist() == [[False, False, False, True], [False, True, True, True], [True] * 4]


def test_draw_follows_the_distribution_and_never_leaves_it() -> None:
    """Evenly spaced noise gives every token its share; noise at the very ends stays off tokens of probability 0."""
    log_dist = torch.tensor([[-1e9, 0.0, 1.0, -1e9, 2.0, -1e9]]).log_softmax(-1)
    counts = draw(log_dist, torch.arange(10_000, dtype=torch.float64)[None] / 10_000)[0].bincount(minlength=6)
    torch.testing.assert_close(counts / 10_000, log_dist.exp()[0], atol=2e-4, rtol=0)
    ends = torch.tensor([[0.0, 1 - 2**-53]], dtype=torch.float64)
    assert draw(log_dist, ends).tolist() == [[1, 4]]


@pytest.mark.parametrize("vocab_size", [4097, 5000, 5120])
def test_drawing_in_two_levels_draws_the_same(monkeypatch: pytest.MonkeyPatch, vocab_size: int) -> None:
    """In large vocabularies as in small ones, with blocks of probability 0, and at the ends."""
    torch.manual_seed(0)
    log_dist = 4 * torch.randn(7, vocab_size)
    log_dist[:, 300:1100] = -1e9
    log_dist[2, 1:] = -1e9
    log_dist[3, :-1] = -1e9
    log_dist = log_dist.log_softmax(dim=-1)
    noise = torch.cat([torch.rand(7, 300, dtype=torch.float64), torch.tensor([[0.0, 1 - 2**-53]] * 7)], dim=1)
    found = draw(log_dist, noise)
    monkeypatch.setattr("rlfl_agents.model.choice._LARGE", vocab_size)
    assert found.equal(draw(log_dist, noise))
    assert bool((log_dist.gather(1, found) > -1e8).all())


def aligned(tokens: list[str]) -> torch.Tensor:
    """How far tokens are from the last one, where every number is filled up to four digits, with zeros in front."""
    written: list[int | None] = []
    number: list[int | None] = []
    for column, token in enumerate(tokens):
        if token.isdigit():
            number.append(column)
        else:
            written += [None] * (FIELD - 1 - len(number)) + number + [column]
            number = []
    places_of = {column: len(written) - 1 - i for i, column in enumerate(written) if column is not None}
    return torch.tensor([places_of[column] for column in range(len(tokens))])


def test_places_align_numbers() -> None:
    """Units stand below units, tens below tens, whatever is behind them; numbers too long for their field overlap."""

    def found(text: str) -> list[int]:
        return places(torch.tensor([[character.isdigit() for character in text]]))[0].tolist()

    assert found("12+345=") == [7, 6, 5, 3, 2, 1, 0] == aligned([*"12+345="]).tolist()
    assert found("12+5=") == [7, 6, 5, 1, 0]
    assert found("4+12") == [5, 4, 1, 0]
    assert found("1234567=") == [4, 4, 4, 4, 3, 2, 1, 0]


def by_hand(
    policy: Policy, vocabulary: Tokenizer, prompts: torch.Tensor, completions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One plain forward pass over whole rows, without cache, groups or slicing."""
    prompts = prompts.repeat_interleave(len(completions) // len(prompts), dim=0)
    rows = torch.cat([prompts, completions], dim=1)
    seen = torch.cat([attended(prompts, policy.pad_id, policy.bos_id), torch.ones_like(completions).bool()], dim=1)
    positions = torch.arange(rows.shape[1])[None].expand(rows.shape)
    if policy.position_ids == "text":
        positions = (seen.long().cumsum(1) - 1).clamp(min=0)
    if policy.position_ids == "places":
        positions = positions + (FIELD - 1) * prompts.shape[1]
        for row, tokens in zip(positions, prompts.tolist(), strict=True):
            row[: len(tokens)] = row[len(tokens) - 1] - aligned([vocabulary.decode([token]) for token in tokens])
    output = policy.model(input_ids=rows, attention_mask=seen.long(), position_ids=positions, output_hidden_states=True)
    columns = slice(prompts.shape[1] - 1, rows.shape[1] - 1)
    assert policy.value_head is not None
    values = policy.value_head(output.hidden_states[-1][:, columns]).squeeze(-1)
    return output.logits[:, columns, : policy.vocab_size], values


@pytest.mark.parametrize("position_ids", ["columns", "places", "text"])
@pytest.mark.parametrize(
    ("env_id", "vocabulary"),
    [("rlfl/ArithmeticSteps-v0", "number"), ("rlfl/Arithmetic-v0", "number"), ("rlfl/Arithmetic-v0", "characters")],
)
def test_sampling_and_re_evaluation_agree_with_a_plain_forward_pass(
    env_id: str, vocabulary: str, position_ids: str
) -> None:
    """Cached sampling in groups, `forward` and the whole rows give the same log-probabilities and values."""
    envs = make_envs(env_id, 12, vocabulary=vocabulary)
    policy = small_policy(envs, position_ids=position_ids)
    observation, _ = envs.reset(seed=1, options={"group_size": 3})
    prompts = torch.as_tensor(observation[::3, : envs.prompt_length])
    masks = torch.ones(1, policy.vocab_size, dtype=torch.bool)
    masks[0, [0, 1]] = False
    with torch.no_grad():
        state = policy.start(prompts, 12, envs.completion_length > 1)
        noise = torch.rand(envs.completion_length, 12, dtype=torch.float64)
        columns = [policy.sample(state, noise[t], masks, 0.7) for t in range(envs.completion_length)]
        tokens, log_probs, values = (torch.stack(each, dim=1) for each in zip(*columns, strict=True))
        logits, expected_values = by_hand(policy, envs.tokenizer, prompts, tokens)
        expected = masked_log_dist(logits, masks[:, None], 0.7)
        table = Masks(masks, torch.zeros(1, 1, dtype=torch.int32))
        dist, forward_values = policy(prompts, tokens, table, 0.7)
    repeats = 12 // len(dist)
    assert repeats == (3 if envs.completion_length == 1 else 1)
    close = {"atol": 2e-5, "rtol": 1e-4}
    torch.testing.assert_close(log_probs, expected.gather(2, tokens[..., None])[..., 0], **close)
    torch.testing.assert_close(values, expected_values, **close)
    torch.testing.assert_close(dist.repeat_interleave(repeats, dim=0), expected, **close)
    torch.testing.assert_close(forward_values.repeat_interleave(repeats, dim=0), expected_values, **close)


@pytest.mark.parametrize("position_ids", ["columns", "places", "text"])
def test_padding_in_front_of_all_rows_is_not_read(position_ids: str) -> None:
    """Sampling and re-evaluation start at the first column that a row has a text in, and nothing else changes."""
    envs = make_envs("rlfl/ArithmeticSteps-v0", 12)
    policy = small_policy(envs, position_ids=position_ids)
    shorter = [1, *envs.tokenizer.encode("2+3=")], [1, *envs.tokenizer.encode("12+3=")]
    assert envs.tokenizer.bos_id == 1
    width = envs.prompt_length
    prompts = torch.tensor([[envs.tokenizer.pad_id] * (width - len(text)) + text for text in shorter])
    completions = torch.randint(3, 50, (4, envs.completion_length))
    with torch.no_grad(), mock.patch.object(policy.reader, "inputs", wraps=policy.reader.inputs) as inputs:
        log_dist, _ = policy(prompts, completions)
        read = [call.args[1].shape[1] for call in inputs.call_args_list]
        assert read == [max(map(len, shorter)), envs.completion_length - 1]
        logits, _ = by_hand(policy, envs.tokenizer, prompts, completions)
        state = policy.start(prompts, 4)
        first, _ = policy.distribution(state)
    close = {"atol": 2e-5, "rtol": 1e-4}
    torch.testing.assert_close(log_dist, logits.log_softmax(dim=-1), **close)
    torch.testing.assert_close(first, log_dist[::2, 0], **close)


def test_a_separate_critic_keeps_its_own_cache() -> None:
    """Values while sampling equal values when re-evaluating, and the critic's weights are its own."""
    envs = make_envs("rlfl/Copy-v0", 6)
    policy = small_policy(envs, value="separate")
    prompts = torch.as_tensor(envs.reset(seed=0, options={"group_size": 2})[0][::2, : envs.prompt_length])
    assert policy.critic is not None
    with torch.no_grad():
        for parameter in policy.critic.parameters():
            parameter.add_(0.1)
        state = policy.start(prompts, 6)
        noise = torch.rand(4, 6, dtype=torch.float64)
        columns = [policy.sample(state, noise[t]) for t in range(4)]
        tokens, _, values = (torch.stack(each, dim=1) for each in zip(*columns, strict=True))
        torch.testing.assert_close(policy(prompts, tokens)[1], values, atol=2e-5, rtol=1e-4)
    loss = policy(prompts, tokens)[1].sum()
    loss.backward()
    assert all(p.grad is None for p in policy.model.parameters())


def test_gradients_are_finite_with_padding_and_groups() -> None:
    """Fully masked rows of the attention (padding columns) leave no NaN behind."""
    envs = make_envs("rlfl/ArithmeticSteps-v0", 8)
    policy = small_policy(envs)
    prompts = torch.as_tensor(envs.reset(seed=3, options={"group_size": 2})[0][::2, : envs.prompt_length])
    completions = torch.randint(3, 50, (8, envs.completion_length))
    dist, values = policy(prompts, completions)
    (dist.exp().square().sum() + values.sum()).backward()
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_a_larger_model_vocabulary_is_cut_and_a_smaller_one_refused() -> None:
    """Logits past the environment's V are never seen."""
    envs = make_envs("rlfl/Copy-v0", 2)
    wide = SimpleNamespace(vocab_size=50, pad_id=0, bos_id=1, eos_id=2, backend=None)
    model = build_policy(wide, 5, 4, width=16, heads=2).model
    policy = Policy(model, envs.tokenizer)
    dist, _ = policy(torch.tensor([[0, 1, 3, 4, 5]]), torch.tensor([[3, 3]]))
    assert dist.shape == (1, 2, envs.tokenizer.vocab_size)
    torch.testing.assert_close(dist.exp().sum(-1), torch.ones(1, 2))
    with pytest.raises(ConfigError, match="writes 11 tokens and the environment has 50"):
        Policy(build_policy(envs.tokenizer, 5, 4, width=16, heads=2).model, wide)


def test_size_mistakes_are_named() -> None:
    """Width and heads; a model that does not exist."""
    envs = make_envs("rlfl/Copy-v0", 2)
    with pytest.raises(ConfigError, match=r"width=15 must be a multiple of heads=4"):
        build_policy(envs.tokenizer, 5, 4, width=15)
    with pytest.raises(ConfigError, match="model='/nowhere'"):
        build_policy(envs.tokenizer, 5, 4, model="/nowhere")


def test_tokens_that_the_environment_lacks_are_not_made() -> None:
    """A model of more tokens says of the environment's what its head says of all, up to rounding; with a bias too."""
    envs = make_envs("rlfl/Copy-v0", 4)
    known = envs.tokenizer.vocab_size
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 1, "eos_token_id": 2}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=known + 30, **sizes))
    policy = Policy(model, envs.tokenizer)
    hidden = torch.randn(3, 2, 16)
    policy._logits(model.transformer(inputs_embeds=hidden).last_hidden_state)  # the head is found to be plain
    model.lm_head.bias = torch.nn.Parameter(torch.randn(known + 30))
    for bias in (model.lm_head.bias, None):
        model.lm_head.bias = bias
        torch.testing.assert_close(policy._logits(hidden), model.lm_head(hidden)[..., :known])
