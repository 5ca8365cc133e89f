"""A policy as any user of Transformers knows it: weights, tokenizer and a model card in one folder."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers import GenerationConfig, PreTrainedTokenizerFast

from rlfl_agents.files import write_folder
from rlfl_agents.model.build import no_progress_bar
from rlfl_agents.model.policy import Policy
from rlfl_agents.model.reading import FIELD
from rlfl_agents.model.weights import seal
from rlfl_agents.settings import Settings
from rlfl_envs import CHAT_DATE, PromptedTask, StoppingTask, Task, Tokenizer, TokenVectorEnv

__all__ = ["export"]


def export(
    policy: Policy,
    envs: TokenVectorEnv,
    config: Settings,
    folder: Path,
    trained_by: str,
    row: Mapping[str, float],
    temperature: float = 1.0,
) -> None:
    """Saves a policy in Hugging Face form, with its tokenizer and a model card; adapters merged, and once more apart.

    Args:
        policy: The policy; its value head is not part of a language model and stays in the checkpoint.
        envs: What it was trained or is held out on: the tokenizer, P and C.
        config: Says which environment that is, with which arguments.
        folder: Where; it is complete once it has a config.json, which is written last.
        trained_by: How, in words, for the model card.
        row: The metrics at this moment, for the model card too.
        temperature: What it samples with.

    Raises:
        OSError: It could not be written; what was in the folder is as it was.
    """
    facts = {
        "env_id": config.env_id,
        "env_kwargs": config.env_kwargs | ({"vocabulary": "."} if envs.tokenizer.name else {}),  # the copy beside it
        "prompt_length": envs.prompt_length,
        "completion_length": envs.completion_length,
        "temperature": temperature,
        "trained_by": trained_by,
    }
    model = policy.language_model
    with write_folder(folder, last="config.json") as temporary, no_progress_bar():
        if policy.has_adapters:
            policy.model.save_pretrained(temporary / "adapter")
            model = copy.deepcopy(policy.model).merge_and_unload()
        model.save_pretrained(temporary)
        seal(temporary)
        _generation(policy, envs).save_pretrained(temporary)
        _save_tokenizer(envs.tokenizer, temporary)
        (temporary / "README.md").write_text(_card(policy, envs, facts, row), encoding="utf-8")
        (temporary / "rlfl.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes a vocabulary as Transformers reads it: BOS before each prompt, padding on the left."""
    roles = {"pad_token": tokenizer.pad_id, "eos_token": tokenizer.eos_id, "bos_token": tokenizer.bos_id}
    names = {role: None if i is None else tokenizer.id_to_token(i) for role, i in roles.items()}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.as_published(),
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        chat_template=tokenizer.chat_template,
        **{role: name for role, name in names.items() if name is not None},
    )
    fast.save_pretrained(folder)
    path = folder / "tokenizer_config.json"  # where a role is not named, one would be guessed
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | names, indent=2) + "\n", encoding="utf-8")


def _generation(policy: Policy, envs: TokenVectorEnv) -> GenerationConfig:
    """What makes `generate` write as the environment lets a policy write: as much, as legal, and to the same ends."""
    tokenizer, task = envs.tokenizer, envs.task
    known = policy.language_model.get_output_embeddings().weight.shape[0]
    legal = {*np.flatnonzero(tokenizer.ordinary).tolist(), *tokenizer.eos_ids}
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=envs.completion_length,
        min_new_tokens=task.config.min_completion_tokens or None,
        suppress_tokens=[i for i in range(known) if i not in legal],
        eos_token_id=[*tokenizer.eos_ids],
        pad_token_id=tokenizer.pad_id,
        bos_token_id=tokenizer.bos_id,
    )


_CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [rlfl-envs, reinforcement-learning]
---

# A policy for `{env_id}`

Trained with `rlfl-envs` by {trained_by}; arguments of the environment: `{env_kwargs}`.
Held-out success, greedy: {success}.

```python
{imports}from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
{inputs}
written = model.generate(**inputs{positions})
print(tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```

It answers greedily in up to {completion_length} tokens, as `rlfl eval` measures it. {notes}
"""

_PLAIN = """prompts = [{prompt!r}]
inputs = tokenizer(prompts, {padding}, return_tensors="pt")"""
_TEMPLATE = """template = {template!r}
prompts = [template.replace("{{prompt}}", prompt) for prompt in [{prompt!r}]]
inputs = tokenizer(prompts, {padding}, return_tensors="pt")"""
_CHAT = """question = {template!r}
prompts = [question.replace("{{prompt}}", prompt).strip() for prompt in [{prompt!r}]]
messages = [[{{"role": "user", "content": prompt}}] for prompt in prompts]
options = {{"add_generation_prompt": True, "return_dict": True, "date_string": {date!r}}}
inputs = tokenizer.apply_chat_template(messages, {padding}, return_tensors="pt", **options)"""

_BY_TEXT = """`pipeline("text-generation", folder)` gives the same answers."""
_BY_COLUMN = """It counts positions by columns: every prompt fills {prompt_length} of them, and its last token
has always the same position. So `position_ids` have to be given as above. Without them, in a `pipeline` above all, it
answers other things, and mostly wrong ones. A policy that is trained with `--position-ids text` needs none."""
_PLACES = """
positions = torch.empty_like(inputs["input_ids"])
for row, tokens in zip(positions, inputs["input_ids"].tolist()):
    field = place = 0
    for column in reversed(range({width})):
        if tokenizer.convert_ids_to_tokens(tokens[column]).isdigit():
            row[column], place = -field - min(place, {last_place}), place + 1  # units, tens, ...
        else:
            row[column], field, place = -field - {last_place} - 1, field + {field}, 0
    row += {last} - row[-1].item()"""
_BY_PLACE = """It counts positions by columns, with room for as many digits in each number of the prompt, so that
units stand below units. So `position_ids` have to be given as above. Without them, in a `pipeline` above all, it
answers other things, and mostly wrong ones. A policy that is trained with `--position-ids text` needs none."""
_MASKED = """
It was trained and measured under the environment's mask (`mask="syntax"`), which `generate` does not know: where the
mask would have forbidden its first choice, it answers something else here."""
_ANSWERED = """
It may talk first: judged is what stands where `{answer}` says, at the last such place."""
_STOPPED = """
The environment also ends a completion where the task's own rule says that it is complete; `generate` writes on."""


def _card(policy: Policy, envs: TokenVectorEnv, facts: dict[str, Any], row: Mapping[str, float]) -> str:
    width, first = envs.prompt_length, policy.first_position
    by_text, by_place = policy.position_ids == "text", policy.position_ids == "places"
    low, high = row.get("eval/success_low", 0.0), row.get("eval/success_high", 0.0)
    success = (
        f"{row['eval/success']:.3f} (95% interval {low:.3f} to {high:.3f})" if "eval/success" in row else "not measured"
    )
    notes = {"text": _BY_TEXT, "columns": _BY_COLUMN.format(**facts), "places": _BY_PLACE}[policy.position_ids]
    notes += _MASKED if envs.task.config.mask != "none" else ""
    notes += _STOPPED if isinstance(envs.task, StoppingTask) else ""
    if isinstance(envs.task, PromptedTask) and envs.task.answer is not None:
        notes += _ANSWERED.replace("{answer}", envs.task.answer)
    padding = "padding=True" if by_text else f'padding="max_length", max_length={width}'
    columns = f", position_ids=torch.arange({first}, {first + width}).expand(len(prompts), -1)"
    own_positions = {"text": "", "columns": columns, "places": ", position_ids=positions"}
    return _CARD.format(
        **facts,
        success=success,
        notes=notes,
        imports="" if by_text else "import torch\n",
        inputs=_inputs(envs.task, padding)
        + (_PLACES.format(width=width, field=FIELD, last_place=FIELD - 2, last=first + width - 1) if by_place else ""),
        positions=own_positions[policy.position_ids],
    )


def _inputs(task: Task, padding: str) -> str:
    """The lines of the card in which a prompt becomes tokens."""
    prompt = task.prompts_from_keys(np.zeros(1, dtype=np.uint64))[0]
    if not isinstance(task, PromptedTask):
        return _PLAIN.format(prompt=prompt.text, padding=padding)
    lines = _CHAT if task.chat else _TEMPLATE
    return lines.format(template=task.template_for(prompt), prompt=prompt.text, padding=padding, date=CHAT_DATE)
