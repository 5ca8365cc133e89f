"""Planning: what plans earn, that states and distances are right, and PDDL of others."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlfl_envs import ConfigError, MissingDependencyError, PromptError, Task, load_task
from rlfl_envs.tasks.planning import pddl
from rlfl_envs.tasks.planning.domains import DOMAINS
from rlfl_envs.tasks.planning.fingerprints import fingerprint
from rlfl_envs.tasks.planning.worlds import World
from tests.settings import masked_play

ID = "rlfl/Planning-v0"
HEAD = "(define (problem p) (:domain blocks)\n(:objects a b c)\n"
TABLE = "(:init (table a) (clear a) (table b) (clear b) (table c) (clear c) (empty))\n"
TOWER = f"{HEAD}{TABLE}(:goal (and (on a b) (on b c))))\n"


@pytest.fixture(scope="module")
def blocks() -> Task:
    """Blocks without the domain in the prompt."""
    return load_task(ID, domain_shown=False)


def earn(task: Task, text: str, completion: str) -> tuple[float, bool, str]:
    """Reward, success and status of a completion."""
    (outcome,) = task.evaluate([task.parse_prompt(text)], [completion])
    return round(outcome.reward, 4), outcome.is_success, outcome.status


# --- rewards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (" (pick-up b) (stack b c) (pick-up a) (stack a b)", (1.0, True, "ok")),
        ("(pick-up b)(stack b c)\n( PICK-UP  a )\n(stack a b)\n", (1.0, True, "ok")),  # spaces and case do not matter
        (" (pick-up a) (put-down a) (pick-up b) (stack b c) (pick-up a) (stack a b)", (1.0, True, "ok")),  # a detour
        (" (pick-up b) (stack b c)", (0.5, False, "incomplete")),
        (" (pick-up b) (stack b c) (unstack b c) (stack b c) (unstack b c) (stack b c)", (0.5, False, "incomplete")),
        (" (pick-up b) (stack b c) (unstack b c) (put-down b)", (0.0, False, "incomplete")),  # a cycle
        (" (pick-up a) (stack a b)", (0.0, False, "incomplete")),  # on a b holds, and is in the way
        (" (pick-up b) (stack b c) (stack a b)", (0.25, False, "inapplicable")),
        (" (pick-up b) (stack b c) and so on", (0.25, False, "inapplicable")),
        (" (pick-up b) (stack b c) (pick-up a) (stack a b) (pick-up a)", (0.5, False, "inapplicable")),
        (" (pick-up b) (stack b c) (pick-up a) (stack a b) (unstack a b)", (0.75, False, "incomplete")),
        (" (stack b c)", (0.0, False, "inapplicable")),
        (" (stack z z)", (0.0, False, "inapplicable")),
        ("", (0.0, False, "incomplete")),
        ("pick-up b", (0.0, False, "malformed")),
        (TOWER, (0.0, False, "malformed")),
        ("(" * 8000, (0.0, False, "malformed")),
        (" (pick-up b)" * 10_000, (0.0, False, "malformed")),
        ("\xa0(pick-up\xa0b) (stack b c) (pick-up a) (stack a b)", (0.0, False, "malformed")),  # blanks are ASCII
        (" (pick-up b) (stac\u212a b c) (pick-up a) (stack a b)", (0.125, False, "inapplicable")),  # no k
    ],
)
def test_rewards(blocks: Task, completion: str, expected: tuple[float, bool, str]) -> None:
    """Steps that are left count, not goals; half of it where an action fails; strict pays the goal alone."""
    status = "incomplete" if completion == "" else expected[2]
    assert earn(blocks, TOWER, completion) == (expected[0], expected[1], status)
    strict = load_task(ID, domain_shown=False, reward="strict")
    assert earn(strict, TOWER, completion)[:2] == (float(expected[1]), expected[1])


def test_goals_that_hold_at_the_start_earn_nothing(blocks: Task) -> None:
    """Three of four lamps are right already: doing nothing earns nothing, and the last one everything."""
    task = load_task(ID, domain="lights", domain_shown=False)
    text = (
        "(define (problem p) (:domain lights)\n(:objects a b c d)\n"
        "(:init (door a b) (door b a) (door b c) (door c b) (door c d) (door d c) "
        "(in a) (lit a) (lit b) (dark c) (dark d))\n"
        "(:goal (and (lit a) (lit b) (lit c) (dark d))))\n"
    )
    assert earn(task, text, "")[0] == 0.0
    assert earn(task, text, " (darken a b) (light a b)") == (0.0, False, "incomplete")
    assert earn(task, text, " (go a b) (light b c)") == (1.0, True, "ok")


def walk(world: World, state: int, steps: list[int]) -> tuple[int, list[str]]:
    """Does one of the possible actions a step; where that leads, and the actions."""
    actions = []
    for step in steps:
        can = np.flatnonzero(world.after[state] >= 0)
        action = int(can[step % len(can)])
        state = int(world.after[state, action])
        actions.append(world.texts[action])
    return state, actions


@given(steps=st.lists(st.integers(0, 10**6), max_size=12), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_what_pays_is_where_one_gets_to(blocks: Task, steps: list[int], seed: int) -> None:
    """However a state is reached, the reward is the same: no way of going round pays, by the task's own distances."""
    (prompt,) = blocks.sample_prompts(np.random.default_rng(seed), 1)
    world = blocks._worlds[prompt.data.world]
    state, actions = walk(world, prompt.data.start, steps)
    (outcome,) = blocks.evaluate([prompt], ["".join(f" {action}" for action in actions)])
    left = int(world.distances(*prompt.data.goal)[state])
    assert outcome.reward == max(0.0, (prompt.data.shortest - left) / prompt.data.shortest)
    assert outcome.is_success == (left == 0)
    assert outcome.parts["steps"] == len(steps)


# --- worlds --------------------------------------------------------------------------------------------------------


def test_block_worlds_have_as_many_states_as_are_known() -> None:
    """With an empty hand 13, 73 and 501 (Lah numbers); a held block besides n times those of the others."""
    task = load_task(ID)
    assert {name: len(world.states) for name, world in task._worlds.items()} == {
        "3": 13 + 3 * 3,
        "4": 73 + 4 * 13,
        "5": 501 + 5 * 73,
    }


@pytest.mark.parametrize("domain", sorted(DOMAINS))
def test_shortest_plans_are_shortest(domain: str) -> None:
    """References reach the goal in as many actions as a search of its own, over sets of facts, needs."""
    task = load_task(ID, domain=domain, domain_shown=False)
    rng = np.random.default_rng(1)
    parsed = pddl.read_domain(DOMAINS[domain].text)
    for prompt in task.sample_prompts(rng, 6):
        reference = task.reference_completion(prompt, rng)
        assert reference.count("(") == prompt.data.shortest == _search(parsed, pddl.read_problem(prompt.text))


def _search(domain: pddl.Domain, problem: pddl.Problem) -> int:
    """Breadth-first search by the book: facts in sets, actions put together in every state anew."""
    start, wanted = frozenset(problem.init), {atom for _, atom in problem.goal}
    waiting, seen = deque([(start, 0)]), {start}
    while waiting:
        facts, steps = waiting.popleft()
        if wanted <= facts:
            return steps
        for action in domain.actions:
            choices = [[n for n, k in problem.objects.items() if domain.is_a(k, kind)] for _, kind in action.parameters]
            for chosen in itertools.product(*choices):
                named = dict(zip([variable for variable, _ in action.parameters], chosen, strict=True))
                needs, makes = (
                    [(true, (atom[0], *[named.get(word, word) for word in atom[1:]])) for true, atom in literals]
                    for literals in (action.needs, action.makes)
                )
                if all((atom in facts) is true for true, atom in needs):
                    after = frozenset(facts - {a for t, a in makes if not t} | {a for t, a in makes if t})
                    if after not in seen:
                        seen.add(after)
                        waiting.append((after, steps + 1))
    raise AssertionError("no plan")


@pytest.mark.parametrize("domain", sorted(DOMAINS))
def test_drawn_problems_are_as_asked(domain: str) -> None:
    """Plans of the lengths asked for, goals that do not hold yet, worlds of the level's size."""
    task = load_task(ID, domain=domain, min_steps=3, max_steps=5)
    prompts = task.sample_prompts(np.random.default_rng(0), 200)
    assert {prompt.data.shortest for prompt in prompts} <= {3, 4, 5}
    for level in range(len(task.levels)):
        try:
            drawn = task.at_level(level).sample_prompts(np.random.default_rng(0), 20)
        except ConfigError:
            assert domain == "gripper"  # with one ball there are few problems, and none may be of the split
            continue
        assert {prompt.data.world for prompt in drawn} == {str(task.levels[level]["min_size"])}


@given(steps=st.lists(st.integers(0, 10**6), max_size=8), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_verdicts_know_the_shortest_text_to_the_goal(blocks: Task, steps: list[int], seed: int) -> None:
    """After any actions, detours among them: as many characters, and words, are missing as Dijkstra's search finds."""
    (prompt,) = blocks.sample_prompts(np.random.default_rng(seed), 1)
    world = blocks._worlds[prompt.data.world]
    state, actions = walk(world, prompt.data.start, steps)
    plan = "".join(f" {action.upper()}\n" for action in actions)
    for vocabulary, weights in (
        ("characters", [*map(len, world.texts)]),
        ("word", [2 + t.count(" ") + 1 for t in world.texts]),
    ):
        automaton = load_task(ID, domain_shown=False, vocabulary=vocabulary).successes
        place = automaton.start(prompt)
        for character in plan:
            place = automaton.advance(place, character)
        wanted = prompt.data.goal.wanted
        waiting, seen = [(0, state)], set[int]()
        while waiting:
            left, here = heapq.heappop(waiting)
            if world.states[here] & wanted == wanted:
                break
            if here not in seen:
                seen.add(here)
                row = world.after[here].tolist()
                for weight, after in zip(weights, row, strict=True):
                    if after >= 0:
                        heapq.heappush(waiting, (left + weight, after))
        assert automaton.characters_left(place) == left
        assert automaton.is_final(place) == (left == 0)


# --- prompts -------------------------------------------------------------------------------------------------------


def test_problems_that_differ_in_names_and_order_are_one(blocks: Task) -> None:
    """Renamed blocks and other orders have the same key; another tower has another one."""
    keys = [
        blocks.problem_key(blocks.parse_prompt(text))
        for text in (
            TOWER,
            f"{HEAD}{TABLE}(:goal (and (on c a) (on b c))))\n",
            f"{HEAD}(:init (empty) (clear c) (table c) (clear b) (table b) (clear a) (table a))\n"
            "(:goal (and (on b c) (on a b))))\n",
            f"{HEAD}{TABLE}(:goal (and (on a b))))\n",
        )
    ]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_a_fingerprint_is_the_same_everywhere() -> None:
    """Splits stand on it; if it changes, the id needs a new version."""
    groups = [("init", [("on", "a", "b"), ("clear", "a")]), ("goal", [("on", "b", "a")])]
    assert f"{fingerprint(groups, {'a': 'object', 'b': 'object'}):016x}" == "68c792c94040dda2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{HEAD}{TABLE}(:goal (and (on a a))))\n", "goal that can be met"),
        (f"{HEAD}{TABLE}(:goal (and (table a))))\n", "goal that can be met"),
        (f"{HEAD}(:init (table a))\n(:goal (and (on a b))))\n", "objects and states"),
        (f"{HEAD.replace('a b c', 'a b')}{TABLE}(:goal (and (on a b))))\n", "objects and states"),
        (f"{HEAD.replace('blocks', 'chess')}{TABLE}(:goal (and (on a b))))\n", "objects and states"),
        (f"{HEAD}{TABLE}(:goal (or (on a b))))\n", "'or' is not known here"),
        ("(" * 100, "deeper"),
        (")", "closed"),
        ("", "brackets"),
    ],
)
def test_prompts_that_are_none(blocks: Task, text: str, words: str) -> None:
    """What cannot be, is reached already, or is no PDDL, is refused with the reason."""
    with pytest.raises(PromptError, match=words):
        blocks.parse_prompt(text)


def test_masked_random_play_is_well_formed() -> None:
    """At random, masked: every plan can be read, in both vocabularies."""
    for vocabulary in ("word", "characters"):
        task = load_task(ID, mask="syntax", vocabulary=vocabulary, domain_shown=False, max_size=4)
        prompts = task.sample_prompts(np.random.default_rng(0), 64)
        outcomes = task.evaluate(prompts, masked_play(task, prompts))
        assert "malformed" not in {outcome.status for outcome in outcomes}


# --- PDDL of others ------------------------------------------------------------------------------------------------

SWITCH = """
; one lamp and who may touch it
(define (domain switch)
  (:requirements :strips :typing :negative-preconditions :equality)
  (:types person lamp - thing adult - person)
  (:constants boss - adult)
  (:predicates (on ?l - lamp) (tired ?p - person))
  (:action flip :parameters (?p - person ?q - adult ?l - lamp)
    :precondition (and (not (on ?l)) (not (tired ?p)) (not (= ?p ?q)))
    :effect (and (on ?l) (tired ?p)))
  (:action rest :parameters (?p - person) :precondition (tired ?p) :effect (not (tired ?p))))
"""
PROBLEM = """
(define (problem one) (:domain switch) (:objects kid - person x y - lamp)
  (:init) (:goal (and (on x) (on y) (not (tired kid)))))
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """A domain and a problem in files."""
    (tmp_path / "problems").mkdir()
    (tmp_path / "switch.pddl").write_text(SWITCH)
    (tmp_path / "problems" / "one.pddl").write_text(PROBLEM)
    return {"domain": str(tmp_path / "switch.pddl"), "problems": str(tmp_path / "problems"), "split": "all"}


def test_files(files: dict[str, Any]) -> None:
    """Types, constants, negative preconditions and goals, and equality: the plan that a person would find."""
    task = load_task(ID, **files)
    (world,) = task._worlds.values()
    assert "(flip kid boss x)" in world.texts
    assert "(flip boss boss x)" not in world.texts  # one person cannot be two
    text = task._domain + " ".join(PROBLEM.split())
    assert earn(task, text, "(flip kid boss x) (rest kid) (flip kid boss y) (rest kid)") == (1.0, True, "ok")
    assert earn(task, text, "(flip kid boss x) (flip kid boss y)") == (0.125, False, "inapplicable")
    assert load_task(ID).arguments_that_load(files) == ["domain", "problems"]
    same = text.replace("(on x) (on y)", "(on x) (= kid kid)")
    assert earn(task, same, "(flip kid boss x) (rest kid)") == (1.0, True, "ok")
    with pytest.raises(PromptError, match="never is so"):
        task.parse_prompt(text.replace("(on x) (on y)", "(on x) (not (= kid kid))"))


def test_choices_that_fixed_facts_rule_out_are_not_gone_through(files: dict[str, Any]) -> None:
    """A chain through a map of 40 places: four thousand million choices of objects, 35 of which there are."""
    variables = "?a ?b ?c ?d ?e ?f"
    chain = " ".join(f"(next {one} {other})" for one, other in itertools.pairwise(variables.split()))
    Path(files["domain"]).write_text(
        f"(define (domain chain) (:action light :parameters ({variables}) :precondition (and {chain} (dark ?f))\n"
        ":effect (not (dark ?f))))"
    )
    places = [f"p{i}" for i in range(40)]
    facts = " ".join(f"(next {one} {other})" for one, other in itertools.pairwise(places))
    Path(files["problems"], "one.pddl").write_text(
        f"(define (problem p) (:domain chain) (:objects {' '.join(places)})\n"
        f"(:init {facts} (dark p9)) (:goal (not (dark p9))))"
    )
    (world,) = load_task(ID, **files, min_steps=1)._worlds.values()
    assert world.texts == ["(light p4 p5 p6 p7 p8 p9)"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SWITCH.replace(":equality", ":adl"), "requires ':adl'"),
        (SWITCH.replace("(on ?l) (tired ?p)))", "(when (on ?l) (tired ?p))))"), "'when' is not known here"),
        (SWITCH.replace("?q - adult", "?r - adult"), r"no parameter '\?q'"),
        (SWITCH.replace("- thing", "- (either thing object)"), "either"),
        (SWITCH + ")", "closed"),
        ("(define (domain d))", "no action"),
        (SWITCH.replace("(:action rest", "(:action flip"), "two actions of one name"),
        (SWITCH.replace(":equality", "(:equality)"), "requires"),
        ("hello", "brackets"),
    ],
)
def test_pddl_that_is_not_known(files: dict[str, Any], text: str, words: str) -> None:
    """An error says what is not known."""
    Path(files["domain"]).write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_task(ID, **files)


def test_arguments() -> None:
    """Wrong ones are refused by name."""
    for arguments, words in (
        ({"domain": "block"}, "domain=.block. is not allowed; allowed: .blocks."),
        ({"problems": "nowhere"}, "problems=.nowhere. is not allowed"),
        ({"domain": "nowhere.pddl", "problems": "nowhere"}, "cannot be read"),
        ({"min_size": 9}, "min_size=9"),
        ({"min_size": 5, "max_size": 3}, "max_size=3"),
        ({"max_steps": 1}, "max_steps=1"),
        ({"min_steps": 90, "max_steps": 99}, "min_steps=90"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_task(ID, **arguments).sample_prompts(np.random.default_rng(0), 1)


@pytest.mark.parametrize("name", ["blocks", "hanoi", "onearmedgripper"])
def test_pddlgym(name: str) -> None:
    """Its domains play where it is installed: problems are drawn, read back and solved."""
    try:
        task = load_task(ID, domain=f"pddlgym:{name}", split="all")
    except MissingDependencyError:
        pytest.skip("needs pddlgym")
    rng = np.random.default_rng(0)
    prompts = task.sample_prompts(rng, 8)
    assert [task.parse_prompt(prompt.text) for prompt in prompts] == prompts
    assert all(o.is_success for o in task.evaluate(prompts, [task.reference_completion(p, rng) or "" for p in prompts]))
