"""Program: what completions earn, what is drawn, and that neither tricks nor hostile programs pay."""

from __future__ import annotations

import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from rlfl_envs import ConfigError, Prompt, PromptError, Task, load_task
from tests.settings import PROGRAM, masked_play, missing

if missing(PROGRAM):
    pytest.skip(f"needs {', '.join(missing(PROGRAM))}", allow_module_level=True)

LINE = "f(7) == -1\nf(17) == -11\nf(-3) == 9\nf(10) == -4\ndef f(x: int) -> int:\n    return "  # 6 - x
HIDDEN = [19, 13, 2, 14, -8, 20]


@pytest.fixture(scope="module")
def task() -> Task:
    """Programs of all families."""
    return load_task(PROGRAM, split="all")


@pytest.fixture(scope="module")
def functions() -> Task:
    """The same as functions of several lines."""
    return load_task(PROGRAM, form="function", split="all")


def drawn(task: Task, count: int, seed: int = 0) -> list[Prompt]:
    """Some prompts."""
    return task.sample_prompts(np.random.default_rng(seed), count)


@pytest.mark.parametrize(
    ("completion", "solved", "status"),
    [
        ("6 - x", 6, "ok"),
        ("  6 - x  # right", 6, "ok"),
        ("-x + 6; print(3)", 6, "ok"),  # never reached
        ("(lambda y: 6 - y)(x)", 6, "ok"),  # any Python will do
        ("6 - x if x != 2 else 0", 5, "ok"),
        ("-13", 1, "ok"),
        ("x", 0, "ok"),
        ("6.0 - x", 0, "ok"),  # equal, but of another type
        ("[6 - x]", 0, "ok"),
        ("x == 3", 0, "ok"),
        ("float('nan')", 0, "ok"),
        ("6 - x if x < 15 else 1 // 0", 4, "error"),
        ("", 0, "no_parse"),
        ("6 -", 0, "no_parse"),
        ("6 - x)", 0, "no_parse"),
        ("6 - x\\", 0, "no_parse"),
        ("6 - x\n", 0, "no_parse"),  # one line
        ("0\ndef f(x):\n    return 6 - x", 0, "no_parse"),
        ("(yield x)", 0, "unsupported"),
        ("y", 0, "error"),
        ("f(x)", 0, "error"),
        ("lambda: x", 0, "type"),
        ("print(x) or 6 - x", 0, "output"),
        ("'a' * 10 ** 9", 0, "memory"),
        ("[6 - x][0 * sum(range(10 ** 9))]", 0, "timeout"),
        ("6 - x" + " " * 30_000, 0, "too_long"),
    ],
)
def test_outcomes(task: Task, completion: str, solved: int, status: str) -> None:
    """The reward is the share of hidden cases above the one that a constant solves."""
    prompt = task.parse_prompt(LINE)
    assert [arguments for arguments, _ in prompt.data.hidden] == [(x,) for x in HIDDEN]
    (outcome,) = task.evaluate([prompt], [completion])
    assert outcome.parts["hidden"] == solved / 6
    assert outcome.reward == pytest.approx(max(0, (solved - 1) / 5))
    assert outcome.status == status
    assert outcome.is_success == (solved == 6)
    assert outcome.parts["length"] == len(completion)
    assert outcome.parts["gap"] == outcome.parts["shown"] - outcome.parts["hidden"]


def test_reading_prompts(task: Task) -> None:
    """What was not drawn is refused: another result, another number of cases, another signature."""
    assert task.parse_prompt(LINE).data.reference == "6 - x"
    other_lines = ["", "x", LINE[11:], LINE.replace("== 9", "== 8"), LINE.replace("f(7)", "f(8)"), LINE + " "]
    for text in [*other_lines, LINE.replace("int", "str"), LINE.replace("\n", "\r\n"), "(" * 100_000]:
        with pytest.raises(PromptError, match="allowed: what is drawn"):
            task.parse_prompt(text)


def test_families_belong_to_forms() -> None:
    """Loops are not written in one expression."""
    with pytest.raises(ConfigError, match="family='loops'"):
        load_task(PROGRAM, family="loops")
    assert len(load_task(PROGRAM, form="function").levels) == 9


@pytest.mark.parametrize("level", range(9))
def test_problems(functions: Task, level: int) -> None:
    """No problem is trivial: hidden cases are new, results differ, and no parameter is right in most cases."""
    for prompt in drawn(functions.at_level(level), 20):
        problem = prompt.data
        cases = [*problem.shown, *problem.hidden]
        assert len({repr(arguments) for arguments, _ in cases}) == 10
        results = [repr(result) for _, result in cases]
        assert max(map(results.count, results)) <= 5
        for place in range(len(problem.signature.parameters)):
            assert sum(arguments[place] == result for arguments, result in cases) <= 5
        assert problem.given <= 3
        assert functions.parse_prompt(prompt.text) == prompt


@pytest.mark.parametrize("family", ["texts_and_lists", "comprehensions"])
def test_nothing_is_drawn_in_disguise(family: str) -> None:
    """Nothing copies a sequence to do what could be done with itself, so that no answer fits many prompts."""
    references = [prompt.data.reference for prompt in drawn(load_task(PROGRAM, family=family, split="all"), 300)]
    copies = [text for text in references if re.search(r"\[(\w) for \1 in \w+\]", text)]
    lengths = [text for text in references if re.search(r"len\((list|sorted)\(\w+\)\)", text)]
    assert not copies
    assert not lengths
    assert max(map(references.count, references)) < 0.1 * len(references)


def test_references_succeed_in_the_sandbox(task: Task, functions: Task) -> None:
    """What our closures compute is what Python does, in 300 programs of each form."""
    for each in (task, functions):
        prompts = drawn(each, 300)
        outcomes = each.evaluate(prompts, [prompt.data.reference for prompt in prompts])
        assert all(outcome.is_success and outcome.reward == 1.0 for outcome in outcomes)


def test_splits_go_by_what_programs_do(task: Task) -> None:
    """Programs that do the same are in the same split, however they are written and whatever is shown."""
    train, test = (load_task(PROGRAM, split=split, family="arithmetic") for split in ("train", "test"))
    keys = [{prompt.data.behaviour for prompt in drawn(part, 100)} for part in (train, test)]
    assert not keys[0] & keys[1]
    by_key: dict[str, set[str]] = {}
    for prompt in drawn(task.at_level(1), 500):
        by_key.setdefault(prompt.data.behaviour, set()).add(prompt.data.reference)
    assert any(len(references) > 1 for references in by_key.values())


def table(prompt: Prompt) -> str:
    """The shown cases as a table, and the commonest result for all others."""
    names = ", ".join(prompt.data.signature.scope)
    known = {str([*arguments]): result for arguments, result in prompt.data.shown}
    results = [repr(result) for result in known.values()]
    return f"{known!r}.get(str([{names}]), {max(results, key=results.count)})"


@pytest.mark.parametrize(
    "trick",
    [table, lambda prompt: next(iter(prompt.data.signature.scope)), lambda prompt: repr(prompt.data.shown[0][1])],
    ids=["a table", "a parameter", "a shown result"],
)
def test_tricks(task: Task, trick: Callable[[Prompt], str]) -> None:
    """Cases that were copied earn nothing, nor does a parameter or a constant; copying shows as a gap."""
    prompts = drawn(task, 200)
    outcomes = task.evaluate(prompts, [trick(prompt) for prompt in prompts])
    assert max(outcome.reward for outcome in outcomes) == 0
    if trick is table:
        assert min(outcome.parts["shown"] for outcome in outcomes) == 1
        assert min(outcome.parts["gap"] for outcome in outcomes) >= 0.5


@pytest.mark.parametrize(
    "completion",
    [
        "return 0\nf = lambda x: 6 - x",  # after the function
        "return 0\ndef f(x):\n    return 6 - x",
        "global seen\n    seen = 6 - x\n    return seen - 1",
        "class Any:\n        def __eq__(self, other):\n            return True\n    return Any()",
        "for i in range(10 ** 9):\n        i += 1\n    return 6 - x",
        "while True:\n        pass",
        "import os\n    return os.getpid()",
        "return open('/etc/passwd').read()",
        "return _rlfl_arguments",
        "x = 'a'\n    while True:\n        x += x",
    ],
)
def test_hostile_functions(completion: str) -> None:
    """None earns anything, and the next is judged right."""
    functions = load_task(PROGRAM, form="function", split="all", family="one_step")
    (prompt,) = drawn(functions, 1)
    hostile, fine = functions.evaluate([prompt] * 2, [completion, prompt.data.reference])
    assert (hostile.reward, hostile.is_success) == (0.0, False)
    assert (fine.reward, fine.is_success) == (1.0, True)


@pytest.mark.parametrize("form", ["expression", "function"])
@pytest.mark.parametrize("budget", [10, 40, 100])
def test_masked_random_play_parses(form: str, budget: int) -> None:
    """Random legal tokens make a program that parses, whatever the budget; indentation is kept."""
    task = load_task(PROGRAM, form=form, family="one_step", mask="syntax", max_completion_tokens=budget)
    prompts = task.sample_prompts(np.random.default_rng(0), 100)
    outcomes = task.evaluate(prompts, masked_play(task, prompts))
    assert np.mean([outcome.parts["parses"] for outcome in outcomes]) >= 0.95


def mutant(text: str, dice: random.Random) -> str:
    """A program with a few characters changed, inserted or left out."""
    characters = [*text]
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(len(characters) + 1)
        characters[place : place + dice.randint(0, 2)] = dice.choice(
            [*"0123456789()[]{}+-*/%<>=:,. '\"\\abcsvx", "**9", "f("]
        )
    return "".join(characters)


def test_mutants(task: Task) -> None:
    """A thousand references with a few characters changed are judged; some still parse, few still succeed."""
    prompts, dice = drawn(task, 1000), random.Random(0)
    outcomes = task.evaluate(prompts, [mutant(prompt.data.reference, dice) for prompt in prompts])
    assert {"ok", "no_parse", "error"} <= {outcome.status for outcome in outcomes}
    assert np.mean([outcome.is_success for outcome in outcomes]) < 0.2


@pytest.mark.timing
def test_drawing_is_quick(task: Task) -> None:
    """At the easy levels 500 prompts take less than a second of one core."""
    for level in range(3):
        easy = task.at_level(level)
        begun = time.process_time()
        drawn(easy, 500)
        assert time.process_time() - begun < 1


@pytest.mark.timing
def test_bounded_time(task: Task) -> None:
    """10,000 mutated references, one at a time: in the median below 5 ms, none 0.2 s above what a program may take.

    It is wall-clock time, for another process works; no worker may be replaced meanwhile, which would take seconds.
    """
    prompts, dice = drawn(task, 500), random.Random(0)
    task.evaluate(prompts[:1], ["0"])  # which starts the worker
    seconds = []
    for number in range(10_000):
        prompt = prompts[number % len(prompts)]
        begun = time.perf_counter()
        task.evaluate([prompt], [mutant(prompt.data.reference, dice)])
        seconds.append(time.perf_counter() - begun)
    assert statistics.median(seconds) < 0.005
    assert max(seconds) < 1.0 + 0.2


@pytest.mark.timing
def test_judging_is_quick() -> None:
    """A batch of 512 programs of ten tests takes less time than to start Python for a quarter of them."""
    task = load_task(PROGRAM, workers=2, split="all", family="arithmetic")
    prompts = drawn(task, 1024)
    task.evaluate(prompts[512:], ["0"] * 512)  # which starts the workers
    begun = time.perf_counter()
    task.evaluate(prompts[:512], [prompt.data.reference for prompt in prompts[:512]])
    batch = time.perf_counter() - begun
    begun = time.perf_counter()
    for _ in range(128):
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    assert batch < time.perf_counter() - begun
