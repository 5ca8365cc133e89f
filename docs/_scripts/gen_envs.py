"""Writes one page per environment id from what the code says: the task's docstring, its config and its baselines.

With `--check` (CI) it writes nothing, and fails where a page in docs/environments/ is not what would be written.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import json
import re
import sys
import textwrap
from pathlib import Path

import gymnasium
import numpy as np

import rlfl_envs

FOLDER = Path(__file__).parents[1] / "environments"
NOTE = "<!-- Written by docs/_scripts/gen_envs.py. Edit the task's docstring instead, then run `make docs-pages`. -->"
SAMPLES = 5
# A page must not depend on which packages are installed, nor quote other people's reviews.
SHOWN_WITH: dict[str, dict[str, object]] = {
    "rlfl/Sentiment-v0": {"corpus": "template"},
    "rlfl/LudaxGame-v0": {"corpus": "shipped"},
}
INSTRUCTION = "With `chat=True` a model is told this ([models that chat](../agent.md#models-that-chat)):"
# Needs what nobody may pass on, and its prompts are part of that: the card alone.
CARD_ONLY = ("rlfl/LudiiGame-v0",)


def split_card(cls: type) -> tuple[str, dict[str, str]]:
    """Splits a docstring into its first sentence and its sections: "Name:", then an indented body."""
    summary, _, rest = (inspect.getdoc(cls) or "").partition("\n")
    words = re.split(r"^([A-Z][\w ]*):\n", rest, flags=re.MULTILINE)
    return summary, {name: textwrap.dedent(body).strip() for name, body in zip(words[1::2], words[2::2], strict=True)}


def field_meanings(config: type) -> dict[str, str]:
    """Reads the "Attributes:" of a config and its bases: what each argument means."""
    meanings: dict[str, str] = {}
    for cls in reversed(config.__mro__[:-1]):
        body = split_card(cls)[1].get("Attributes", "")
        for name, text in re.findall(r"^(\w+): (.*(?:\n +.*)*)", body, flags=re.MULTILINE):
            meanings[name] = " ".join(text.split())
    return meanings


def code(text: object) -> str:
    """Writes a text as inline code that survives a table cell."""
    escaped = str(text).replace("\n", "\\n").replace("|", "\\|")
    plain = escaped and "`" not in escaped and escaped == escaped.strip()
    return f"`{escaped}`" if plain else f"`` {escaped} ``"


def written(arguments: dict[str, object]) -> str:
    """Writes arguments as one would type them."""
    return ", ".join(code(f"{name}={value!r}") for name, value in arguments.items())


def table(header: list[str], rows: list[list[str]]) -> str:
    """Writes a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def facts(id: str, task: rlfl_envs.Task) -> str:
    """Writes the spaces and ranges of an id."""
    spec = gymnasium.spec(id)
    vocab_size, columns = task.tokenizer.vocab_size, task.max_prompt_tokens + task.max_completion_tokens
    low, high = task.reward_range
    fixed = ", ".join(f"{name}={value!r}" for name, value in spec.kwargs.items() if name != "task")
    rows = [
        ["Make", code(f"gymnasium.make({json.dumps(id)})")],
        ["Task", code(spec.kwargs["task"]) + (f" with {code(fixed)}" if fixed else "")],
        ["Action space", code(f"Discrete({vocab_size})")],
        ["Observation space", code(f"MultiDiscrete([{vocab_size}] * {columns})")],
        ["Prompt columns P", str(task.max_prompt_tokens)],
        ["Completion columns C", str(task.max_completion_tokens)],
        ["Reward range", f"[{low:.4g}, {high:.4g}]"],
        ["Reward parts", ", ".join(map(code, task.part_names))],
        ["`judge_tokens`, `rewards`", verdicts(task)],
    ]
    return table(["", f"With {written(SHOWN_WITH[id])}" if id in SHOWN_WITH else "By default"], rows)


def verdicts(task: rlfl_envs.Task) -> str:
    """Says whether single tokens can be judged: by default, or with which arguments by the card."""
    if not task.on_verdicts:
        return "no"
    default = "yes" if isinstance(task, rlfl_envs.ViableTask) else "with other arguments"
    return f"{default}: {task.on_verdicts}"


def argument_table(id: str, cls: type[rlfl_envs.Task]) -> str:
    """Writes the arguments with their defaults under this id."""
    meanings = field_meanings(cls.Config)
    fields = dataclasses.fields(cls.Config)
    defaults = {f.name: f.default for f in fields} | gymnasium.spec(id).kwargs
    rows = [[code(f.name), code(repr(defaults[f.name])), meanings[f.name].replace("|", "\\|")] for f in fields]
    return table(["Argument", "Default", "Meaning"], rows)


def baseline_table(baselines: list[rlfl_envs.Baseline]) -> str:
    """Writes what the id pays without learning anything."""
    rows = [[line.name, f"{line.reward:.3f}", f"{line.success:.3f}", code(line.example)] for line in baselines]
    return table(["Answer", "Mean reward", "Success", "Such as"], rows)


def sample_table(task: rlfl_envs.Task) -> str:
    """Writes some prompts with their reference completions."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in task.sample_prompts(rng, SAMPLES):
        reference = task.reference_completion(prompt, rng)
        if reference is None:
            rows.append([code(prompt.text)])
        else:
            (outcome,) = task.evaluate([prompt], [reference])
            rows.append([code(prompt.text), code(reference), f"{outcome.reward:.4g}"])
    return table(["Prompt", "Reference completion", "Reward"][: len(rows[0])], rows)


def page(id: str, task: rlfl_envs.Task | None) -> str:
    """Writes the page of an id; without a task the card alone."""
    cls = rlfl_envs.task_class(gymnasium.spec(id).kwargs["task"])
    summary, sections = split_card(cls)
    parts = [f"# {id}", NOTE, summary, *([facts(id, task)] if task else [])]
    for name, body in sections.items():
        if name == "Observation" and task and task.instruction:
            parts += ["## Instruction", INSTRUCTION, textwrap.indent(task.instruction, "> ")]
        text = f"```pycon\n{body}\n```" if name == "Example" else body
        parts += [f"## {name}", text]
        if name == "Arguments":
            parts.append(argument_table(id, cls))
        elif name == "Example" and task:
            parts += ["## Sample prompts", sample_table(task)]
            arguments = f", with {written(SHOWN_WITH[id])}" if id in SHOWN_WITH else ""
            lines = rlfl_envs.baselines(task)
            count = f"Over {lines[0].prompts} prompts of the {task.config.split} split{arguments}."
            parts += ["## Baselines", count, baseline_table(lines)]
    return "\n\n".join(parts) + "\n"


def index(tasks: dict[str, rlfl_envs.Task | None]) -> str:
    """Writes the page that lists the ids."""
    rows = []
    for id, task in tasks.items():
        summary, _ = split_card(rlfl_envs.task_class(gymnasium.spec(id).kwargs["task"]))
        sizes = (task.tokenizer.vocab_size, task.max_prompt_tokens, task.max_completion_tokens) if task else ("",) * 3
        judged = verdicts(task).partition(":")[0] if task else "no"
        rows.append([f"[{id}]({stem(id)}.md)", summary, *map(str, sizes), judged])
    intro = (
        "Every id is played one token per step: V token ids are the actions, P columns hold the prompt and C the\n"
        "completion. `rlfl show ID` prints the same card in a terminal. Where single tokens can be judged, there are\n"
        '`judge_tokens`, `rewards="tokens"` and `rewards="shaped"`; the pages say with which arguments.'
    )
    toctree = "\n".join(["```{toctree}", ":hidden:", "", *map(stem, tasks), "```"])
    ids = table(["Id", "", "V", "P", "C", "Tokens judged"], rows)
    return "\n\n".join(["# Environments", NOTE, intro, ids, toctree]) + "\n"


def stem(id: str) -> str:
    """Returns the name of an id's page, such as "Copy-v0"."""
    return id.removeprefix("rlfl/")


def main() -> None:
    """Writes the pages, or compares them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is out of date")
    check = parser.parse_args().check

    tasks: dict[str, rlfl_envs.Task | None] = {}
    skipped: list[str] = []
    for id in rlfl_envs.list_ids():
        try:
            tasks[id] = None if id in CARD_ONLY else rlfl_envs.load_task(id, **SHOWN_WITH.get(id, {}))
        except rlfl_envs.MissingDependencyError as error:
            skipped.append(stem(id))
            print(f"{id}: skipped, its page stays as it is ({error})")
    pages = {f"{stem(id)}.md": page(id, task) for id, task in tasks.items()}
    if not skipped:
        pages["index.md"] = index(tasks)

    drift: list[str] = []
    for name, text in pages.items():
        path = FOLDER / name
        if not check:
            path.write_text(text, encoding="utf-8")
            continue
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        drift += difflib.unified_diff(old.splitlines(), text.splitlines(), f"{name} as committed", name, lineterm="")
    known = {"index.md", *pages, *(f"{name}.md" for name in skipped)}
    drift += [f"{path.name} belongs to no id" for path in sorted(FOLDER.glob("*.md")) if path.name not in known]
    if drift:
        advice = "docs/environments/ is out of date: run `make docs-pages` and commit what changes."
        sys.exit("\n".join([*drift, "", advice]))


if __name__ == "__main__":
    main()
