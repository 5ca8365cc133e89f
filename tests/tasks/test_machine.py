"""Machine: what programs earn, that references are right and fast, and that nothing hostile gets anywhere."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfl_envs import ConfigError, Prompt, PromptError, Task, load_task
from tests.settings import MACHINE, masked_play

pytest.importorskip("wasmtime", reason="needs the extra machine")

import wasmtime

from rlfl_envs.tasks.machine.execution import _MOST_KEPT, FUEL, Run, _kept, run, run_all
from rlfl_envs.tasks.machine.functions import FAMILIES
from rlfl_envs.tasks.machine.problems import header
from rlfl_envs.tasks.machine.syntax import LINES, MachineAutomaton, read

pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, where another test has imported it
HEADER = "(func $f (param $x i64) (result i64) (local $a i64) (local $b i64)\n"
PROMPT = "f(2) = 10\nf(1) = -5\nf(-4) = 250\nf(-2) = 10\n" + HEADER  # x ** 4 - 6


@pytest.fixture(scope="module")
def task() -> Task:
    """Functions of all families."""
    return load_task(MACHINE, split="all")


def drawn(task: Task, count: int, seed: int = 0) -> list[Prompt]:
    """Some prompts."""
    return task.sample_prompts(np.random.default_rng(seed), count)


def written(*lines: str) -> str:
    """Instructions, where `x` reads it and numbers are constants."""
    short = {"x": "local.get $x", "a": "local.get $a"}
    return "".join(
        f"{short.get(line, f'i64.const {line}' if line.lstrip('-').isdigit() else line)}\n" for line in lines
    )


SQUARED = ("x", "x", "i64.mul", "local.tee $a", "a", "i64.mul", "6", "i64.sub")


@pytest.mark.parametrize(
    ("completion", "reward", "status"),
    [
        (written(*SQUARED), 1, "ok"),
        (written(*SQUARED).replace("\n", "\n\n  "), 1, "ok"),  # blank lines and blanks
        (written(*SQUARED).removesuffix("\n"), 1, "ok"),
        (written(*SQUARED, "nop", "return"), 1, "ok"),  # which cost nothing
        (written("x", "x", "x", "x", "i64.mul", "i64.mul", "i64.mul", "6", "i64.sub"), 0.95, "ok"),  # 10 instead of 9
        (written(*SQUARED, "0", "i64.add"), 0.5 + 0.5 * 9 / 11, "ok"),
        (written("x"), 0, "ok"),
        (written("10"), 0, "ok"),
        (written(*SQUARED[:-2]), 0, "ok"),
        (written(*SQUARED, "x", "x", "3", "i64.ne", "select"), None, "ok"),  # wrong in a case
        (written("x", "0", "i64.div_s"), 0, "trap"),
        (written("loop $l", "1", "i64.eqz", "i32.eqz", "br_if $l", "end", *SQUARED), 0, "fuel"),
        (written("x", "x"), 0, "invalid"),  # one too many
        (written("i64.add"), 0, "invalid"),
        (written("x", "i64.eqz"), 0, "invalid"),  # an i32
        (written("local.get $y"), 0, "invalid"),  # there is none
        (written("x", "end"), 0, "malformed"),
        (written("x", "call $f"), 0, "malformed"),
        (written("x", "i64.load"), 0, "malformed"),
        (written("12345"), 0, "malformed"),
        (written("x") + ")", 0, "malformed"),
        ("local.get $x local.get $x i64.add", 0, "malformed"),  # a line each
        ("", 0, "malformed"),
        ("\n", 0, "malformed"),
    ],
)
def test_outcomes(task: Task, completion: str, reward: float | None, status: str) -> None:
    """Right programs earn half and their speed's share of the other; what is wrong earns less than a half."""
    (outcome,) = task.evaluate([task.parse_prompt(PROMPT)], [completion])
    assert outcome.status == status
    assert outcome.is_success == (reward is not None and reward >= 0.5)
    if reward is None:
        assert 0 < outcome.reward < 0.5
    else:
        assert outcome.reward == pytest.approx(reward)
    assert (outcome.parts["speed"] > 0) == outcome.is_success


@pytest.mark.parametrize("family", FAMILIES)
def test_references_are_right(task: Task, family: str) -> None:
    """What is computed here is what the machine computes, and earns all; within the budgets; none is trivial."""
    level = load_task(MACHINE, family=family, split="all")
    prompts = drawn(level, 200)
    references = [prompt.data.reference for prompt in prompts]
    outcomes = level.evaluate(prompts, references)
    assert {(outcome.reward, outcome.is_success, outcome.status) for outcome in outcomes} == {(1.0, True, "ok")}
    assert max(outcome.parts["fuel"] for outcome in outcomes) < FUEL / 10
    assert max(len(task.tokenizer.encode(text)) for text in references) <= task.max_completion_tokens
    for prompt in prompts:
        cases = [*prompt.data.shown, *prompt.data.hidden]
        results = [result for _, result in cases]
        assert len({arguments for arguments, _ in cases}) == 10
        assert max(map(results.count, results)) <= 5
        assert task.parse_prompt(prompt.text) == prompt


def test_fuel_is_exact(task: Task) -> None:
    """One for the call and one for each instruction carried out; the same however often it is asked."""
    cases = ((0,), (3,), (10,))
    loop = read(written("loop $l", "x", "1", "i64.sub", "local.tee $x", "i32.wrap_i64", "br_if $l", "end", "x"))
    assert loop is not None
    found = []
    for _ in range(3):
        _kept.clear()
        found.append(run(loop, cases[1:]))
    assert found[0] == found[1] == found[2]
    assert found[0].fuel == (1 + 3 * 6 + 1, 1 + 10 * 6 + 1)
    assert found[0].values == (0, 0)


SUM_BY_LOOP = ("loop $l", "a", "x", "i64.add", "local.set $a", "x", "1", "i64.sub", "local.tee $x", "i32.wrap_i64")


def test_thinking_saves_time() -> None:
    """A sum by its formula earns all, by a loop a good deal less, but more than any wrong program."""
    task = load_task(MACHINE, split="all", family="sums")
    triangular = ["local.get $x\nlocal.get $x\ni64.const 1\ni64.add\ni64.mul\ni64.const 2\ni64.div_s\n"]
    (prompt,) = [p for p in drawn(task, 2000) if p.data.reference in triangular][:1]
    formula, loop = task.evaluate([prompt] * 2, [prompt.data.reference, written(*SUM_BY_LOOP, "br_if $l", "end", "a")])
    assert formula.reward == 1
    assert 0.5 < loop.reward < 0.7
    assert loop.is_success


def test_reading_prompts(task: Task) -> None:
    """What was not drawn is refused: another result, another number of cases, arguments of no family."""
    other = [
        PROMPT.replace("250", "251"),
        PROMPT[10:],
        PROMPT + " ",
        PROMPT.replace("$x", "$y"),
        "",
        "x",
        "(" * 100_000,
    ]
    for text in [*other, PROMPT.replace("f(2)", "f(2, 3)"), PROMPT.replace("f(-2) = 10", "f(2) = 10")]:
        with pytest.raises(PromptError, match="allowed: what is drawn with shown=4"):
            task.parse_prompt(text)


def test_splits_go_by_what_functions_do() -> None:
    """Functions that do the same are in the same split, however they are written."""
    train, test = (load_task(MACHINE, split=split, family="one_step") for split in ("train", "test"))
    keys = [{prompt.data.behaviour for prompt in drawn(part, 300)} for part in (train, test)]
    assert not keys[0] & keys[1]


def table(prompt: Prompt) -> str:
    """The shown cases as a table, and the commonest result for all others."""
    results = [result for _, result in prompt.data.shown]
    lines = written(str(max(results, key=results.count)))
    for arguments, result in prompt.data.shown:
        named = zip(prompt.data.names, arguments, strict=True)
        asked = "".join(f"local.get ${name}\ni64.const {value}\ni64.eq\n" for name, value in named)
        lines = f"{written(str(result))}{lines}{asked}{'i32.and' if len(arguments) == 2 else 'nop'}\nselect\n"
    return lines


@pytest.mark.parametrize(
    "trick",
    [table, lambda prompt: written("x"), lambda prompt: written(str(prompt.data.shown[0][1]))],
    ids=["a table", "a parameter", "a shown result"],
)
def test_tricks(trick: Callable[[Prompt], str]) -> None:
    """Cases that were copied earn nothing, nor does a parameter or a constant."""
    for family in ("one_step", "conditions", "loops"):
        task = load_task(MACHINE, split="all", family=family)
        prompts = drawn(task, 200)
        outcomes = task.evaluate(prompts, [trick(prompt) for prompt in prompts])
        assert max(outcome.reward for outcome in outcomes) == 0
        if trick is table:
            assert np.mean([outcome.parts["shown"] for outcome in outcomes]) > 0.95


ENDLESS = ("loop $l", "1", "i32.wrap_i64", "br_if $l", "end", "x")
HOSTILE = {
    "endless": (written(*ENDLESS), "fuel"),
    "endless, without a condition": (written("loop $l", "br $l", "end", "x"), "fuel"),
    "a loop in a loop": (
        written("loop $l", "loop $m", "br $m", "end", "br $l", "end", "x"),
        "fuel",
    ),
    "a billion rounds": (
        written("9999", "9999", "i64.mul", "local.set $a", "loop $l", "a", "1", "i64.sub", "local.tee $a")
        + written("i32.wrap_i64", "br_if $l", "end", "x"),
        "fuel",
    ),
    "a division by zero": (written("x", "0", "i64.rem_s"), "trap"),
    "the least by -1": (written("1", "63", "i64.shl", "-1", "i64.div_s"), "trap"),
    "unreachable": (written("unreachable"), "malformed"),
    "calls itself": (written("x", "call $f"), "malformed"),
    "calls by number": (written("x", "call 0"), "malformed"),
    "an indirect call": (written("call_indirect (type 0)"), "malformed"),
    "grows memory": (written("65535", "memory.grow"), "malformed"),
    "the memory's size": (written("memory.size"), "malformed"),
    "fills memory": (written("memory.fill"), "malformed"),
    "reads memory": (written("x", "i64.load"), "malformed"),
    "writes memory": (written("x", "x", "i64.store"), "malformed"),
    "grows a table": (written("table.grow 0"), "malformed"),
    "another function": (f"{written('x')})\n(func $g", "malformed"),
    "a memory of its own": (f"{written('x')})\n(memory 65535)\n(func $g (result i64)\n{written('x')}", "malformed"),
    "an import": (f'{written("x")})\n(import "wasi" "proc_exit" (func $e))', "malformed"),
    "an export": (f'{written("x")})\n(export "g" (func $f))\n(func $h', "malformed"),
    "a start function": (f"{written('x')})\n(start $f)", "malformed"),
    "a comment that hides the end": (written("x", ";; )"), "malformed"),
    "a block comment": (written("x", "(; "), "malformed"),
    "data": (f'{written("x")})\n(data "x")', "malformed"),
    "a long text": (written("x", *["1", "i64.add"] * 3000), "malformed"),
    "a long program": (written("x", *["i64.eqz", "i64.extend_i32_u"] * 130), "ok"),
    "a high stack": (written(*["x"] * 150, *["i64.add"] * 149), "ok"),
    "a high stack that stays": (written(*["x"] * 300), "invalid"),
    "deep blocks": (written(*["block $l"] * 100, *["end"] * 100, "x"), "malformed"),
    "blocks that are not closed": (written("loop $l", "x"), "invalid"),
    "blocks that were not opened": (written("x", "end", "loop $l"), "malformed"),
    "many blocks": (written(*["block $l", "end"] * 150, "x"), "ok"),
    "no label": (written("br $l"), "invalid"),
    "a huge number": (f"i64.const {'9' * 4000}", "malformed"),
    "hexadecimal": (written("i64.const 0xffff"), "malformed"),
    "a float": (written("f64.const 1"), "malformed"),
    "vectors": (written("v128.const i64x2 1 1"), "malformed"),
    "threads": (written("memory.atomic.wait32"), "malformed"),
    "exceptions": (written("throw 0"), "malformed"),
    "strange line ends": ("local.get $x\u2028", "malformed"),
    "a null": ("local.get $x\x00", "malformed"),
    "a surrogate": ("local.get $x\ud800", "malformed"),
    "other digits": ("i64.const ٣", "malformed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs(task: Task, name: str) -> None:
    """Each gets the status that it should, earns nothing, and the next one is judged right."""
    prompt = task.parse_prompt(PROMPT)
    completion, status = HOSTILE[name]
    hostile, fine = task.evaluate([prompt] * 2, [completion, prompt.data.reference])
    assert (hostile.reward, hostile.is_success, hostile.status) == (0, False, status)
    assert fine.reward == 1


def mutant(text: str, dice: random.Random) -> str:
    """A program with lines left out, doubled or exchanged for others, and now and then a character changed."""
    lines = text.splitlines(keepends=True)
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(len(lines) + 1)
        new = [f"{dice.choice(LINES)}\n"] * dice.randint(0, 2)
        lines[place : place + dice.randint(0, 1)] = new
    text = "".join(lines)
    return text.replace(dice.choice("xa1$."), dice.choice("xya0$"), 1) if dice.random() < 0.2 else text


@pytest.mark.timing
def test_bounded_time(task: Task) -> None:
    """10,000 mutated references, and each hostile program: by processor time below 0.2 s, in the median below 5 ms."""
    prompts, dice = drawn(task, 500), random.Random(0)
    seconds = []
    for number in range(10_000):
        prompt = prompts[number % len(prompts)]
        begun = time.process_time()
        task.evaluate([prompt], [mutant(prompt.data.reference, dice)])
        seconds.append(time.process_time() - begun)
    assert statistics.median(seconds) < 0.005
    for completion, _ in HOSTILE.values():
        begun = time.process_time()
        task.evaluate(prompts[:1], [completion])
        seconds.append(time.process_time() - begun)
    assert max(seconds) < 0.2


@pytest.mark.parametrize("vocabulary", ["instruction", "characters"])
@pytest.mark.parametrize("budget", [12, 36, 120])
def test_masked_random_play_compiles(vocabulary: str, budget: int) -> None:
    """Random legal tokens make a program that compiles, whatever the budget."""
    task = load_task(MACHINE, vocabulary=vocabulary, mask="syntax", max_completion_tokens=budget)
    prompts = drawn(task, 100)
    assert all(outcome.parts["compiles"] for outcome in task.evaluate(prompts, masked_play(task, prompts)))


@given(data=st.data())
def test_the_automaton_leads_to_an_end(data: st.DataObject) -> None:
    """From wherever random legal lines lead, as many characters as it says end the program, and it compiles."""
    automaton = MachineAutomaton(False)
    state = automaton.start(Prompt("", type("Names", (), {"names": "x"})))
    text = ""
    for line in data.draw(st.lists(st.sampled_from([*LINES, "i64.const 7"]), max_size=20)):
        following = state
        for character in f"{line}\n":
            following = None if following is None else automaton.advance(following, character)
        if following is not None:
            state, text = following, f"{text}{line}\n"
    left = automaton.characters_left(state)
    while not automaton.is_final(state):
        options = [(automaton.advance(state, character), character) for character in automaton.alphabet]
        state, character = min(
            ((after, character) for after, character in options if after is not None),
            key=lambda option: automaton.characters_left(option[0]),
        )
        assert automaton.characters_left(state) < left
        left, text = automaton.characters_left(state), text + character
    assert left == 0
    lines = read(text)
    assert lines is not None
    assert run(lines, ((3,),)).status in ("ok", "trap", "fuel")


def alone(lines: str, cases: Sequence[tuple[int, ...]]) -> Run:
    """What comes of a program in a machine of its own."""
    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    text = f'(module {header(len(cases[0]))}{lines}) (export "f" (func $f)))'
    try:
        function = wasmtime.Instance(store, wasmtime.Module(engine, text), []).exports(store)["f"]
    except wasmtime.WasmtimeError:
        return Run("invalid", (None,) * len(cases), ())
    assert isinstance(function, wasmtime.Func)
    statuses, values, fuel = [], list[int | None](), []
    for case in cases:
        store.set_fuel(FUEL)
        try:
            values.append(function(store, *case))
            statuses.append("ok")
        except wasmtime.Trap as trap:
            values.append(None)
            statuses.append("fuel" if trap.trap_code is wasmtime.TrapCode.OUT_OF_FUEL else "trap")
        fuel.append(FUEL - store.get_fuel())
    return Run(next((status for status in statuses if status != "ok"), "ok"), tuple(values), tuple(fuel))


def test_programs_that_are_compiled_together_run_as_if_alone(task: Task) -> None:
    """Values, fuel and statuses of 400 programs at once, good and spoilt, are those of each in its own machine."""
    dice, requests = random.Random(0), []
    spoilt = [*LINES, "i64.const 0", "i64.const -9", "i64.const 500"]
    for prompt in drawn(task, 400):
        lines = prompt.data.reference.splitlines()
        for _ in range(dice.randrange(3)):
            lines[dice.randrange(len(lines))] = dice.choice(spoilt)
        requests.append(("\n".join(lines), prompt.data.arguments))
    endless = "loop $l\ni64.const 1\ni32.wrap_i64\nbr_if $l\nend\ni64.const 1"
    requests += [(endless, ((1,), (2,))), ("local.get $x\nlocal.get $x\ni64.div_s", ((0,), (7,)))]
    found = run_all(requests)
    assert {each.status for each in found} == {"ok", "invalid", "trap", "fuel"}
    assert found == [alone(*request) for request in requests]
    assert run_all(requests[::-1]) == found[::-1]


def test_few_runs_are_kept() -> None:
    """However many programs are run, and in one batch, what is kept of them is bounded; all are answered."""
    programs = [f"local.get $x\ni64.const {number // 2}\ni64.add" for number in range(10_000)]
    values = [found.values for found in run_all((program, ((1,),)) for program in programs)]
    assert values == [(1 + number // 2,) for number in range(10_000)]
    assert len(_kept) <= _MOST_KEPT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_has_a_machine_of_its_own(task: Task) -> None:
    """Judging goes on in a forked process, such as those of AsyncVectorEnv."""
    prompt = task.parse_prompt(PROMPT)
    task.evaluate([prompt], [prompt.data.reference])
    child = os.fork()
    if child == 0:
        (outcome,) = task.evaluate([prompt], [written(*SQUARED, "0", "i64.add")])
        os._exit(0 if outcome.is_success else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_wrong_arguments() -> None:
    """The message names the argument, its value and what is allowed."""
    with pytest.raises(ConfigError, match=r"^shown=7 is not allowed; allowed: 1\.\.6\.$"):
        load_task(MACHINE, shown=7)
    with pytest.raises(ConfigError, match=r"^hidden=1 is not allowed; allowed: 2\.\.8\.$"):
        load_task(MACHINE, hidden=1)
    with pytest.raises(ConfigError, match=r"^hidden=17 is not allowed; allowed: 2\.\.16\.$"):
        load_task(MACHINE, hidden=17, family="one_step")


def test_powers_have_few_arguments() -> None:
    """More cases than there are arguments are refused, for the family and for a prompt that hashes to it."""
    with pytest.raises(ConfigError, match=r"^hidden=9 is not allowed; allowed: 2\.\.8\.$"):
        load_task(MACHINE, hidden=9)
    assert drawn(load_task(MACHINE, hidden=8, family="powers"), 3)
    task = load_task(MACHINE, hidden=9, family="sums")
    for prompt in drawn(load_task(MACHINE, family="powers"), 3):
        with pytest.raises(PromptError):
            task.parse_prompt(prompt.text)
