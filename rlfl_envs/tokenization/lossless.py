"""What makes a text and its tokens one thing: every token stands for fixed bytes, and decoding joins them.

Published vocabularies are made to read texts, and lose some of them on the way: they lower letters, drop spaces and
guess them again, or begin each text with a space. `as_written` takes out what loses. What is left over, such as a
character that no token stands for, `Tokenizer.encode` notices, because the tokens' bytes do not join to the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import Tokenizer as Backend

from rlfl_envs.errors import ConfigError

__all__ = ["as_written", "bytes_of_tokens", "vocabulary_size"]

_MOST_HOLES = 65536

_Step = dict[str, Any]  # one step of a tokenizer.json's normalizer, pre_tokenizer or decoder

_DECODERS = {"BPEDecoder", "ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace", "Strip", "WordPiece"}
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def vocabulary_size(backend: Backend, name: str) -> int:
    """V: the largest token id and one; not every id below need be a token.

    Raises:
        ConfigError: Far more ids than tokens. Such a file is damaged, and every row of a mask has a place for each id.
    """
    ids = set(backend.get_vocab(with_added_tokens=True).values())
    size = 1 + max(ids)
    if size - len(ids) > _MOST_HOLES:
        raise ConfigError(
            f"vocabulary={name!r} has {len(ids)} tokens and the id {size - 1}; "
            f"allowed: at most {_MOST_HOLES} ids without a token."
        )
    return size


def as_written(backend: Backend, name: str) -> Backend:
    """Takes out of a vocabulary whatever changes a text: a completion goes on where its prompt ends, letter by letter.

    Normalizers go, unless they only spell a space in another way; so do dropout, spaces that begin every text, and what
    makes an added token take the spaces around it. Decoders join: none guesses a space.

    Args:
        backend: The vocabulary as it was published.
        name: What the user calls it.

    Raises:
        ConfigError: Its decoder does not say what each token stands for, or its ids have too many holes.
    """
    vocabulary_size(backend, name)  # before writing it out, which takes room for every hole
    parts: dict[str, Any] = json.loads(backend.to_str())
    changed = parts | {
        "normalizer": _sequence("normalizers", _without_normalizers(_steps(parts["normalizer"]))),
        "pre_tokenizer": _sequence("pretokenizers", _without_spaces(_steps(parts["pre_tokenizer"]))),
        "decoder": _sequence("decoders", _joining(_steps(parts["decoder"]), parts["model"], name)),
        "added_tokens": _added_tokens(parts["added_tokens"], parts["model"]),
        "model": parts["model"] | ({"dropout": None} if parts["model"].get("dropout") else {}),
    }
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        if _steps(changed[part]) == _steps(parts[part]):
            changed[part] = parts[part]
    return backend if changed == parts else Backend.from_str(json.dumps(changed))


def _steps(part: _Step | None) -> list[_Step]:
    """A part's steps, in order; those of sequences within sequences too."""
    if part is None:
        return []
    inner = next((part[name] for name in ("normalizers", "pretokenizers", "decoders") if name in part), None)
    return [part] if inner is None else [step for each in inner for step in _steps(each)]


def _sequence(inner: str, steps: list[_Step]) -> _Step | None:
    """The part that has these steps."""
    if len(steps) < 2:
        return steps[0] if steps else None
    return {"type": "Sequence", inner: steps}


def _without_normalizers(steps: list[_Step]) -> list[_Step]:
    """Keeps what spells a space, or bytes, in another way."""
    return [
        step
        for step in steps
        if step["type"] == "ByteLevel" or (step["type"] == "Replace" and step["pattern"] == {"String": " "})
    ]


def _without_spaces(steps: list[_Step]) -> list[_Step]:
    """Adds no space before a text. Where a space is a character of its own (Metaspace), none is dropped before it."""
    spells_spaces = any(step["type"] == "Metaspace" for step in steps)
    kept = [step for step in steps if not (spells_spaces and step["type"] == "WhitespaceSplit")]
    changes: dict[str, _Step] = {"ByteLevel": {"add_prefix_space": False}, "Metaspace": {"prepend_scheme": "never"}}
    return [step | changes.get(step["type"], {}) for step in kept]


def _joining(steps: list[_Step], model: _Step, name: str) -> list[_Step]:
    """The decoder that writes each token as it stands within a text, and joins."""
    unknown = [step["type"] for step in steps if step["type"] not in _DECODERS]
    if unknown:
        raise ConfigError(
            f"vocabulary={name!r} decodes by {unknown[0]!r}, which does not say what each token stands for; "
            f"allowed: {', '.join(sorted(_DECODERS))}."
        )
    # "##ing" goes on with a word, and "ing" begins one: no space comes with it. So too where "ing</w>" ends a word.
    prefix, suffix = model.get("continuing_subword_prefix"), model.get("end_of_word_suffix")
    marks = [f"^{re.escape(mark)}" for mark in (prefix,) if mark] + [
        f"{re.escape(mark)}$" for mark in (suffix,) if mark
    ]
    joined = [{"type": "Replace", "pattern": {"Regex": mark}, "content": ""} for mark in marks]
    for step in steps:
        if step["type"] == "Metaspace":
            joined.append(step | {"prepend_scheme": "never"})
        elif step["type"] not in ("BPEDecoder", "Strip", "WordPiece"):
            joined.append(step)
    joins = any(step["type"] in ("ByteLevel", "Fuse", "Metaspace") for step in joined)
    return joined if joins else [*joined, {"type": "Fuse"}]


def _added_tokens(tokens: list[_Step], model: _Step) -> list[_Step]:
    """None takes the spaces around it, and what stands for all that cannot be written is special."""
    added = {token["id"]: token | {"lstrip": False, "rstrip": False} for token in tokens}
    if model["type"] == "Unigram":
        unknown_id = model["unk_id"]
        unknown = None if unknown_id is None else model["vocab"][unknown_id][0]
    else:
        unknown = model.get("unk_token")
        unknown_id = model["vocab"].get(unknown)
    if unknown_id is not None:
        plain = {"id": unknown_id, "content": unknown, "single_word": False, "normalized": False}
        added[unknown_id] = {**added.get(unknown_id, plain), "lstrip": False, "rstrip": False, "special": True}
    return [added[i] for i in sorted(added)]


def bytes_of_tokens(backend: Backend, tokens: Sequence[str]) -> list[bytes]:
    """What each token of a vocabulary made by `as_written` stands for.

    A token may be a part of a character: the bytes of a text are UTF-8, those of a token need not be.
    """
    types = {step["type"] for step in _steps(json.loads(backend.decoder.__getstate__()))} if backend.decoder else set()
    if "ByteLevel" in types:
        return [*map(_from_byte_level(), tokens)]
    bytes_of = {token: bytes([int(found[1], 16)]) for token in tokens if (found := _BYTE.fullmatch(token))}
    fallback = bytes_of if "ByteFallback" in types else {}
    return [fallback[token] if token in fallback else _decoded(backend, token).encode() for token in tokens]


def _decoded(backend: Backend, token: str) -> str:
    text: str = backend.decoder.decode([token]) if backend.decoder else token
    return text


def _from_byte_level() -> Callable[[str], bytes]:
    """Reads GPT-2's alphabet, in which a character stands for each byte; any other character stands for itself."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    byte_of = {chr(byte): byte for byte in visible} | {chr(256 + i): byte for i, byte in enumerate(hidden)}

    def read(token: str) -> bytes:
        try:
            return bytes([byte_of[character] for character in token])
        except KeyError:
            return token.encode()

    return read
