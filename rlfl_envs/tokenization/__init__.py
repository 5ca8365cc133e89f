"""Vocabularies: text to token ids and back, on the `tokenizers` library. A text and its tokens are one thing."""

from __future__ import annotations

from rlfl_envs.tokenization.builtin import character_tokenizer, number_tokenizer, train_tokenizer, word_tokenizer
from rlfl_envs.tokenization.chat import CHAT_DATE, around_message
from rlfl_envs.tokenization.loading import load_tokenizer
from rlfl_envs.tokenization.tokenizer import BOS, EOS, PAD, Tokenizer

__all__ = [
    "BOS",
    "CHAT_DATE",
    "EOS",
    "PAD",
    "Tokenizer",
    "around_message",
    "character_tokenizer",
    "load_tokenizer",
    "number_tokenizer",
    "train_tokenizer",
    "word_tokenizer",
]
