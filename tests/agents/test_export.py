"""A saved policy is the same policy for whoever loads it: by `generate`, by a pipeline, by TRL's bridge, by us."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from rlfl_agents.cli import main
from rlfl_agents.environments import held_out_envs
from rlfl_agents.model.build import build_policy
from rlfl_agents.model.names import load_policy, resolve
from rlfl_agents.model.policy import Policy
from rlfl_agents.ppo import train
from rlfl_agents.rollout.collect import collect
from rlfl_agents.run.export import export
from rlfl_envs import ConfigError, PromptedTask, TokenVectorEnv
from rlfl_envs.integrations.trl import task_tokenizer
from tests.core.zoo import ZOO

from .conftest import small_config
from .test_families import tiny

PROMPTS = 200


def sharpened(policy: Policy) -> Policy:
    """With weights so large that different prompts get different answers."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.ndim == 2:
                parameter.copy_(torch.randn(parameter.shape) * 0.4)
    return policy


def from_scratch(folder: Path, env_id: str, position_ids: str, **env_kwargs: Any) -> Path:
    """Exports a policy from random weights."""
    envs = held_out_envs(env_id, 100, **env_kwargs)
    sizes: dict[str, Any] = {"layers": 2, "width": 32, "heads": 2, "position_ids": position_ids}
    policy = build_policy(envs.tokenizer, envs.prompt_length, envs.completion_length, **sizes)
    return exported(sharpened(policy), envs, folder, env_id, env_kwargs)


def exported(policy: Policy, envs: TokenVectorEnv, folder: Path, env_id: str, env_kwargs: dict[str, Any]) -> Path:
    """Saves a policy as training does."""
    export(policy, envs, small_config(env_id=env_id, env_kwargs=env_kwargs), folder, "nobody", {})
    return folder


def from_model(folder: Path, env_id: str, family: str, animal: str, lora_rank: int = 0, **env_kwargs: Any) -> Path:
    """Exports a policy made of a language model and its vocabulary, as published for another purpose."""
    base = folder.parent / "base"
    base.mkdir(parents=True)
    made = ZOO[animal].make(base)
    envs = held_out_envs(env_id, 100, **env_kwargs, vocabulary=made)
    size: dict[str, Any] = {"vocab_size": envs.tokenizer.vocab_size + 7, "head_dim": None}
    if family == "gpt2":
        size |= {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    model = tiny(family, **size)
    model.generation_config.repetition_penalty = 1.5  # as chat models have it
    model.save_pretrained(base)
    lengths = (envs.prompt_length, envs.completion_length)
    policy = build_policy(envs.tokenizer, *lengths, model=str(base), lora_rank=lora_rank)
    return exported(sharpened(policy), envs, folder, env_id, env_kwargs | {"vocabulary": made})


MODELS: dict[str, Any] = {
    "integers": lambda folder: from_scratch(folder, "rlfl/Arithmetic-v0", "text"),
    "derivations": lambda folder: from_scratch(folder, "rlfl/ArithmeticSteps-v0", "text"),
    "characters": lambda folder: from_scratch(folder, "rlfl/Brackets-v0", "text", min_completion_tokens=2),
    "GPT-2": lambda folder: from_model(folder, "rlfl/Arithmetic-v0", "gpt2", "holes"),
    "Llama": lambda folder: from_model(folder, "rlfl/Brackets-v0", "llama", "made-up tiktoken"),
    "Llama 2": lambda folder: from_model(folder, "rlfl/Copy-v0", "llama", "made-up Llama 2, padding and truncating"),
    "Qwen, several ends": lambda folder: from_model(
        folder, "rlfl/Arithmetic-v0", "qwen2", "made-up chat model with several ends"
    ),
    "Mamba": lambda folder: from_model(folder, "rlfl/Copy-v0", "mamba", "normalizers"),
    "LoRA": lambda folder: from_model(folder, "rlfl/Arithmetic-v0", "llama", "made-up tiktoken", lora_rank=4),
}


PEFT_ASKS = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A saved policy, moved away from where it was made; what it was made from is gone."""
    if request.param == "LoRA":
        pytest.importorskip("peft")
    MODELS[request.param](tmp_path / "made")
    shutil.rmtree(tmp_path / "base", ignore_errors=True)
    (tmp_path / "made").rename(tmp_path / "moved")
    return tmp_path / "moved"


def our_answers(folder: Path) -> tuple[list[str], list[list[int]], TokenVectorEnv]:
    """Held-out prompts, the tokens of our greedy answers to them, EOS included, and the environments."""
    loaded = load_policy(folder, None, {}, num_envs=PROMPTS)
    rollout = collect(loaded.policy, loaded.envs, torch.Generator(), greedy=True, seed=7)
    rows = zip(rollout.completions, rollout.active, strict=True)
    answers: list[list[int]] = [completion[active].tolist() for completion, active in rows]
    assert len(set(map(str, answers))) > 5
    return [prompt.text for prompt in loaded.envs.prompts], answers, loaded.envs


@PEFT_ASKS
def test_the_same_answers_everywhere(folder: Path) -> None:
    """Token for token: `generate` on a padded batch and one by one, a pipeline, the vocabulary of TRL's bridge."""
    prompts, answers, envs = our_answers(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    bridged = task_tokenizer(f"rlfl/{type(envs.task).__name__}-v0", vocabulary=envs.task.config.vocabulary)
    assert generated(model, tokenizer, prompts) == answers
    assert [generated(model, tokenizer, [prompt])[0] for prompt in prompts[:20]] == answers[:20]
    assert generated(model, bridged, prompts) == answers
    written = pipeline("text-generation", str(folder))(prompts[:20], return_full_text=False)
    for answer, each in zip(answers, written, strict=False):
        text = envs.tokenizer.decode(answer)
        assert each[0]["generated_text"] == text or "\ufffd" in text  # parts of characters are shown in other numbers


def generated(model: Any, tokenizer: Any, prompts: list[str]) -> list[list[int]]:
    """What anybody does who has a folder of Transformers; up to the first token that ends a text."""
    inputs = tokenizer(prompts, padding=True, return_tensors="pt")
    written = model.generate(**inputs)[:, inputs["input_ids"].shape[1] :].tolist()
    ends = model.generation_config.eos_token_id
    return [row[: next((i + 1 for i, token in enumerate(row) if token in ends), len(row))] for row in written]


@pytest.mark.parametrize("position_ids", ["text", "columns", "places"])
def test_the_snippet_of_the_card_runs(tmp_path: Path, position_ids: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pasted beside the files it prints our answer, however positions are counted."""
    folder = from_scratch(tmp_path / "made", "rlfl/ArithmeticSteps-v0", position_ids)
    prompts, answers, envs = our_answers(folder)
    card = (folder / "README.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    monkeypatch.chdir(folder)
    assert run_snippet(snippet).startswith("['")  # as it stands, with a prompt of its own
    asked = re.sub(r"prompts = \[.*\]", f"prompts = {prompts!r}", snippet)
    assert run_snippet(asked) == repr(envs.tokenizer.decode_batch(answers))
    assert ("position_ids" in card) == (position_ids != "text")


def run_snippet(snippet: str) -> str:
    """What it prints, run in the folder of the policy."""
    Path("snippet.py").write_text(snippet)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path("snippet.py")
    return printed.getvalue().strip()


# --- chats ---------------------------------------------------------------------------------------------------------


def from_chat(folder: Path, vocabulary: Path, **prompting: Any) -> Path:
    """Exports a policy of a model that chats, or reads prompts in a template."""
    base = folder.parent / "base"
    shutil.copytree(vocabulary, base)
    env_kwargs = {"vocabulary": str(base), **prompting}
    envs = held_out_envs("rlfl/Copy-v0", 100, **env_kwargs)
    size: dict[str, Any] = {"vocab_size": envs.tokenizer.vocab_size, "head_dim": None, "max_position_embeddings": 128}
    tiny("llama", **size).save_pretrained(base)
    policy = build_policy(envs.tokenizer, envs.prompt_length, envs.completion_length, model=str(base))
    exported(sharpened(policy), envs, folder, "rlfl/Copy-v0", env_kwargs)
    shutil.rmtree(base)
    return folder


def test_a_chat_is_the_same_chat_everywhere(tmp_path: Path, chat_folder: Path) -> None:
    """What its card says, `generate` on a chat and a pipeline given messages answer as we do; no flag is needed."""
    folder = from_chat(tmp_path / "made", chat_folder, chat=True)
    prompts, answers, envs = our_answers(folder)
    assert isinstance(envs.task, PromptedTask)
    assert envs.task.chat
    messages = [[{"role": "user", "content": envs.task.message(envs.task.parse_prompt(text))}] for text in prompts]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)

    def read(conversations: Any, **options: Any) -> Any:
        return tokenizer.apply_chat_template(conversations, add_generation_prompt=True, return_dict=True, **options)

    assert generated(model, read, messages) == answers
    written: Any = pipeline("text-generation", str(folder))(messages[:20], return_full_text=False)
    texts = envs.tokenizer.decode_batch(answers)
    for text, each in zip(texts, written, strict=False):
        assert each[0]["generated_text"] == text or "\ufffd" in text


@pytest.mark.parametrize("prompting", [{"chat": True}, {"template": "Say {prompt}\nSaid:"}])
def test_the_snippet_knows_how_prompts_are_put(
    tmp_path: Path, chat_folder: Path, prompting: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card's lines put a prompt as the environment does: they print our answers."""
    folder = from_chat(tmp_path / "made", chat_folder, **prompting)
    prompts, answers, envs = our_answers(folder)
    (snippet,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(folder)
    asked = re.sub(r"for prompt in \[.*\]\]", lambda _: f"for prompt in {prompts!r}]", snippet)
    assert run_snippet(asked) == repr(envs.tokenizer.decode_batch(answers))


def test_what_is_not_written_is_not_written_elsewhere(tmp_path: Path) -> None:
    """Special tokens, ids without a token and rows past the vocabulary's end are suppressed, and what ends is named."""
    folder = from_model(tmp_path / "made", "rlfl/Copy-v0", "qwen2", "made-up chat model with several ends")
    generation = AutoModelForCausalLM.from_pretrained(folder).generation_config
    envs = load_policy(folder, None, {}).envs
    assert generation.eos_token_id == [*envs.tokenizer.eos_ids]
    assert len(generation.eos_token_id) == 2
    size = envs.tokenizer.vocab_size
    legal = {*range(size + 7)} - {*generation.suppress_tokens}
    assert legal == {i for i in range(size) if envs.tokenizer.ordinary[i]} | {*envs.tokenizer.eos_ids}
    assert (generation.max_new_tokens, generation.do_sample) == (envs.completion_length, False)
    assert generation.repetition_penalty in (None, 1.0)


# --- runs that are moved -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora_rank", [0, 2])
@PEFT_ASKS
def test_a_run_needs_nothing_but_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora_rank: int) -> None:
    """Begun from a folder by its relative name; evaluated, resumed and begun from where that folder is no more."""
    if lora_rank:
        pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    base = Path("base")
    base.mkdir()
    made = ZOO["made-up tiktoken"].make(base)
    envs = held_out_envs("rlfl/Copy-v0", 1, alphabet="ab", length=2, vocabulary=made)
    tiny("llama", vocab_size=envs.tokenizer.vocab_size, head_dim=None).save_pretrained(base)
    config = small_config(model="base", lora_rank=lora_rank, total_samples=32 * 4)
    unbroken = train(config, "unbroken", quiet=True)
    train(dataclasses.replace(config, total_samples=32 * 2), "run", quiet=True)
    shutil.rmtree(base)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Path("run").rename(elsewhere / "renamed")
    monkeypatch.chdir(elsewhere)
    with pytest.warns(UserWarning, match="There is nothing to measure ref_kl against"):
        assert load_policy("renamed", None, {}).envs.task.config.vocabulary == str(Path("renamed/best"))
    resumed = train(dataclasses.replace(config, total_samples=32 * 4), "renamed", resume=True, quiet=True)
    assert resumed["loss"] == pytest.approx(unbroken["loss"], abs=1e-5)
    goes_on = train(small_config(model="renamed", total_samples=32), "next", quiet=True)
    assert goes_on["update"] == 1


def test_a_reference_that_is_gone_is_missed(tmp_path: Path) -> None:
    """A run with a KL penalty has its reference's weights from the model it began from, and does not go on without."""
    train(small_config(total_samples=32), tmp_path / "first", quiet=True)
    config = small_config(model=str(tmp_path / "first"), kl="fixed", total_samples=32 * 2)
    train(config, tmp_path / "second", quiet=True)
    shutil.rmtree(tmp_path / "first")
    with pytest.raises(ConfigError, match=r"model=.*is no file or folder"):
        train(dataclasses.replace(config, total_samples=32 * 4), tmp_path / "second", resume=True, quiet=True)


def test_a_model_without_a_vocabulary(tmp_path: Path) -> None:
    """It may be played in the environment's own only where both have as many tokens."""
    tiny("llama", vocab_size=5, head_dim=None).save_pretrained(tmp_path / "fits")
    tiny("llama", vocab_size=6, head_dim=None).save_pretrained(tmp_path / "other")
    kwargs = {"alphabet": "ab", "length": 2, "split": "all"}
    assert resolve(str(tmp_path / "fits"), "rlfl/Copy-v0", kwargs) == (str(tmp_path / "fits"), kwargs)
    assert train(small_config(model=str(tmp_path / "fits"), total_samples=32), tmp_path / "run", quiet=True)
    with pytest.raises(ConfigError, match=r"has 6 tokens and the environment 5, and the model's own vocabulary cannot"):
        train(small_config(model=str(tmp_path / "other"), total_samples=32), tmp_path / "none", quiet=True)


# --- the hub -------------------------------------------------------------------------------------------------------


def test_a_policy_is_pushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder's files go to a repository of that name; what arrives answers alike, and names no path of here."""
    made = from_model(tmp_path / "run" / "best", "rlfl/Copy-v0", "llama", "made-up tiktoken")
    calls: list[tuple[str, Any]] = []

    def create_repo(name: str, **options: Any) -> str:
        calls.append((name, options))
        return f"https://hub/{name}"

    def upload_folder(repo_id: str, folder_path: Path, **_: Any) -> None:
        calls.append((repo_id, Path(folder_path)))
        shutil.copytree(folder_path, tmp_path / "hub" / repo_id)

    monkeypatch.setattr(huggingface_hub, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub, "upload_folder", upload_folder)
    assert main(["push", str(tmp_path / "run"), "me/Copier", "--private"]) == 0
    assert capsys.readouterr().out == "https://hub/me/Copier\n"
    assert calls == [("me/Copier", {"private": True, "exist_ok": True}), ("me/Copier", made)]
    arrived = tmp_path / "hub" / "me" / "Copier"
    assert our_answers(arrived)[1] == our_answers(made)[1]
    for file in arrived.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file


def test_what_cannot_be_pushed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without a policy, and a name that is none, get one sentence each."""
    assert main(["push", str(tmp_path), "me/Copier"]) == 2
    assert "holds no policy that this library has saved" in capsys.readouterr().err
    from_scratch(tmp_path / "policy", "rlfl/Copy-v0", "text")
    assert main(["push", str(tmp_path), "a/b/c"]) == 2
    assert "name='a/b/c' is not allowed; allowed: USER/NAME" in capsys.readouterr().err
