"""A policy as any user of Transformers knows it: weights, tokenizer and a model card in one folder."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from rlfl_agents.config import Settings
from rlfl_agents.files import write_folder
from rlfl_agents.model.build import no_progress_bar
from rlfl_agents.model.policy import Policy
from rlfl_envs import Tokenizer, TokenVectorEnv

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
        "env_kwargs": config.env_kwargs,
        "prompt_length": envs.prompt_length,
        "completion_length": envs.completion_length,
        "temperature": temperature,
        "trained_by": trained_by,
    }
    model, tokenizer = policy.language_model, envs.tokenizer
    with write_folder(folder, last="config.json") as temporary, no_progress_bar():
        if policy.has_adapters:
            policy.model.save_pretrained(temporary / "adapter")
            model = copy.deepcopy(policy.model).merge_and_unload()
        model.save_pretrained(temporary)
        names = {role: tokenizer.id_to_token(i) for role, i in _special_tokens(tokenizer).items() if i is not None}
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend, padding_side="left", **names)
        fast.save_pretrained(temporary)
        (temporary / "README.md").write_text(_card(policy, facts, row), encoding="utf-8")
        (temporary / "rlfl.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


_CARD = """---
library_name: transformers
tags: [rlfl-envs, reinforcement-learning]
---

# A policy for `{env_id}`

Trained with `rlfl-envs` by {trained_by}; arguments of the environment: `{env_kwargs}`.
Held-out success, greedy: {success}.

Its inputs are the environment's observations: the prompt, left-padded to {prompt_length} columns, then up to
{completion_length} completion tokens. {positions}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```
"""


def _card(policy: Policy, facts: dict[str, Any], row: Mapping[str, float]) -> str:
    by_column = "Positions count columns: pass `position_ids` = 0, 1, 2, ... from the first padding column on."
    by_text = "Positions count from the first real token, as `generate` does by itself."
    low, high = row.get("eval/success_low", 0.0), row.get("eval/success_high", 0.0)
    success = (
        f"{row['eval/success']:.3f} (95% interval {low:.3f} to {high:.3f})" if "eval/success" in row else "not measured"
    )
    return _CARD.format(
        **facts,
        success=success,
        positions=by_column if policy.position_ids == "columns" else by_text,
    )


def _special_tokens(tokenizer: Tokenizer) -> dict[str, int | None]:
    return {"pad_token": tokenizer.pad_id, "eos_token": tokenizer.eos_id, "bos_token": tokenizer.bos_id}
