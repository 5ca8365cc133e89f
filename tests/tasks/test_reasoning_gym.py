"""ReasoningGym: every dataset of the library plays, and no answer does harm, whatever its scorer does with it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rlfl_envs
from rlfl_envs import ConfigError, PromptError, Task, load_task
from rlfl_envs.judging import Request
from rlfl_envs.tasks.reasoning_gym import library, scoring
from rlfl_envs.tasks.reasoning_gym.config import datasets

pytest.importorskip("reasoning_gym", reason="needs the extra puzzles")
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, where another test has imported it

ID = "rlfl/ReasoningGym-v0"
NAMES = sorted(datasets())
# The names that an answer may have where a scorer executes it.
HARMLESS = {*scoring.FUNCTIONS}


def _prompts(task: Task, count: int) -> list[rlfl_envs.Prompt]:
    return task.sample_prompts(np.random.default_rng(0), count)


def test_the_cards_example() -> None:
    """It is skipped as a doctest, where JAX may have been imported before, which forbids to fork; so it runs here."""
    task = load_task(ID, dataset="chain_sum")
    (prompt,) = _prompts(task, 1)
    assert repr(prompt.text) in task.card
    assert [outcome.reward for outcome in task.evaluate([prompt] * 2, ["-160", "0"])] == [1.0, 0.0]


# --- the datasets --------------------------------------------------------------------------------------------------


def test_datasets_are_the_librarys() -> None:
    """The list that is known without the library has all of its datasets but `composite`, which mixes others."""
    from reasoning_gym.factory import CURRICULA, DATASETS

    assert set(NAMES) == set(DATASETS) - {"composite"}
    assert len(NAMES) >= 95
    assert {name for name, facts in datasets().items() if facts.levels} <= set(CURRICULA)
    assert set(scoring.FORMS) <= set(NAMES)


def test_every_dataset_is_an_id() -> None:
    """Registered where the library is installed, listed if asked; none imports the library by that."""
    members = {f"rlfl/ReasoningGym.{name}-v0" for name in NAMES}
    assert members <= set(rlfl_envs.list_ids(members=True))
    assert not members & set(rlfl_envs.list_ids())
    assert gymnasium.spec("rlfl/ReasoningGym.chain_sum-v0").kwargs["dataset"] == "chain_sum"


@pytest.mark.parametrize("name", NAMES)
def test_plays_end_to_end(name: str) -> None:
    """By `make` and `make_vec`, token by token: references earn full reward and succeed, anything earns 0 to 1."""
    env = gymnasium.make(f"rlfl/ReasoningGym.{name}-v0").unwrapped
    envs = gymnasium.make_vec(f"rlfl/ReasoningGym.{name}-v0", num_envs=2, autoreset_mode="Disabled").unwrapped
    first, _ = env.reset(seed=3)
    assert first.tolist() == envs.reset(seed=3)[0][0].tolist()
    reference = env.task.reference_completion(env.prompt, np.random.default_rng(0))
    assert (reference is not None) == datasets()[name].references
    tokens = env.tokenizer.encode("?" if reference is None else reference)
    outcomes: list[tuple[float, bool]] = []
    for step in range(len(tokens) + 1):
        action = tokens[step] if step < len(tokens) else env.tokenizer.eos_id
        if not outcomes:
            _, reward, terminated, _, info = env.step(action)
            outcomes += [(float(reward), info["is_success"])] if terminated else []
        _, rewards, _, _, infos = envs.step(np.array([action, env.tokenizer.eos_id]))
        if "is_success" in infos and infos["_is_success"][0]:
            outcomes.append((float(rewards[0]), bool(infos["is_success"][0])))
    assert len(outcomes) == 2
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] == (1.0, True) if reference is not None else 0 <= outcomes[0][0] <= 1


# --- prompts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chain_sum", "codeio", "isomorphic_strings", "knight_swap", "gsm_symbolic", "acre"])
def test_an_item_is_a_function_of_its_number(name: str) -> None:
    """Whatever was drawn before, in whatever process: also where the library goes through sets, or draws globally."""
    task = load_task(ID, dataset=name)
    keys = np.arange(4, dtype=np.uint64)
    before = task.prompts_from_keys(keys)
    from rlfl_envs.tasks.reasoning_gym.supply import Supply

    fresh = Supply(1)
    numbers = [task._requests(keys, attempt) for attempt in range(2)]
    found = {item.question for requests in numbers[::-1] for item in fresh.get(requests[::-1])}
    assert len({prompt.text for prompt in before} & found) >= 3
    assert task.prompts_from_keys(keys) == before
    fresh._pool.close()


def test_drawing_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of codeio's that writes a file, as that of number 448 does outside a worker, leaves none."""
    from rlfl_envs.tasks.reasoning_gym.supply import Supply

    monkeypatch.chdir(tmp_path)
    fresh = Supply(1)
    request = load_task(ID, dataset="codeio")._request(0)
    items = fresh.get([dataclasses.replace(request, seed=number) for number in (447, 448, 449, 450)])
    fresh._pool.close()
    assert "drawn" in {item.status for item in items}
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["chain_sum", "basic_arithmetic", "countdown", "simple_equations"])
def test_splits_share_no_problem(name: str) -> None:
    """Neither a text nor what is asked, however it is put into words."""
    drawn = {}
    for split in ("train", "test"):
        task = load_task(ID, dataset=name, split=split)
        drawn[split] = _prompts(task, 30 if name == "countdown" else 200)
    keys = {split: {prompt.data.problem for prompt in prompts} for split, prompts in drawn.items()}
    assert not keys["train"] & keys["test"]
    texts = {split: {" ".join(re.findall(r"[0-9]+", p.text)) for p in prompts} for split, prompts in drawn.items()}
    if name == "basic_arithmetic":  # "What is 1 + 2?" and "Compute 1 + 2." have the same numbers, as have few others
        assert len(texts["train"] & texts["test"]) < 20


def test_prompts_are_drawn_ahead_where_a_stream_is_followed() -> None:
    """After two prompts of a stream the third is there already; keys that follow nothing draw nothing more."""
    from rlfl_envs.keys import key_at
    from rlfl_envs.tasks.reasoning_gym.supply import supply

    task = load_task(ID, dataset="gcd", workers=1)
    drawn = supply(1, __import__("os").getpid())
    stream = np.array([12345], dtype=np.uint64)
    third = task._requests(key_at(stream, np.array([2])), 0)[0]
    task.prompts_from_keys(key_at(stream, np.array([0])))
    assert third not in drawn._items
    task.prompts_from_keys(key_at(stream, np.array([1])))
    while drawn._ahead is not None:
        pass
    assert third in drawn._items


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more items than are remembered the last stay; a prompt that was forgotten is drawn anew from its text."""
    from rlfl_envs.tasks.reasoning_gym import supply as module

    monkeypatch.setattr(module, "_REMEMBERED", 50)
    task = load_task(ID, dataset="lcm")
    prompts = _prompts(task, 300)
    drawn = module.supply(1, __import__("os").getpid())
    assert len(drawn._items) <= 50
    assert task.parse_prompt(prompts[0].text).data.problem == prompts[0].data.problem
    with pytest.raises(PromptError, match="questions that were drawn in this process"):
        task.parse_prompt("What is 1 + 1?")


def test_levels_are_the_curriculums() -> None:
    """A level draws what its difficulty draws, and each is harder to write down than the one before."""
    task = load_task(ID, dataset="chain_sum")
    assert [level["difficulty"] for level in task.levels] == [*datasets()["chain_sum"].levels]
    terms = [
        np.mean([len(re.findall(r"[0-9]+", prompt.text)) for prompt in _prompts(task.at_level(level), 100)])
        for level in (0, 2)
    ]
    assert terms[0] < terms[1]
    with pytest.raises(ConfigError, match="allowed: None, 0"):
        load_task(ID, dataset="chain_sum", difficulty=99)
    with pytest.raises(ConfigError, match="Did you mean 'chain_sum'"):
        load_task(ID, dataset="chainsum")


# --- rewards -------------------------------------------------------------------------------------------------------


def test_strict_pays_no_gifts() -> None:
    """Where the scorer pays 0.01 for anything, "strict" pays nothing; a success earns 1 by both."""
    for reward, gift in (("plain", 0.01), ("strict", 0.0)):
        task = load_task(ID, dataset="power_function", reward=reward)
        (prompt,) = _prompts(task, 1)
        right, wrong = task.evaluate([prompt] * 2, [prompt.data.answer, "no number"])
        assert (right.reward, right.is_success, right.status) == (1.0, True, "ok")
        assert (wrong.reward, wrong.is_success) == (gift, False)


def test_what_two_scorers_forget() -> None:
    """24 from other numbers, and any word for True: paid in full by the library, and no success here."""
    plain = load_task(ID, dataset="puzzle24", reward="plain")
    prompt = next(p for p in _prompts(plain, 4) if sorted(re.findall("[0-9]+", p.data.answer)) != ["1", "1", "4", "6"])
    for reward, paid in (("plain", 1.0), ("strict", 0.0)):
        (outcome,) = load_task(ID, dataset="puzzle24", reward=reward).evaluate([prompt], ["4*6*1*1"])
        assert (outcome.reward, outcome.is_success) == (paid, False)
    task = load_task(ID, dataset="game_of_life_halting")
    (prompt,) = _prompts(task, 1)
    assert [outcome.is_success for outcome in task.evaluate([prompt] * 2, ["perhaps", prompt.data.answer])] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("complex_arithmetic", lambda answer: "nan"),
        ("number_sorting", lambda answer: str(["nan"] * len(ast.literal_eval(answer)))),
        ("coin_flip", lambda answer: answer[:2]),
        ("gsm_symbolic", lambda answer: "-" + answer),
    ],
)
def test_what_other_scorers_forget(name: str, wrong: Callable[[str], str]) -> None:
    """NaN, how a number begins and its sign are no successes; the library's own answers are."""
    task = load_task(ID, dataset=name)
    prompts = [prompt for prompt in _prompts(task, 16) if len(prompt.data.answer) > 3 or name == "gsm_symbolic"]
    answers = [prompt.data.answer for prompt in prompts]
    assert all(outcome.is_success for outcome in task.evaluate(prompts, answers))
    assert not any(outcome.is_success for outcome in task.evaluate(prompts, [*map(wrong, answers)]))


@pytest.mark.parametrize("name", ["prime_factorization", "boxnet", "rubiks_cube", "codeio", "sudoku", "zebra_puzzles"])
def test_scorers_that_raise_pay_nothing(name: str) -> None:
    """Garbage of many kinds gets an outcome, the same twice."""
    task = load_task(ID, dataset=name)
    prompts = _prompts(task, 1) * 8
    garbage = ["", "x", "[" * 1000, "{}", '[{"Agent[9, 9]": "move(a, b)"}]', "9" * 5000, "\ud800", "\x00"]
    outcomes = task.evaluate(prompts, garbage)
    assert outcomes == task.evaluate(prompts, garbage)
    assert not any(outcome.is_success for outcome in outcomes)


# --- no harm -------------------------------------------------------------------------------------------------------


def _executes(source: str) -> bool:
    """Whether a module's functions that take an answer, or what these call in it, hand it to an interpreter."""
    tree = ast.parse(source)
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    seen: set[str] = set()
    waiting = ["score_answer"]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in ast.walk(functions[name]):
            if isinstance(node, ast.Call):
                called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                if called in ("eval", "exec", "compile", "parse_expr", "sympify", "loads") and (
                    called != "loads" or "pickle" in ast.unparse(node.func)
                ):
                    return True
                waiting.append(called)
    return False


def test_scorers_that_execute_are_known() -> None:
    """Every dataset whose scorer calls eval or the like has a form for its answers."""
    from reasoning_gym.factory import DATASETS

    found = {
        name for name, (cls, _) in DATASETS.items() if _executes(Path(inspect.getfile(cls)).read_text(encoding="utf-8"))
    }
    # They evaluate their own text, or have a parser of their own of that name.
    own = {"bitwise_arithmetic", "number_sorting", "propositional_logic"}
    assert found - own == set(scoring.FORMS)


_ALPHABET = "0123456789.,+-*/()[]'\"_QABCDExXyzeEsincotaglpqr \n"


@pytest.mark.parametrize("name", sorted(scoring.FORMS))
@given(
    text=st.text(st.sampled_from(_ALPHABET), max_size=40)
    | st.lists(
        st.sampled_from(
            [
                "sin",
                "(",
                ")",
                "x",
                "2",
                "**",
                "*",
                "+",
                " ",
                "exp",
                "log",
                ".real",
                "__class__",
                "[",
                "'Q'",
                "lambda",
                ":",
                "_",
            ]
        )
    ).map("".join)
)
def test_the_first_wall_lets_no_program_through(name: str, text: str) -> None:
    """What has the form has no attribute, no name but a function's or a letter's, no call of anything else."""
    if not scoring.FORMS[name].fullmatch(text):
        return
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError):
        return
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Attribute | ast.Lambda | ast.NamedExpr | ast.comprehension | ast.Await)
        if isinstance(node, ast.Name):
            assert node.id in HARMLESS or len(node.id) == 1 or set(node.id) <= set("_QABCDE")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id in HARMLESS or len(node.func.id) == 1


HOSTILE = [
    "open('{path}', 'w').write('x')",
    "__import__('os').system('touch {path}')",
    "[entry['answer'] for _ in 'a']",
    "oracle_answer",
    "[x for x in iter(int, 1)]",
    "integrate(x, x)",
    "().__class__.__base__.__subclasses__()",
]


@pytest.mark.parametrize("name", sorted(scoring.FORMS))
def test_hostile_answers_are_refused(name: str, tmp_path: Path) -> None:
    """Files, the scorer's variables, loops, other people's functions: malformed, and never executed."""
    task = load_task(ID, dataset=name, reward="plain")
    prompts = _prompts(task, 1) * len(HOSTILE)
    outcomes = task.evaluate(prompts, [text.format(path=tmp_path / "new") for text in HOSTILE])
    assert {(outcome.reward, outcome.status) for outcome in outcomes} == {(0.0, "malformed")}
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["string_insertion", "spiral_matrix", "simple_integration"])
def test_the_second_wall_stands_alone(name: str, tmp_path: Path) -> None:
    """The same answers, given to the executing scorers past the first wall: nothing is written, nothing hangs.

    What reads a variable earns what the scorer gives for any list, at most; the next answer is judged as ever.
    """
    task = load_task(ID, dataset=name)
    (prompt,) = _prompts(task, 1)
    settings = (("dataset", name), ("difficulty", -1))
    before = set(sys.modules)
    for text in HOSTILE:
        judged = scoring.judge(Request(text.format(path=tmp_path / "new"), settings, context=prompt.data.packed))
        assert judged.status in ("scored", "timeout", "crash")
        assert judged.parts.get("score", 0.0) <= 0.1
        again = scoring.judge(Request(prompt.data.answer, settings, context=prompt.data.packed))
        assert again.parts == {"score": 1.0}
    assert not [*tmp_path.iterdir()]
    assert not {module for module in set(sys.modules) - before if module.startswith("subprocess")}


@pytest.mark.parametrize("text", ["9**9**9**9", "2**(10**9)*x", "(" * 5000 + ")" * 5000, "1" * 16_384, "9" * 16_000])
def test_arithmetic_that_never_ends(text: str) -> None:
    """Towers of powers, deep brackets and long numbers are wrong, malformed or out of time, in bounded time."""
    task = load_task(ID, dataset="simple_integration")
    prompt, *_ = _prompts(task, 1)
    (outcome,) = task.evaluate([prompt], [text])
    assert outcome.status in ("wrong", "malformed", "timeout", "crash")
    assert outcome.reward == 0


def test_more_datasets_than_cells_are_kept() -> None:
    """Of a dozen levels in turns, twice over, each scores its own answers: what was dropped is loaded again."""
    task = load_task(ID, dataset="coin_flip")
    prompts = [level for number in range(12) for level in _prompts(task.at_level(number), 1)] * 2
    answers = [prompt.data.answer for prompt in prompts]
    judged = [
        scoring.judge(
            Request(answer, (("dataset", "coin_flip"), ("difficulty", prompt.data.difficulty)), 0, prompt.data.packed)
        )
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    assert {judgement.parts["score"] for judgement in judged} == {1.0}
    assert len(scoring._cells) <= 8


def test_scores_in_a_cell_are_the_librarys() -> None:
    """Answers of ours to many datasets earn in a cell, where nothing can be imported, what they earn outside."""
    for name in (
        "simple_integration",
        "intermediate_integration",
        "polynomial_multiplication",
        "countdown",
        "dice",
        "bf",
    ):
        task = load_task(ID, dataset=name, reward="plain")
        prompts = _prompts(task, 3)
        answers = [prompt.data.answer for prompt in prompts]
        answers = [*answers, *answers[1:], answers[0], "sin(x)**2 + cos(x)**2", "1", "exp(x)*log(x) + C"]
        prompts = [*prompts, *prompts, *prompts]
        for prompt, answer, outcome in zip(prompts, answers, task.evaluate(prompts, answers), strict=True):
            if outcome.status != "malformed":
                entry = library.unpack(prompt.data.packed)
                assert outcome.parts["score"] == library.score(name, library.DEFAULTS, entry, answer)
