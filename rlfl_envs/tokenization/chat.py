"""Chat templates: what a model that chats was taught to find around a user's message."""

from __future__ import annotations

from functools import lru_cache

from tokenizers import Tokenizer as Backend
from tokenizers import models

from rlfl_envs.errors import ConfigError, MissingDependencyError, how_to_install
from rlfl_envs.tokenization.tokenizer import Tokenizer

__all__ = ["CHAT_DATE", "around_message"]

CHAT_DATE = "26 Jul 2024"
"""What a chat template is told if it asks for the date, as Llama's do, so that a prompt does not change overnight."""

_MESSAGE = "THE MESSAGE"  # stands where the user's message will


def around_message(tokenizer: Tokenizer) -> tuple[str, str]:
    """What the vocabulary's chat template writes before and after a user's only message, up to the model's answer.

    Transformers renders it, so that it is what `apply_chat_template` gives everybody else.

    Raises:
        ConfigError: The vocabulary has no chat template, or one that cannot be used.
        MissingDependencyError: Transformers is not installed, or Jinja2, which it needs here.
    """
    template = tokenizer.chat_template
    called = f"vocabulary={tokenizer.name!r}" if tokenizer.name else "this built-in vocabulary"
    if template is None:
        raise ConfigError(
            f"chat=True is not allowed; allowed with a vocabulary that has a chat template, and {called} has none. "
            "Say how prompts are put by template=... instead, or name the vocabulary of a model that chats."
        )
    specials = (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id)
    bos, eos, pad = (None if i is None else tokenizer.id_to_token(i) for i in specials)
    return _rendered(template, called, bos, eos, pad)


@lru_cache(maxsize=16)
def _rendered(template: str, called: str, bos: str | None, eos: str | None, pad: str | None) -> tuple[str, str]:
    try:
        import jinja2
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise MissingDependencyError(f"chat=True needs transformers and jinja2: {how_to_install('agent')}") from error
    # The template sees special tokens by their names alone, so the vocabulary itself is not needed.
    names = {role: name for role, name in (("bos_token", bos), ("eos_token", eos), ("pad_token", pad)) if name}
    renderer = PreTrainedTokenizerFast(tokenizer_object=Backend(models.BPE()), chat_template=template, **names)
    message = [{"role": "user", "content": _MESSAGE}]
    try:
        text = str(
            renderer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, date_string=CHAT_DATE)
        )
    except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"chat=True: the chat template of {called} cannot be used ({reason}).") from error
    if text.count(_MESSAGE) != 1:
        raise ConfigError(f"chat=True: the chat template of {called} does not show the user's message once.")
    before, _, after = text.partition(_MESSAGE)
    return before, after
