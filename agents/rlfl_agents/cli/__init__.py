"""The command line: `rlfl list | show | play | audit | pretrain | from-gguf | sft | train | eval | plot | push`.

A command is a function, and its docstring its help. None imports torch before it runs, so that help is quick and the
first four commands work without it.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tyro

from rlfl_agents.cli.audit import audit
from rlfl_agents.cli.evaluate import evaluate
from rlfl_agents.cli.listing import list_all
from rlfl_agents.cli.play import play
from rlfl_agents.cli.plot import plot
from rlfl_agents.cli.push import push
from rlfl_agents.cli.show import show
from rlfl_agents.cli.train import train, training_settings
from rlfl_agents.cli.warm import from_gguf, imitation_settings, pretrain, pretraining_settings, sft
from rlfl_agents.cli.words import ARGUMENT_RULES, argument_rules
from rlfl_agents.run.signals import StoppedError
from rlfl_agents.settings import Settings
from rlfl_agents.terminal import any_encoding
from rlfl_envs import ConfigError, RLFLError, printable, suggest

__all__ = ["COMMANDS", "main"]


class Command(NamedTuple):
    """What `rlfl NAME` does.

    Attributes:
        run: Called with the arguments; the first line of its docstring is the summary.
        settings: For a command with settings, the ones it begins from: they depend on the words that follow.
    """

    run: Callable[..., None]
    settings: Callable[[Sequence[str]], Settings] | None = None


COMMANDS = {
    "list": Command(list_all),
    "show": Command(show),
    "play": Command(play),
    "audit": Command(audit),
    "pretrain": Command(pretrain, pretraining_settings),
    "from-gguf": Command(from_gguf),
    "sft": Command(sft, imitation_settings),
    "train": Command(train, training_settings),
    "eval": Command(evaluate),
    "plot": Command(plot),
    "push": Command(push),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: What follows `rlfl`; the process's own arguments by default.

    Returns:
        The exit status: 0; 2 after an error of ours or of the operating system, which gets one line; 130 after Ctrl-C
        and 143 after SIGTERM, once a run has been saved.
    """
    any_encoding()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words and not words[0].startswith("-"):
            _run(words[0], words[1:])
        else:
            _overview(words or ["--help"])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (RLFLError, OSError) as error:
        print(f"rlfl: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        return 128 + (stop.number if isinstance(stop, StoppedError) else signal.SIGINT)
    return 0


def _run(name: str, words: Sequence[str]) -> None:
    if name not in COMMANDS:
        raise ConfigError(f"command={name!r} is not known.{suggest(name, COMMANDS)} Allowed: {', '.join(COMMANDS)}.")
    command = COMMANDS[name]
    function: Callable[..., None] = command.run
    rules = ARGUMENT_RULES
    if command.settings is not None:
        config = command.settings(words)
        function, rules = functools.partial(function, config=config), argument_rules(config.env_kwargs)
    tyro.cli(function, args=words, prog=f"rlfl {name}", **_TYRO | {"registry": rules})


def _overview(words: Sequence[str]) -> None:
    """Lets tyro explain all commands, or print what completes them in a shell."""
    app = tyro.extras.SubcommandApp()
    for name, command in COMMANDS.items():
        app.command(name=name, help=(command.run.__doc__ or "").splitlines()[0])(command.run)
    app.cli(args=words, prog="rlfl", description="`rlfl COMMAND --help` explains a command.", **_TYRO)


_TYRO: dict[str, Any] = {"registry": ARGUMENT_RULES, "config": (tyro.conf.OmitArgPrefixes,)}
