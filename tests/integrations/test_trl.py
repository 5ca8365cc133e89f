"""What TRL is given: the environment's own rewards, prompts and token ids, and a trainer that runs on them."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlfl_envs import ConfigError, MissingDependencyError, PromptError, TokenEnv, UnknownIdError, load_task
from rlfl_envs.integrations.trl import prompt_dataset, reference_dataset, reward_function, task_tokenizer
from tests.settings import IDS as INSTALLED

# Sentiment asks for min_completion_tokens=4, which TRL cannot keep: there the bridge wants min_completion_tokens=0.
# Programs need an extra that is not installed beside TRL.
SLOW = ("rlfl/HumanEval-v0", "rlfl/LudaxGame-v0", "rlfl/LudiiGame-v0", "rlfl/Program-v0", "rlfl/Sentiment-v0")
IDS = [id for id in INSTALLED if id not in SLOW]
# Every kind of vocabulary, and characters that tokenizers like to tidy up: spaces, n't, a full stop.
VOCABULARIES: list[tuple[str, dict[str, Any]]] = [
    *((id, {}) for id in IDS),
    ("rlfl/ArithmeticSteps-v0", {"vocabulary": "characters", "operators": "+-*"}),
    ("rlfl/Copy-v0", {"alphabet": " a.n't,", "length": 8}),
]


def episodes(id: str, **arguments: Any) -> tuple[list[str], list[str], list[float]]:
    """Plays 256 episodes of random legal tokens; returns prompts, completions and rewards."""
    envs: Any = gymnasium.make_vec(id, num_envs=256, autoreset_mode="Disabled", **arguments)
    rng = np.random.default_rng(0)
    _, infos = envs.reset(seed=0)
    prompts = [prompt.text for prompt in envs.prompts]
    completions, rewards, finished = np.full(256, "", dtype=object), np.zeros(256), np.zeros(256, dtype=bool)
    while not finished.all():
        noise = rng.random(infos["action_mask"].shape)
        _, reward, finished, _, infos = envs.step((noise * infos["action_mask"]).argmax(axis=1))
        rewards += reward
        if "completion" in infos:
            ended = infos["_completion"]
            completions[ended] = infos["completion"][ended]
    return prompts, completions.tolist(), rewards.tolist()


# --- the reward ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", IDS)
def test_reward_is_the_environments(id: str) -> None:
    """Random completions, and the references, earn what the environment pays for them."""
    reward = reward_function(id)
    prompts, completions, rewards = episodes(id)
    assert reward(prompts=prompts, completions=completions) == rewards
    task, rng = load_task(id), np.random.default_rng(0)
    references = [task.reference_completion(task.parse_prompt(prompt), rng) for prompt in prompts]
    assert reward(prompts=prompts, completions=references) == [task.reward_range[1]] * len(prompts)


def test_reward_reads_conversations() -> None:
    """The last message counts, its content a text or a list of parts."""
    reward = reward_function("rlfl/ArithmeticSteps-v0")
    prompt = [{"role": "system", "content": "Work it out."}, {"role": "user", "content": "2+3+4="}]
    whole = [{"role": "assistant", "content": "5+4=9"}]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "5+4"}, {"type": "text", "text": "=9"}]}]
    assert reward(prompts=[prompt, prompt], completions=[whole, parts]) == [1.0, 1.0]


def test_reward_goes_by_the_task_prompt_column() -> None:
    """A rewritten prompt does no harm where the column says what was asked."""
    reward = reward_function("rlfl/Copy-v0")
    assert reward(prompts=["Please repeat: abba"], completions=["abba"], task_prompt=["abba"]) == [1.0]
    with pytest.raises(PromptError, match="Please repeat"):
        reward(prompts=["Please repeat: abba"], completions=["abba"])
    conversation = [{"role": "user", "content": "abba"}]
    assert reward(prompts=["Repeat"], completions=["abba"], task_prompt=[conversation]) == [1.0]
    assert reward(prompts=["Repeat"], completions=["abba"], task_prompt=np.array(["abba"])) == [1.0]


@pytest.mark.parametrize("prompt", [None, 1234, [], [{"role": "user", "content": None}]])
def test_a_prompt_that_is_no_text(prompt: Any) -> None:
    """It is named as it was given, wherever it stood."""
    reward = reward_function("rlfl/Copy-v0")
    message = rf"^prompt={re.escape(repr(prompt))} is not allowed; allowed: a text, or a conversation"
    with pytest.raises(PromptError, match=message):
        reward(prompts=[prompt], completions=["abba"])
    with pytest.raises(PromptError, match=message):
        reward(prompts=["abba"], completions=["abba"], task_prompt=[prompt])


def test_as_many_prompts_as_completions() -> None:
    """Otherwise the one that there are too few of is named."""
    reward = reward_function("rlfl/Copy-v0")
    with pytest.raises(ConfigError, match=r"^len\(prompts\)=1 is not allowed; allowed: 2, one for each completion"):
        reward(prompts=["abba"], completions=["abba", "abba"])
    with pytest.raises(ConfigError, match=r"^len\(task_prompt\)=1 is not allowed; allowed: 2"):
        reward(prompts=["a", "b"], completions=["abba", "abba"], task_prompt=["abba"])


@pytest.mark.parametrize("id", IDS)
def test_garbage_is_judged(id: str) -> None:
    """No completion raises, be it no text at all; all earn something within the range."""
    garbage: list[Any] = [
        "",
        "\x00",
        "9" * 10_000,
        "é\ud800",
        None,
        7,
        [],
        [None],
        [{}],
        [{"content": None}],
        [{"content": [3]}],
    ]
    task = load_task(id)
    prompt = task.sample_prompts(np.random.default_rng(0), 1)[0].text
    rewards = reward_function(id)(prompts=[prompt] * len(garbage), completions=garbage)
    low, high = task.reward_range
    assert all(type(reward) is float and low <= reward <= high for reward in rewards)


def test_reward_has_a_name_and_logs() -> None:
    """TRL logs the reward under `__name__`; success and parts go to its `log_metric`."""
    logged: dict[str, float] = {}
    reward = reward_function("rlfl/Copy-v0")
    assert reward.__name__ == "Copy-v0"
    reward(prompts=["abba", "abba"], completions=["abba", "ab"], log_metric=logged.__setitem__, trainer_state=None)
    assert logged == {"success": 0.5, "part/right_characters": 3.0}
    assert reward(prompts=[], completions=[], log_metric=logged.__setitem__) == []


@pytest.mark.parametrize("id", ["rlfl/ArithmeticSteps-v0", "rlfl/Copy-v0", "rlfl/Brackets-v0"])
@pytest.mark.parametrize("rewards", ["tokens", "shaped"])
def test_rewards_for_tokens(id: str, rewards: str) -> None:
    """A completion earns what an environment's tokens would add up to; what is logged stays success and parts."""
    task, rng, logged = load_task(id), np.random.default_rng(0), dict[str, float]()
    prompts = task.sample_prompts(rng, 8)
    references = [task.reference_completion(prompt, rng) or "" for prompt in prompts]
    texts = [text if row % 2 else text[: len(text) // 2] for row, text in enumerate(references)]
    reward = reward_function(id, rewards=rewards)
    earned = reward([prompt.text for prompt in prompts], texts, log_metric=logged.__setitem__)
    for prompt, text, each in zip(prompts, texts, earned, strict=True):
        env = TokenEnv(task, rewards=rewards)
        env.reset(options={"prompt": prompt.text})
        total, ended, tokens = 0.0, False, [*task.tokenizer.encode(text), task.tokenizer.eos_id]
        while not ended:
            _, paid, ended, _, _ = env.step(tokens.pop(0))
            total += paid
        assert each == pytest.approx(total)
    assert 0 < logged["success"] < 1


@pytest.mark.parametrize("make", [reward_function, prompt_dataset, task_tokenizer])
def test_wrong_arguments(make: Any) -> None:
    """What the task would refuse is refused; so is what TRL could not keep to."""
    more = {"num_prompts": 1} if make is prompt_dataset else {}
    with pytest.raises(UnknownIdError, match="Copy-v0"):
        make("rlfl/Cpoy-v0", **more)
    with pytest.raises(ConfigError, match="length='four'"):
        make("rlfl/Copy-v0", length="four", **more)
    with pytest.raises(ConfigError, match="mask='syntax' is not allowed; allowed: 'none'"):
        make("rlfl/Copy-v0", mask="syntax", **more)
    with pytest.raises(ConfigError, match="min_completion_tokens=2 is not allowed; allowed: 0"):
        make("rlfl/Copy-v0", min_completion_tokens=2, **more)
    with pytest.raises(ConfigError, match="rewards='token' is not allowed"):
        make("rlfl/Copy-v0", rewards="token", **more)
    with pytest.raises(ConfigError, match="rewards='tokens' is not allowed; allowed for Sql, which cannot judge"):
        make("rlfl/Sql-v0", rewards="tokens", **more)


def test_a_task_that_asks_for_a_least_length_elsewhere() -> None:
    """TRL knows no masks, so that there is none here."""
    pytest.importorskip("nltk", reason="needs nltk")
    assert reward_function("rlfl/Sentiment-v0", corpus="template")(prompts=["This film"], completions=[" was great"])


# --- the prompts ---------------------------------------------------------------------------------------------------


def test_prompts_are_drawn_from_the_split_and_repeat() -> None:
    """Same arguments, same prompts; another seed, others; train and test share none."""
    pytest.importorskip("datasets", reason="needs the extra trl")
    prompts = prompt_dataset("rlfl/Arithmetic-v0", num_prompts=200, seed=3)
    assert prompts.column_names == ["prompt", "task_prompt"]
    assert prompts["prompt"][:] == prompts["task_prompt"][:]
    assert prompts["prompt"][:] == prompt_dataset("rlfl/Arithmetic-v0", num_prompts=200, seed=3)["prompt"][:]
    assert prompts["prompt"][:] != prompt_dataset("rlfl/Arithmetic-v0", num_prompts=200, seed=4)["prompt"][:]
    held_out = prompt_dataset("rlfl/Arithmetic-v0", num_prompts=200, split="test")
    key = load_task("rlfl/Arithmetic-v0").parse_prompt
    problems = [{key(text).text.partition("=")[0] for text in data["prompt"]} for data in (prompts, held_out)]
    assert problems[0].isdisjoint(problems[1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_prompts": 0}, "num_prompts=0 is not allowed; allowed: an integer, 1 or more"),
        ({"num_prompts": True}, "num_prompts=True"),
        ({"num_prompts": 1, "seed": -1}, "seed=-1 is not allowed; allowed: an integer, 0 or more"),
    ],
)
def test_wrong_sizes(wrong: dict[str, Any], message: str) -> None:
    """Each names the argument, its value and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        prompt_dataset("rlfl/Copy-v0", **wrong)


@pytest.mark.parametrize(
    ("make", "package"),
    [
        (lambda: prompt_dataset("rlfl/Copy-v0", num_prompts=1), "datasets"),
        (lambda: task_tokenizer("rlfl/Copy-v0"), "transformers"),
    ],
    ids=["prompt_dataset", "task_tokenizer"],
)
def test_says_what_to_install(make: Any, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error names it, and the extra that brings it."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"{package} is not installed: pip install .*\[trl\]"):
        make()


# --- the vocabulary ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("id", "arguments"), VOCABULARIES)
def test_tokenizer_writes_the_environments_tokens(id: str, arguments: dict[str, Any]) -> None:
    """Prompts have the ids of the observation's prompt columns, padding on the left; special tokens agree."""
    pytest.importorskip("transformers", reason="needs the extra trl")
    task, fast = load_task(id, **arguments), task_tokenizer(id, **arguments)
    specials = (fast.pad_token_id, fast.bos_token_id, fast.eos_token_id)
    assert specials == (task.tokenizer.pad_id, task.tokenizer.bos_id, task.tokenizer.eos_id)
    assert len(fast) == task.tokenizer.vocab_size
    prompts = task.sample_prompts(np.random.default_rng(0), 64)
    given = fast([prompt.text for prompt in prompts], padding="max_length", max_length=task.max_prompt_tokens)
    assert given["input_ids"] == [task.encode_prompt(prompt).tolist() for prompt in prompts]


@pytest.mark.parametrize(("id", "arguments"), VOCABULARIES)
def test_tokenizer_reads_what_the_environment_reads(id: str, arguments: dict[str, Any]) -> None:
    """Random tokens, special ones among them, decode to the same text, as TRL decodes them; saved and loaded too."""
    pytest.importorskip("transformers", reason="needs the extra trl")
    ours, fast = load_task(id, **arguments).tokenizer, task_tokenizer(id, **arguments)
    rows = np.random.default_rng(0).integers(ours.vocab_size, size=(256, 12)).tolist()
    assert fast.batch_decode(rows, skip_special_tokens=True) == ours.decode_batch(rows)


def test_tokenizer_survives_saving(tmp_path: Path) -> None:
    """A saved one, which TRL leaves with every checkpoint, is the same one."""
    transformers = pytest.importorskip("transformers", reason="needs the extra trl")
    fast = task_tokenizer("rlfl/Copy-v0", alphabet=" a.n't")
    fast.save_pretrained(tmp_path)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = fast(" .n't a")["input_ids"]
    assert ids[0] == fast.bos_token_id
    assert loaded(" .n't a")["input_ids"] == ids
    assert loaded.decode(ids, skip_special_tokens=True) == " .n't a"


def test_making_a_tokenizer_leaves_the_task_alone() -> None:
    """The environment's own tokenizer puts no BOS, before and after."""
    pytest.importorskip("transformers", reason="needs the extra trl")
    task = load_task("rlfl/Copy-v0")
    task_tokenizer("rlfl/Copy-v0")
    assert task.tokenizer.backend.encode("ab").ids == task.tokenizer.encode("ab")
    fast = task_tokenizer("rlfl/Copy-v0")
    assert fast("ab<eos>")["input_ids"] == [*fast("ab")["input_ids"], fast.eos_token_id]  # as SFTTrainer writes EOS


# --- the trainers --------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")  # TRL and Transformers warn of each other
@pytest.mark.parametrize("algorithm", ["GRPO", "RLOO"])
def test_trains(algorithm: str, tmp_path: Path) -> None:
    """Both trainers take the three and make two updates; success, parts and the reward's name are in the log."""
    trl = pytest.importorskip("trl", reason="needs the extra trl")
    from transformers import GPT2Config, GPT2LMHeadModel

    id, arguments = "rlfl/Copy-v0", {"alphabet": "ab", "length": 2}
    tokenizer = task_tokenizer(id, **arguments)
    shape = GPT2Config(vocab_size=len(tokenizer), n_positions=5, n_embd=16, n_layer=1, n_head=2)
    shape.bos_token_id, shape.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    config = getattr(trl, f"{algorithm}Config")(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=2,
        logging_steps=1,
        beta=0.0,  # RLOO would load its reference by the model's name, which one from random weights has not
        bf16=False,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = getattr(trl, f"{algorithm}Trainer")(
        model=GPT2LMHeadModel(shape),
        reward_funcs=reward_function(id, **arguments),
        args=config,
        train_dataset=prompt_dataset(id, num_prompts=16, **arguments),
        processing_class=tokenizer,
    )
    trainer.train()
    first = trainer.state.log_history[0]
    assert {"success", "part/right_characters", "rewards/Copy-v0/mean"} <= set(first)
    assert 0.0 <= first["reward"] <= 1.0


@pytest.mark.filterwarnings("default")  # TRL and Transformers warn of each other
def test_warm_start(tmp_path: Path) -> None:
    """SFTTrainer takes vocabulary and references: the labels are the answer and EOS, and the model learns them."""
    trl = pytest.importorskip("trl", reason="needs the extra trl")
    torch = pytest.importorskip("torch", reason="needs the extra trl")
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    id, arguments = "rlfl/Copy-v0", {"alphabet": "abcd", "length": 2}
    tokenizer, task = task_tokenizer(id, **arguments), load_task(id, **arguments)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    shape = GPT2Config(vocab_size=len(tokenizer), n_positions=8, n_embd=32, n_layer=1, n_head=2, **ids)
    model = GPT2LMHeadModel(shape)
    trainer = trl.SFTTrainer(
        model=model,
        train_dataset=reference_dataset(id, num_prompts=256, **arguments),
        processing_class=tokenizer,
        args=trl.SFTConfig(
            output_dir=str(tmp_path),
            max_steps=100,
            per_device_train_batch_size=32,
            learning_rate=3e-3,
            bf16=False,
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            save_strategy="no",
        ),
    )
    row = trainer.train_dataset[0]
    answer = [*task.tokenizer.encode(row["prompt"]), task.tokenizer.eos_id]
    assert [label for label in row["labels"] if label != -100] == answer
    assert row["input_ids"] == [*tokenizer(row["prompt"])["input_ids"], *answer]
    trainer.train()
    prompts = prompt_dataset(id, num_prompts=32, seed=1, **arguments)["prompt"]
    given = tokenizer(list(prompts), return_tensors="pt", padding=True)
    policy: Any = model.eval()  # Transformers types `generate` for its own calls alone
    written = policy.generate(given["input_ids"], attention_mask=given["attention_mask"], max_new_tokens=3)
    completions = tokenizer.batch_decode(written[:, given["input_ids"].shape[1] :], skip_special_tokens=True)
    assert np.mean(reward_function(id, **arguments)(prompts=prompts, completions=completions)) > 0.9


def test_references_are_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each completion earns full reward for its prompt; a task without references is refused."""
    pytest.importorskip("datasets", reason="needs the extra trl")
    data = reference_dataset("rlfl/ArithmeticSteps-v0", num_prompts=32)
    reward = reward_function("rlfl/ArithmeticSteps-v0")
    assert reward(prompts=data["prompt"], completions=data["completion"]) == [1.0] * 32
    assert data["prompt"] == prompt_dataset("rlfl/ArithmeticSteps-v0", num_prompts=32)["prompt"]
    monkeypatch.setattr("rlfl_envs.tasks.copy.Copy.reference_completion", lambda *_: None)
    with pytest.raises(ConfigError, match="id='rlfl/Copy-v0' is not allowed; allowed: an id whose task has references"):
        reference_dataset("rlfl/Copy-v0", num_prompts=1)


@pytest.mark.filterwarnings("default")  # TRL and Transformers warn of each other
def test_example_runs(example: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`examples/trl_grpo.py` trains."""
    pytest.importorskip("trl", reason="needs the extra trl")
    monkeypatch.chdir(tmp_path)
    assert 0.0 <= example("trl_grpo.py").main(updates=10, prompts=2, group_size=8) <= 1.0


# --- chats ---------------------------------------------------------------------------------------------------------


def test_a_chat_is_a_conversation(chat_folder: Path) -> None:
    """Its tokens are the environment's, references are the assistant's, and answers are judged where they stand."""
    pytest.importorskip("datasets", reason="needs the extra trl")
    chat: dict[str, Any] = {"vocabulary": str(chat_folder), "chat": True, "answer": "Answer: {answer}"}
    rows = prompt_dataset("rlfl/Copy-v0", num_prompts=8, **chat)
    task = load_task("rlfl/Copy-v0", **chat)
    tokenizer: Any = task_tokenizer("rlfl/Copy-v0", **chat)
    for messages, text in zip(rows["prompt"], rows["task_prompt"], strict=True):
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        columns = task.encode_prompt(task.parse_prompt(text))
        assert columns[columns != task.tokenizer.pad_id].tolist() == ids
    (completion,) = reference_dataset("rlfl/Copy-v0", num_prompts=1, **chat)["completion"][0]
    assert completion == {"role": "assistant", "content": f"Answer: {rows['task_prompt'][0]}"}
    reward = reward_function("rlfl/Copy-v0", **chat)
    said = [[{"role": "assistant", "content": text}] for text in ("So. Answer: abcd", "abcd")]
    assert reward(prompts=rows["prompt"][:1] * 2, completions=said, task_prompt=["abcd"] * 2) == [1.0, 0.0]


def test_a_template_stands_in_the_prompts() -> None:
    """They are texts then, the prompt of the task within."""
    pytest.importorskip("datasets", reason="needs the extra trl")
    rows = prompt_dataset("rlfl/Brackets-v0", num_prompts=4, template="({prompt}")
    assert rows["prompt"][:] == [f"({text}" for text in rows["task_prompt"][:]]
