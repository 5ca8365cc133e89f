"""Token-level Gymnasium environments for reinforcement learning from programmed rewards on formal languages.

Importing this package registers every id with Gymnasium.

Example:
    >>> import gymnasium
    >>> import rlfl_envs
    >>> env = gymnasium.make("rlfl/Arithmetic-v0")
    >>> observation, info = env.reset(seed=0, options={"prompt": "2+3+4=5+4="})
    >>> nine = env.unwrapped.tokenizer.encode("9")[0]
    >>> observation, reward, terminated, truncated, info = env.step(nine)
    >>> reward, terminated, info["is_success"]
    (1.0, True, True)
"""

from rlfl_envs.answers import AnswerTask
from rlfl_envs.arguments import check_type, check_value
from rlfl_envs.auditing import Audit, Finding, audit, judge_attack
from rlfl_envs.baselines import Baseline, baselines
from rlfl_envs.cache import cache_folder, digest
from rlfl_envs.checker import check_task
from rlfl_envs.episode import Outcome, OutcomeArrays, Prompt
from rlfl_envs.errors import (
    ActionError,
    ArgumentError,
    ConfigError,
    MissingDependencyError,
    PromptError,
    RLFLError,
    TokenizationError,
    UnknownIdError,
    how_to_install,
    suggest,
)
from rlfl_envs.hub import check_hub
from rlfl_envs.printing import printable
from rlfl_envs.prompting import PromptedTask
from rlfl_envs.protocols import (
    Accepted,
    ArrayAutomaton,
    ArrayStarts,
    ArrayTask,
    ArrayViableTask,
    AuditedTask,
    Automaton,
    FiniteTask,
    Grammar,
    IllustratedTask,
    KindTask,
    SlowTask,
    StoppingTask,
    ViableTask,
)
from rlfl_envs.registration import arguments_that_load, find_id, list_ids, load_task, register_all, register_task
from rlfl_envs.task import Task, TaskConfig, task_class
from rlfl_envs.text_rewards import TextRewards
from rlfl_envs.token_env import TokenEnv
from rlfl_envs.tokenization import (
    CHAT_DATE,
    Tokenizer,
    character_tokenizer,
    load_tokenizer,
    number_tokenizer,
    train_tokenizer,
)
from rlfl_envs.vector import TokenVectorEnv

__version__ = "0.2.0"

__all__ = [
    "CHAT_DATE",
    "Accepted",
    "ActionError",
    "AnswerTask",
    "ArgumentError",
    "ArrayAutomaton",
    "ArrayStarts",
    "ArrayTask",
    "ArrayViableTask",
    "Audit",
    "AuditedTask",
    "Automaton",
    "Baseline",
    "ConfigError",
    "Finding",
    "FiniteTask",
    "Grammar",
    "IllustratedTask",
    "KindTask",
    "MissingDependencyError",
    "Outcome",
    "OutcomeArrays",
    "Prompt",
    "PromptError",
    "PromptedTask",
    "RLFLError",
    "SlowTask",
    "StoppingTask",
    "Task",
    "TaskConfig",
    "TextRewards",
    "TokenEnv",
    "TokenVectorEnv",
    "TokenizationError",
    "Tokenizer",
    "UnknownIdError",
    "ViableTask",
    "__version__",
    "arguments_that_load",
    "audit",
    "baselines",
    "cache_folder",
    "character_tokenizer",
    "check_hub",
    "check_task",
    "check_type",
    "check_value",
    "digest",
    "find_id",
    "how_to_install",
    "judge_attack",
    "list_ids",
    "load_task",
    "load_tokenizer",
    "number_tokenizer",
    "printable",
    "register_task",
    "suggest",
    "task_class",
    "train_tokenizer",
]

register_all()
