"""Proof: which steps hold, what they earn, what is drawn and proved, and which problems count as the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlfl_envs import ConfigError, Prompt, PromptError, ViableTask, baselines, check_task, load_task
from rlfl_envs.masks import make_mask
from rlfl_envs.tasks.proof.formulas import LETTERS, is_axiom, is_formula, sides
from rlfl_envs.tasks.proof.prover import find_proof
from tests.settings import PROOF

TASK = load_task(PROOF)
PROMPT = TASK.parse_prompt("p,Cpq,Cqr|-Csr:")  # known: q, r, CrCsr, Csr

ALL_TRUE = 2**2 ** len(LETTERS) - 1
COLUMNS = {
    letter: sum(1 << row for row in range(2 ** len(LETTERS)) if row >> place & 1)
    for place, letter in enumerate(LETTERS)
}

FORMULAS = st.recursive(
    st.sampled_from("pqrstu"),
    lambda inner: st.one_of(inner.map("N{}".format), st.tuples(inner, inner).map(lambda pair: "C" + "".join(pair))),
    max_leaves=6,
)


def truth(formula: str) -> int:
    """The truth table: a bit for each of the 64 assignments to LETTERS."""
    values: list[int] = []
    for character in reversed(formula):
        if character == "N":
            values.append(ALL_TRUE ^ values.pop())
        elif character == "C":
            values.append((ALL_TRUE ^ values.pop()) | values.pop())
        else:
            values.append(COLUMNS[character])
    return values[0]


@pytest.mark.parametrize(
    ("completion", "progress", "steps", "status"),
    [
        ("q,r,CrCsr,Csr", 1, 4, "ok"),
        ("CrCsr,q,r,Csr", 1, 4, "ok"),  # in another order
        ("q,r,CpCqp,Cqp,CrCsr,Csr", 1, 6, "ok"),  # with steps that were not needed
        ("q,r,CrCsr", 0.75, 3, "incomplete"),
        ("q,r,CrCsr,Csr,CpCqp", 1, 5, "incomplete"),  # goes on after the goal
        ("q", 0.25, 1, "incomplete"),
        ("CrCsr", 0.25, 1, "incomplete"),
        ("CpCqp,CpCpp,CqCqq", 0, 3, "incomplete"),  # axioms that nothing needs
        ("CCpCqrCCpqCpr", 0, 1, "incomplete"),  # S
        ("CCNpNqCqp", 0, 1, "incomplete"),  # N
        ("Csr", 0, 0, "false"),  # the goal alone
        ("CrCsr,Csr", 0.25, 1, "false"),
        ("q,r,Csr", 0.5, 2, "false"),
        ("r", 0, 0, "false"),
        ("q,s", 0.25, 1, "false"),
        ("Cpr", 0, 0, "false"),  # true, but neither axiom nor modus ponens
        ("CpCqq", 0, 0, "false"),  # nearly K
        ("CCpCqrCCpqCqr", 0, 0, "false"),  # nearly S
        ("CCpCqrCCqpCpr", 0, 0, "false"),
        ("CCNpNqCpq", 0, 0, "false"),  # nearly N
        ("CCpqCNqNp", 0, 0, "false"),
        ("p", 0, 0, "repeated"),  # a premise
        ("q,q,r,CrCsr,Csr", 0.25, 1, "repeated"),
        ("q,r,CrCsr,Csr,Csr", 1, 4, "repeated"),
        ("", 0, 0, "malformed"),
        ("q,", 0.25, 1, "malformed"),
        (",q", 0, 0, "malformed"),
        ("q,,r", 0.25, 1, "malformed"),
        ("q, r", 0.25, 1, "malformed"),
        ("q,Cr", 0.25, 1, "malformed"),
        ("q,Crss", 0.25, 1, "malformed"),
        ("qr", 0, 0, "malformed"),
        ("q\n", 0, 0, "malformed"),
        ("x", 0, 0, "malformed"),
        ("N" * 100_000 + "p", 0, 0, "malformed"),
        ("q," * 100_000 + "r", 0, 0, "malformed"),
        (PROMPT.text, 0, 0, "repeated"),
        ("p,Cpq,Cqr,Csr", 0, 0, "repeated"),
    ],
)
def test_rewards(completion: str, progress: float, steps: int, status: str) -> None:
    """Proofs, parts of one, steps that only look right, and what is no step."""
    (outcome,) = TASK.evaluate([PROMPT], [completion])
    assert (outcome.status, outcome.is_success) == (status, status == "ok")
    assert outcome.reward == (1 if status == "ok" else progress / 2)
    assert outcome.parts == {"progress": progress, "steps": steps, "well_formed": float(status != "malformed")}
    (strict,) = load_task(PROOF, reward="strict").evaluate([PROMPT], [completion])
    assert strict.reward == float(status == "ok")


def test_another_proof_earns_all() -> None:
    """The known proof is not the only one, and a step that makes others needless counts for them as well."""
    prompt = TASK.parse_prompt("p,Cpq,Cqr,CpCpr|-r:")
    (known,) = [TASK.reference_completion(prompt, np.random.default_rng(0))]
    assert known == "q,r"
    assert TASK.evaluate([prompt], ["Cpr,r"])[0].is_success
    long = TASK.parse_prompt("p,Cpq,Cqr,Crs,CpCps|-Nu:")
    assert TASK.reference_completion(long, np.random.default_rng(0)) is None
    assert TASK.evaluate([long], ["q,r"])[0].reward == 0  # nothing is known of the way


@given(FORMULAS, FORMULAS, FORMULAS)
def test_axioms(a: str, b: str, c: str) -> None:
    """Instances are recognised, always true, and not allowed where the axiom is left out."""
    instances = {"K": f"C{a}C{b}{a}", "S": f"CC{a}C{b}{c}CC{a}{b}C{a}{c}", "N": f"CCN{a}N{b}C{b}{a}"}
    for name, instance in instances.items():
        assert is_formula(instance)
        assert truth(instance) == ALL_TRUE
        assert is_axiom(instance, name)
        others = "KSN".replace(name, "")
        is_other = any(is_axiom(instance, other) for other in others)  # K: CNaC(NaNb)..., for some a and b
        assert is_axiom(instance, others) == is_other


@given(st.text("CNpq", max_size=12))
def test_formulas(text: str) -> None:
    """A text is a formula exactly where it can be taken apart to its variables."""

    def apart(formula: str) -> str | None:
        """What is left after one formula; None where there is none."""
        if formula[:1] in ("p", "q"):
            return formula[1:]
        if formula[:1] == "N":
            return apart(formula[1:])
        first = apart(formula[1:]) if formula[:1] == "C" else None
        return None if first is None else apart(first)

    assert is_formula(text) == (apart(text) == "")
    if is_formula(text) and (split := sides(text)):
        assert f"C{split[0]}{split[1]}" == text
        assert is_formula(split[0])
        assert is_formula(split[1])


@given(st.data())
@settings(max_examples=150)
def test_what_holds_is_true(data: st.DataObject) -> None:
    """Whatever steps are accepted follow from the premises: by truth tables, which the checker does not know of."""
    premises = data.draw(st.lists(FORMULAS, min_size=1, max_size=5, unique=True))
    goal = data.draw(FORMULAS.filter(lambda formula: formula not in premises))
    prompt = Prompt("", TASK.parse_prompt("p|-q:").data._replace(premises=tuple(premises), goal=goal, proof=None))
    together = ALL_TRUE
    for premise in premises:
        together &= truth(premise)
    pool = [*(split[1] for split in map(sides, premises) if split), *premises, goal]
    steps = data.draw(st.lists(st.one_of(FORMULAS, st.sampled_from(pool)), min_size=1, max_size=6))
    (outcome,) = TASK.evaluate([prompt], [",".join(steps)])
    for step in steps[: int(outcome.parts["steps"])]:
        assert together & ~truth(step) == 0
    assert outcome.is_success == (outcome.parts["steps"] == len(steps) and steps[-1] == goal)


@given(st.lists(FORMULAS, min_size=1, max_size=6, unique=True), FORMULAS, st.sampled_from(["KSN", "KN", ""]))
@settings(max_examples=150)
def test_what_is_found_is_a_proof(premises: list[str], goal: str, axioms: str) -> None:
    """Known proofs are proofs; all that modus ponens alone derives is found; the order of premises says nothing."""
    if goal in premises:
        return
    proof = find_proof(premises, goal, axioms)
    assert find_proof(premises[::-1], goal, axioms) == proof
    derived = {*premises}
    while True:
        more = {split[1] for split in map(sides, derived) if split and split[0] in derived} - derived
        if not more:
            break
        derived |= more
    if not axioms or goal in derived:
        assert (proof is not None) == (goal in derived)
    if proof is not None:
        task = load_task(PROOF, axioms=axioms)
        prompt = Prompt("", PROMPT.data._replace(premises=tuple(premises), goal=goal, proof=proof))
        (outcome,) = task.evaluate([prompt], [",".join(step.formula for step in proof)])
        assert outcome.is_success
        assert outcome.parts["progress"] == 1


@pytest.mark.parametrize("axioms", ["KSN", "S", ""])
@pytest.mark.parametrize("level", [0, 4])
def test_what_is_drawn(level: int, axioms: str) -> None:
    """At every level: known proofs of so many steps, premises that can be true together, a goal that is not free."""
    task, rng = load_task(PROOF, axioms=axioms).at_level(level), np.random.default_rng(0)
    prompts = task.sample_prompts(rng, 100)
    for prompt in prompts:
        premises, goal, proof = prompt.data
        assert proof is not None
        assert len(proof) == level + 2
        assert task.parse_prompt(prompt.text) == prompt
        assert task.unsplit.evaluate([prompt], [goal])[0].status == "false"
        together = ALL_TRUE
        for premise in premises:
            together &= truth(premise)
        assert together
        assert truth(goal) != ALL_TRUE
    references = [task.reference_completion(prompt, rng) or "" for prompt in prompts]
    assert all(outcome.is_success and outcome.reward == 1 for outcome in task.evaluate(prompts, references))
    has_axioms = [any(not step.reasons for step in prompt.data.proof) for prompt in prompts]
    assert any(has_axioms) == (axioms == "KSN" or (axioms == "S" and level > 0))


def renamed(prompt: Prompt, rng: np.random.Generator) -> Prompt:
    """The same problem with other names and another order of premises."""
    names = str.maketrans("pqrstu", "".join(rng.permutation([*"pqrstu"])))
    premises, goal, _ = prompt.data
    body = ",".join(premises[i] for i in rng.permutation(len(premises)))
    return TASK.parse_prompt(f"{body}|-{goal}:".translate(names))


def test_a_problem_by_other_names_is_the_same() -> None:
    """Names and order change nothing about where a problem belongs or how long its known proof is."""
    rng = np.random.default_rng(0)
    prompts = load_task(PROOF, split="all").sample_prompts(rng, 300)
    for prompt in prompts:
        other = renamed(prompt, rng)
        assert TASK.problem_key(other) == TASK.problem_key(prompt)
        assert len(other.data.proof) == len(prompt.data.proof)
    assert len({TASK.problem_key(prompt) for prompt in prompts}) > 270


SMALL = st.sampled_from(["p", "q", "Np", "Nr", "Cpq", "Cqp", "Cqr", "CpCqp", "CpNr", "CCpqr"])


@given(*[st.tuples(st.frozensets(SMALL, min_size=1, max_size=3), SMALL)] * 2)
@settings(max_examples=300)
def test_problems_have_the_same_key_if_names_alone_differ(
    first: tuple[frozenset[str], str], second: tuple[frozenset[str], str]
) -> None:
    """Two problems share a key exactly where some renaming makes one of the other."""

    def key(problem: tuple[frozenset[str], str]) -> str:
        return TASK.problem_key(Prompt("", PROMPT.data._replace(premises=tuple(problem[0]), goal=problem[1])))

    tables = [str.maketrans("pqr", "".join(each)) for each in permutations("pqr")]
    others = [(frozenset(each.translate(table) for each in first[0]), first[1].translate(table)) for table in tables]
    assert (key(first) == key(second)) == (second in others)
    assert {*map(key, others)} == {key(first)}


def test_splits_share_nothing() -> None:
    """One problem in ten is held out, and none is in both splits."""
    keys = {}
    for split in ("train", "test"):
        task = load_task(PROOF, split=split)
        keys[split] = {task.problem_key(prompt) for prompt in task.sample_prompts(np.random.default_rng(0), 500)}
    assert not keys["train"] & keys["test"]
    whole = load_task(PROOF, split="all").sample_prompts(np.random.default_rng(0), 2000)
    assert 0.06 < 1 - TASK.in_split(whole).mean() < 0.14


@pytest.mark.parametrize(
    "arguments",
    [
        {"mask": "syntax", "max_steps": 8},
        {"axioms": "", "mask": "syntax", "max_steps": 3},
        {"axioms": "N", "reward": "strict", "min_steps": 4, "max_steps": 4},
    ],
    ids=str,
)
def test_the_contract(arguments: dict[str, Any]) -> None:
    """With other sizes and axioms, too, references are legal and succeed."""
    check_task(load_task(PROOF, **arguments), num_prompts=32)


def test_the_mask_allows_formulas_alone() -> None:
    """Under "syntax" exactly the lists of formulas of up to five characters can be written in five tokens."""
    task = load_task(PROOF, mask="syntax", max_completion_tokens=5)
    mask, tokenizer = make_mask(task), task.tokenizer
    waiting: list[tuple[int, str]] = [(mask.start(PROMPT), "")]
    found = set()
    while waiting:
        state, text = waiting.pop()
        for token in np.flatnonzero(mask.row(state)).tolist():
            if token in tokenizer.eos_ids:
                found.add(text)
            elif len(text) == 4:
                found.add(text + tokenizer.token_texts[token])
            else:
                waiting.append((mask.next_state(state, token), text + tokenizer.token_texts[token]))
    lists = ("".join(each) for n in range(1, 6) for each in product("CNpq,", repeat=n))
    due = {text for text in lists if all(map(is_formula, text.split(",")))}
    assert {text for text in found if not {*text} & {*"rstu"}} == due


def proofs(premises: frozenset[str], goal: str, room: int) -> Iterator[str]:
    """Every proof by modus ponens of at most so many characters, found by trying."""
    for rule in premises:
        first, second = sides(rule) or ("", "")
        if first in premises and second not in premises and len(second) <= room:
            if second == goal:
                yield goal
            else:
                rest = proofs(premises | {second}, goal, room - len(second) - 1)
                yield from (f"{second},{each}" for each in rest)


@given(st.integers(0, 2**31), st.integers(3, 20))
@settings(max_examples=40)
def test_right_tokens_are_those_that_a_proof_goes_on_with(seed: int, budget: int) -> None:
    """On drawn prompts the prefixes of successes are exactly those of all proofs that fit, EOS included."""
    task = load_task(PROOF, axioms="", max_steps=4, max_completion_tokens=budget)
    assert isinstance(task, ViableTask)
    (prompt,) = task.sample_prompts(np.random.default_rng(seed), 1)
    machine = task.successes
    written: set[str] = set()
    waiting = [("", machine.start(prompt))]
    while waiting:
        text, state = waiting.pop()
        if machine.is_final(state):
            written.add(text)
        for character in machine.alphabet:
            following = machine.advance(state, character)
            if following is not None and len(text) + 1 + machine.characters_left(following) <= budget:
                waiting.append((text + character, following))
    assert written == {*proofs(frozenset(prompt.data.premises), prompt.data.goal, budget)}


def test_what_cannot_be_proved_has_no_right_token() -> None:
    """Other code may bring such a prompt; nothing is viable from the start."""
    task = load_task(PROOF, axioms="")
    assert isinstance(task, ViableTask)
    machine = task.successes
    start = machine.start(task.parse_prompt("p,Cpq|-r:"))
    assert all(machine.advance(start, character) is None for character in machine.alphabet)


@pytest.mark.parametrize(
    "text",
    ["", "p|-q", "|-:", "p,p|-q:", "p|-p:", "p,Cp|-q:", "pq|-r:", "x|-p:", "p,|-q:", "p |-q:", "p" + ",p" * 40_000],
    ids=range(11),
)
def test_wrong_prompts(text: str) -> None:
    """Other forms, formulas twice, a goal that is given: the message says what is allowed."""
    with pytest.raises(PromptError, match="at most 60 characters, different formulas and a goal that is none of them"):
        TASK.parse_prompt(text)


def test_a_prompt_without_premises() -> None:
    """Other code may ask for what is always true."""
    prompt = TASK.parse_prompt("|-CCNpNqCqp:")
    assert TASK.evaluate([prompt], ["CCNpNqCqp"])[0].is_success
    classic = TASK.parse_prompt("|-Cpp:")
    assert TASK.evaluate([classic], ["CpCCppp,CCpCCpppCCpCppCpp,CCpCppCpp,CpCpp,Cpp"])[0].is_success


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_steps": 1}, "min_steps=1 is not allowed; allowed: 2..8."),
        ({"max_steps": 9}, "max_steps=9 is not allowed; allowed: 2..8, from min_steps on."),
        ({"axioms": "KX"}, "axioms='KX' is not allowed; allowed: some of the letters of 'KSN', each once, or ''."),
        ({"axioms": "KK"}, "axioms='KK' is not allowed; allowed: some of the letters of 'KSN', each once, or ''."),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """The message names the argument, its value and what is allowed."""
    with pytest.raises(ConfigError) as error:
        load_task(PROOF, **arguments)
    assert str(error.value) == message


def test_nothing_cheap_succeeds() -> None:
    """Neither constants nor random legal tokens earn anything to speak of; references earn all."""
    found = {baseline.name: baseline for baseline in baselines(load_task(PROOF, mask="syntax"), num_prompts=1000)}
    for name in ("random legal tokens", "best constant answer"):
        assert found[name].success < 0.02
        assert found[name].reward < 0.05
    assert found["reference"].success == found["reference"].reward == 1


@pytest.mark.timing
def test_long_texts_take_no_time() -> None:
    """A thousand of the longest and deepest texts that are looked at are judged within seconds."""
    hostile = ["C" * 1023 + "p" * 1024, "N" * 2047 + "p", ",".join(["CpCqp"] * 341), "CpCqp," + "C" * 900 + "p" * 901]
    begun = time.perf_counter()
    TASK.evaluate([PROMPT] * 1000, hostile * 250)
    assert time.perf_counter() - begun < 5
