"""Which id for which question: what each id is good for, how large it is, and what it costs and pays for nothing.

`make bench-ids` measures every id that can be played here, as it is by default, and adds a line for each to
results/ids.jsonl; `docs/_scripts/fill_tables.py` makes the tables of those lines, for the docs and the README. Times
are processor time, but for ids that have worker processes.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

import rlfl_envs
from rlfl_agents.run.results import append_result, read_results
from rlfl_envs import MissingDependencyError, Task, baselines

RESULTS = Path(__file__).parent / "results" / "ids.jsonl"
DRAWN = 256  # prompts
JUDGED = 64  # completions; a judge that works in other processes has started them before
SLOW = ("Game-v0",)  # judging one takes a second or more
MADE_WITH: dict[str, dict[str, Any]] = {"rlfl/Sentiment-v0": {"corpus": "template"}}


class Words(NamedTuple):
    """What cannot be measured.

    Attributes:
        prompt: What a prompt looks like.
        completion: What an answer looks like.
        reward: What is paid for.
        kinds: Which questions the id is good for: keys of QUESTIONS.
    """

    prompt: str
    completion: str
    reward: str
    kinds: tuple[str, ...]


QUESTIONS = {
    "diversity": "Do the policy's answers stay different, or do all prompts get the same one?",
    "exploration": "Is a success found that chance hardly ever meets, and by what help: levels, masks, partial credit?",
    "credit": "Is it found out which of many tokens made the difference?",
    "length": "What happens as completions grow to hundreds of tokens?",
    "exploits": "Does the policy learn the task, or what the reward forgot? Compare `plain` with `strict`.",
    "generalisation": "What is true of problems that training never met, larger ones among them?",
    "language": "What does a pretrained model gain, and what does it lose of its language?",
}

IDS: dict[str, Words] = {
    "rlfl/Arithmetic-v0": Words(
        "`2+3+4=5+4=`", "`9`", "how far every step is from the value, in (0, 1]", ("diversity", "generalisation")
    ),
    "rlfl/ArithmeticSteps-v0": Words("`2+3+4=`", "`5+4=9`", "the same", ("credit", "exploration", "generalisation")),
    "rlfl/ArithmeticAnswer-v0": Words(
        "`2+3+4=`", "`9`", "how far the answer is from the value, in (0, 1]", ("diversity", "generalisation")
    ),
    "rlfl/Copy-v0": Words("`hdba`", "`hdba`", "share of right characters", ("diversity",)),
    "rlfl/Brackets-v0": Words(
        "`([]{()}[`", "`])`", "share of closing brackets that are right before the first error", ("credit", "length")
    ),
    "rlfl/Countdown-v0": Words(
        "`19 36 55 7=65:`",
        "`55+36-19-7`",
        "1 for the target with each number used once; a little for coming near",
        ("exploration", "exploits"),
    ),
    "rlfl/Sat-v0": Words(
        "`p cnf 4 17`, then 17 clauses",
        "` 1 -2 3 -4`",
        "satisfied clauses, over the 7/8 that chance gives, in [-1, 1]",
        ("exploration", "exploits", "generalisation"),
    ),
    "rlfl/Planning-v0": Words(
        "a STRIPS domain, a state and a goal",
        "` (pick-up a) (stack a b)`",
        "share of the shortest plan that is done",
        ("credit", "exploration", "length", "generalisation"),
    ),
    "rlfl/Symbolic-v0": Words(
        "`diff x^3+2*x^2:`",
        "`3*x^2+4*x`",
        "agreement at twelve points; half for the terms that agree",
        ("exploration", "exploits"),
    ),
    "rlfl/Proof-v0": Words(
        r"`p,Cpq,Cqr\|-Csr:`",
        "`q,r,CrCsr,Csr`",
        "1 for a proof whose every step holds; half of what is no longer missing",
        ("credit", "length"),
    ),
    "rlfl/ReasoningGym-v0": Words(
        "a question of reasoning-gym's 105 datasets", "the answer", "its scorer's", ("exploits", "language")
    ),
    "rlfl/Program-v0": Words(
        "cases such as `f(3) == 6`, then `def f(x: int) -> int: return`",
        "`x + 3`",
        "share of hidden cases solved above the best constant",
        ("exploration", "exploits", "language"),
    ),
    "rlfl/Machine-v0": Words(
        "cases such as `f(3) = 6`",
        "WebAssembly, an instruction a line",
        "half for right values in hidden cases, half for few steps",
        ("exploration", "exploits"),
    ),
    "rlfl/HumanEval-v0": Words(
        "a Python function's signature and docstring",
        "its body",
        "do the problem's tests pass? To evaluate models by",
        ("language",),
    ),
    "rlfl/Regex-v0": Words(
        "words to match, words not to",
        "`a(ba)*`",
        "balanced accuracy over all words, less length",
        ("exploration", "exploits"),
    ),
    "rlfl/Json-v0": Words(
        "a JSON Schema and facts",
        '`{"name": "Ada"}`',
        "share of constraints met and facts present",
        ("credit", "length"),
    ),
    "rlfl/Sql-v0": Words(
        "tables and a question",
        "`SELECT ...`",
        "F1 of the rows it returns on three hidden databases",
        ("exploration", "language"),
    ),
    "rlfl/Sentiment-v0": Words(
        "`I saw this film`",
        "` with my sister and loved it`",
        "VADER's, or a classifier's, judgement of both, in [-1, 1]",
        ("exploits", "language", "diversity"),
    ),
    "rlfl/LudaxGame-v0": Words(
        "a board game with a hole",
        "what fills it",
        "100 random playouts: balanced, decisive, not endless?",
        ("exploits", "length"),
    ),
    "rlfl/LudiiGame-v0": Words("the same in Ludii, with your jar", "", "the same", ("exploits", "length")),
    "rlfl/Mixture-v0": Words("of several tasks", "", "the task's own", ("generalisation",)),
}


def measure(id: str) -> dict[str, Any]:
    """What there is to say of an id in numbers.

    Raises:
        MissingDependencyError: It cannot be played here.
    """
    task = rlfl_envs.load_task(id, **MADE_WITH.get(id, {}))
    is_slow = id.endswith(SLOW)
    rng = np.random.default_rng(0)
    task.sample_prompts(rng, 8)
    clock = time.perf_counter if hasattr(task.config, "workers") else time.process_time
    begun = clock()
    prompts = task.sample_prompts(rng, DRAWN)
    drawing = (clock() - begun) / DRAWN
    prompts = prompts[: 4 if is_slow else JUDGED]
    answers = [_answer(task, prompt, rng) for prompt in prompts]
    task.evaluate(prompts[:1], answers[1:2])
    begun = clock()
    task.evaluate(prompts, answers)
    judging = (clock() - begun) / len(prompts)
    found = {line.name: line for line in baselines(task, num_prompts=4 if is_slow else None)}
    constant = found.get("best constant answer")
    return {
        "id": id,
        "V": task.tokenizer.vocab_size,
        "P": task.max_prompt_tokens,
        "C": task.max_completion_tokens,
        "draw_ms": 1000 * drawing,
        "judge_ms": 1000 * judging,
        "random": _pair(found["random legal tokens"]),
        "constant": None if constant is None else _pair(constant),
    }


def _answer(task: Task, prompt: rlfl_envs.Prompt, rng: np.random.Generator) -> str:
    return task.reference_completion(prompt, rng) or next(iter(task.constant_completions()), " is good.")


def _pair(line: rlfl_envs.Baseline) -> list[float]:
    return [line.reward, line.success]


# --- tables --------------------------------------------------------------------------------------------------------


def tables() -> dict[str, str]:
    """The tables: of questions, of numbers, and of what ids look like. They have the ids that are registered."""
    measured = {row["id"]: row for row in read_results(RESULTS)}
    ids = [id for id in IDS if id in rlfl_envs.list_ids()]
    ids += [id for id in rlfl_envs.list_ids() if id.startswith("rlfl/") and id not in IDS]
    questions = [
        [f"**{kind}**", question, ", ".join(_linked(id) for id in ids if id in IDS and kind in IDS[id].kinds)]
        for kind, question in QUESTIONS.items()
    ]
    numbers = [[_linked(id), *_numbers(measured.get(id))] for id in ids]
    looks = [[f"`{id}`", *IDS[id][:3]] if id in IDS else [f"`{id}`", _summary(id), "", ""] for id in ids]
    header = ["Id", "V", "P", "C", "Draw, ms", "Judge, ms", "Random", "succeeds", "Constant", "succeeds"]
    return {
        "ids: questions": _table(["Good for", "The question", "Ids"], questions),
        "ids: numbers": _table(header, numbers),
        "ids: looks": _table(["id", "prompt", "completion", "reward"], looks),
    }


def _linked(id: str) -> str:
    name = id.removeprefix("rlfl/").removesuffix("-v0")
    return f"[{name}](environments/{name}-v0.md)"


def _numbers(row: Mapping[str, Any] | None) -> list[str]:
    if row is None:
        return ["not measured here", *[""] * 8]
    sizes = [str(row[name]) for name in ("V", "P", "C")]
    times = [f"{row[name]:.2g}" for name in ("draw_ms", "judge_ms")]
    scores = [f"{value:.2f}" for pair in (row["random"], row["constant"] or []) for value in pair]
    return [*sizes, *times, *scores, *[""] * (4 - len(scores))]


def _summary(id: str) -> str:
    return (rlfl_envs.task_class(gymnasium.spec(id).kwargs["task"]).__doc__ or "").strip().splitlines()[0]


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))


def main() -> None:
    """Measures what has no line yet, and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", help="which; by default all")
    known = {row["id"] for row in read_results(RESULTS)}
    for id in parser.parse_args().ids or [id for id in rlfl_envs.list_ids() if id.startswith("rlfl/")]:
        if id in known:
            continue
        try:
            row = measure(id)
        except MissingDependencyError as error:
            print(f"{id}: {error}")
            continue
        append_result(RESULTS, {"python": platform.python_version(), "machine": platform.machine(), **row})
        print(f"{id:26} V {row['V']:5} P {row['P']:5} C {row['C']:4}  {row['draw_ms']:.2f} + {row['judge_ms']:.2f} ms")


if __name__ == "__main__":
    main()
