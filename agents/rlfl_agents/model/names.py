"""Language models by name: those that this library makes, those that a folder or the hub has.

pretrained   the small GPT-2 that `rlfl pretrain ID` left in the cache
smollm2      SmolLM2-135M-Instruct, as `rlfl from-gguf` left it in the cache
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from accelerate import PartialState
from transformers import AutoConfig, AutoTokenizer

from rlfl_agents.config import PretrainConfig
from rlfl_agents.environments import held_out_split, make_envs
from rlfl_agents.files import owned, write_folder
from rlfl_agents.model.build import build_policy
from rlfl_agents.model.kernels import fuse
from rlfl_agents.model.policy import Policy
from rlfl_agents.model.recorded import RecordedSteps
from rlfl_agents.settings import check_env_kwargs
from rlfl_agents.trust import check_arguments, check_files, names_download
from rlfl_envs import (
    ConfigError,
    Tokenizer,
    TokenVectorEnv,
    arguments_that_load,
    cache_folder,
    check_hub,
    check_type,
    check_value,
    digest,
    load_task,
    load_tokenizer,
)

__all__ = [
    "Loaded",
    "load_policy",
    "policy_folder",
    "pretrained_folder",
    "resolve",
    "seen_keys",
    "smollm2_folder",
    "with_own_vocabulary",
]


# The order counts: a cached model's folder is named by a hash over it.
_WEIGHTS_DEPEND_ON = (
    *("env_id", "seed", "tokens", "context", "batch_size", "learning_rate", "weight_decay"),
    *("layers", "width", "heads", "mixed_precision"),
)


class Loaded(NamedTuple):
    """What an evaluation needs of a model.

    Attributes:
        policy: The policy.
        envs: Held-out environments for it.
        temperature: It was trained at this temperature.
        seen: Its training prompts' novelty hashes, int64; None where they are not known.
        reference: The model it was trained from; None where it began from random weights, or that model is gone.
        env_id: Which id the environments have.
    """

    policy: Policy
    envs: TokenVectorEnv
    temperature: float
    seen: np.ndarray | None
    reference: Policy | None
    env_id: str


def resolve(model: str, env_id: str, env_kwargs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Finds a model, and the arguments under which the environment speaks its language.

    Args:
        model: "pretrained", "smollm2", a folder (of a run, its best policy is taken), or a Hugging Face name.
        env_id: The environment.
        env_kwargs: Its arguments. Where they name no vocabulary and the model has another than the environment, the
            model's is added.

    Returns:
        The model's folder or name, and the arguments.

    Raises:
        ConfigError: The cache does not have the model yet (the message says which command makes it), or the model has
            no vocabulary that can be used and another number of tokens than the environment.
    """
    if model == "pretrained":
        folder = pretrained_folder(PretrainConfig(env_id=env_id, env_kwargs=env_kwargs))
        if not (folder / "config.json").exists():
            words = "".join(f" {name}={value}" for name, value in env_kwargs.items())
            command = f"rlfl pretrain {env_id}" + (f" --env-kwargs{words}" if words else "")
            raise ConfigError(f"model='pretrained' is not made yet; this makes it, in a few minutes: {command}")
        return str(folder), env_kwargs
    if model == "smollm2":
        if not (smollm2_folder() / "config.json").exists():
            raise ConfigError("model='smollm2' is not made yet; this makes it, in half a minute: rlfl from-gguf")
        model = str(smollm2_folder())
    model = str(policy_folder(Path(model))) if Path(model).is_dir() else model
    if not Path(model).is_dir():
        check_hub("model", model, "config.json")
    if "vocabulary" in env_kwargs:
        return model, env_kwargs
    ours = load_task(env_id, **env_kwargs).tokenizer
    try:
        vocabulary = _vocabulary(model)
    except ConfigError as error:
        _check_size(model, ours, error)
        return model, env_kwargs
    if load_tokenizer(vocabulary).backend.get_vocab() != ours.backend.get_vocab():
        return model, {**env_kwargs, "vocabulary": vocabulary}
    return model, env_kwargs


def policy_folder(folder: Path) -> Path:
    """Where in a run the policy is: in `best/`, in `policy/` before there is one; any other folder as it is."""
    kinds = (folder / kind for kind in ("best", "policy"))
    return next((kind for kind in kinds if (kind / "config.json").exists()), folder)


def with_own_vocabulary(env_id: str, env_kwargs: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The arguments with the vocabulary that lies beside a policy, unless it is one of the task's own.

    The folder or name that training took it from may be gone, or mean another one elsewhere: an export says ".".
    """
    named = env_kwargs.get("vocabulary")
    is_from_elsewhere = named is not None and bool(arguments_that_load(env_id, {"vocabulary": named}))
    if is_from_elsewhere and (folder / "tokenizer.json").exists():
        return {**env_kwargs, "vocabulary": str(folder)}
    return dict(env_kwargs)


def _check_size(model: str, ours: Tokenizer, error: ConfigError) -> None:
    """Makes sure that a model whose vocabulary cannot be had has as many tokens as the environment.

    Raises:
        ConfigError: It has more or fewer: its tokens mean other things.
    """
    try:
        config: Any = AutoConfig.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError, KeyError):
        return  # no model at all, as whoever loads it will say
    size = config.get_text_config().vocab_size
    if size != ours.vocab_size:
        raise ConfigError(
            f"model={model!r} has {size} tokens and the environment {ours.vocab_size}, and the model's own vocabulary "
            f"cannot be used. {error} Name the right one: --env-kwargs vocabulary=NAME_OR_PATH"
        ) from error


def _vocabulary(model: str) -> str:
    """Where the model's tokenizer.json is: with the model, or in the cache where only Transformers can make one."""
    try:
        load_tokenizer(model)
    except ConfigError as error:
        try:
            tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # of damaged files, too
            raise error from None
        with tempfile.TemporaryDirectory() as made:
            tokenizer.save_pretrained(made)
            if len(tokenizer) == len(tokenizer.all_special_ids):
                raise error  # Transformers has made one up, of special tokens alone
            files = sorted(path for path in Path(made).rglob("*") if path.is_file())
            texts = (path.read_text(encoding="utf-8", errors="replace") for path in files)
            folder = cache_folder() / "vocabularies" / digest(texts)
            with owned(folder, "vocabulary", wait=True):
                if not (folder / "tokenizer.json").exists():  # another process may have made it meanwhile
                    with write_folder(folder, last="tokenizer.json") as temporary:
                        shutil.copytree(made, temporary, dirs_exist_ok=True)
        return str(folder)
    return model


def load_policy(
    name: str | Path,
    env_id: str | None,
    env_kwargs: Mapping[str, Any],
    num_envs: int = 256,
    device: Literal["auto", "cpu"] = "auto",
    trust_folder: bool = False,
) -> Loaded:
    """Finds out what a run directory or a model is, and loads it for evaluation.

    Args:
        name: A run directory (its `best/` is taken, or its `policy/` where there is none yet), or any model that
            `resolve` finds.
        env_id: The id to evaluate on; the one it was trained on by default.
        env_kwargs: Arguments of the environment, on top of those it was trained with.
        num_envs: How many episodes are played side by side.
        device: "auto" takes an accelerator where there is one.
        trust_folder: Let the folder say which code, files and downloads are loaded. Without it the vocabulary is its
            own, and whatever else would load something is an error.

    Raises:
        ConfigError: There is no such model, it is damaged or says what it must not, or nothing says which id to
            evaluate on.
    """
    folder = Path(name)
    if not trust_folder:
        check_files(folder)
    model = policy_folder(folder)
    facts = _facts(model)
    env_id = env_id or _trained_on(folder, facts)
    is_its_own = facts.get("env_id") == env_id
    trained_kwargs = {k: v for k, v in facts.get("env_kwargs", {}).items() if (k, v) != ("split", "train")}
    check_env_kwargs({**trained_kwargs, **env_kwargs})
    if is_its_own and not trust_folder:
        has_vocabulary = {"vocabulary"} if (model / "tokenizer.json").exists() else set()  # which is taken then
        chosen = {k: v for k, v in trained_kwargs.items() if k not in env_kwargs.keys() | has_vocabulary}
        check_arguments(env_id, chosen, model / "rlfl.json")
    if is_its_own:
        trained_kwargs = with_own_vocabulary(env_id, trained_kwargs, model)
    found, kwargs = resolve(str(model), env_id, (trained_kwargs if is_its_own else {}) | dict(env_kwargs))
    envs = make_envs(env_id, num_envs, **{"split": held_out_split(env_id, kwargs), **kwargs})

    where = torch.device("cpu") if device == "cpu" else PartialState().device

    def built(model: str) -> Policy:
        policy = build_policy(envs.tokenizer, envs.prompt_length, envs.completion_length, model=model)
        if where.type == "cuda":
            fuse(policy)
            policy.recorded = RecordedSteps()
        return policy.to(where)

    seen = _keys(folder) if is_its_own else None
    began_from = _json(folder / "config.json").get("model") if model != folder else None
    reference = None
    if began_from is not None:
        try:
            check_type("model", began_from, str)
            if names_download(began_from) and not trust_folder:
                raise ConfigError(f"model={began_from!r} is no folder here.")
            reference = built(resolve(began_from, env_id, kwargs)[0])
        except ConfigError as error:
            warnings.warn(f"There is nothing to measure ref_kl against: {error}", stacklevel=2)
    return Loaded(built(found), envs, float(facts.get("temperature", 1.0)), seen, reference, env_id)


def _trained_on(folder: Path, facts: Mapping[str, Any]) -> str:
    """The id that a folder names; one with a module only the user can name, since it is imported."""
    name = str(folder)
    env_id = facts.get("env_id")
    if env_id is None and folder.is_dir():
        raise ConfigError(f"{name!r} does not say what it was trained on; name an id too: rlfl eval {name} ID.")
    if env_id is None:
        raise ConfigError(f"There is no folder {name!r}; for a model of the Hugging Face hub name an id too.")
    if ":" in env_id:
        module = env_id.partition(":")[0]
        raise ConfigError(
            f"{name!r} was trained on {env_id}, and no folder makes the module {module!r} be imported; name the id "
            f"too: rlfl eval {name} {env_id}"
        )
    return str(env_id)


def seen_keys(model: str, env_id: str) -> np.ndarray | None:
    """The novelty hashes of the prompts on which a model of ours was trained; None for any other model or id."""
    folder = Path(model)
    if _facts(folder).get("env_id") != env_id:
        return None
    return _keys(folder.parent if folder.name in ("best", "policy") else folder)


def _keys(folder: Path) -> np.ndarray | None:
    """What a run or a warm start has written down of its prompts, int64; None where it has not."""
    path = folder / "seen_keys.npy"
    if not path.exists():
        return None
    try:
        keys: np.ndarray = np.load(path, allow_pickle=False)
        if keys.dtype != np.int64 or keys.ndim != 1:
            raise ValueError(f"{keys.dtype} of shape {keys.shape} instead of int64 [n]")
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{str(path)!r} is damaged ({reason}). Delete it to go on without knowing which prompts training has met."
        ) from error
    return keys


def _facts(folder: Path) -> dict[str, Any]:
    """What a folder's rlfl.json says of the model in it; nothing where there is none.

    Raises:
        ConfigError: It is damaged.
    """
    path = folder / "rlfl.json"
    facts = _json(path)
    try:
        for name, kind in (("env_id", str), ("env_kwargs", dict), ("temperature", float)):
            check_type(name, facts.get(name, kind()), kind)
        temperature = facts.get("temperature", 1.0)
        check_value("temperature", temperature, temperature >= 1e-6, "1e-6 or more")
    except ConfigError as error:
        raise ConfigError(f"{str(path)!r} is damaged: {error}") from error
    return facts


def _json(path: Path) -> dict[str, Any]:
    """The entries of a JSON file; none where there is no such file.

    Raises:
        ConfigError: It holds no JSON object.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{str(path)!r} is damaged ({error}).") from error
    if not isinstance(entries, dict):
        raise ConfigError(f"{str(path)!r} is damaged (no JSON object).")
    return entries


def smollm2_folder() -> Path:
    """Where `from_gguf` leaves SmolLM2 by default."""
    return cache_folder() / "models" / "SmolLM2-135M-Instruct"


def pretrained_folder(config: PretrainConfig) -> Path:
    """Where the cache has, or would have, the model of these settings: named by all that its weights depend on."""
    task = load_task(config.env_id, **config.env_kwargs)
    # Of the environment's arguments only the texts and the vocabulary matter.
    settings = {name: getattr(config, name) for name in _WEIGHTS_DEPEND_ON}
    named = digest([json.dumps(settings), task.tokenizer.backend.to_str(), *task.corpus()])
    return cache_folder() / "models" / f"{config.short_id}-{named}"
