"""The command line: what it prints, one clean line for an error, and no torch where none is needed."""

from __future__ import annotations

import importlib
import io
import json
import math
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from rlfl_agents.cli import COMMANDS, main
from rlfl_agents.cli.words import _name_and_value, named_folder
from rlfl_agents.config import PPOConfig
from rlfl_envs import how_to_install, list_ids
from tests.settings import DATA

LUDAX = "rlfl/LudaxGame-v0"
GAMES = ["--env-kwargs", f"corpus={DATA / 'games'}", "num_playouts=10", "max_turns=20"]
SMALL = ["--layers", "1", "--width", "16", "--heads", "2", "--device", "cpu", "--eval-prompts", "16", "--threads", "1"]


def test_list_names_every_id(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each."""
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list_ids()
    assert all(len(line.split()) > 2 for line in lines)


def test_list_names_members_of_families_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """With --all, every id that can be made; without, none that is another one with an argument."""
    assert main(["list", "--all"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list_ids(members=True)
    assert not [id for id in list_ids() if "ReasoningGym." in id]


def test_list_breaks_no_word(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal of 80 columns lines are broken between words, and what follows an id is indented."""
    assert main(["list"]) == 0
    whole = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["list"]) == 0
    broken = capsys.readouterr().out
    assert broken.split() == whole.split()
    assert max(map(len, broken.splitlines())) <= 80
    assert [line.split()[0] for line in broken.splitlines() if not line.startswith(" ")] == list_ids()


@pytest.mark.parametrize("env_id", list_ids())
def test_show_prints_the_card_the_baselines_and_samples(env_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For every id; one that cannot be had here is an error of one line."""
    status = main(["show", env_id, "--baseline-prompts", "20", "--prompts", "2", *(GAMES if env_id == LUDAX else [])])
    out, err = capsys.readouterr()
    if status == 2 and ("pip install" in err or "LUDII_JAR" in err):
        pytest.skip(err)
    assert status == 0
    for part in ("Description:", "Version history:", "Discrete(", "random legal tokens", "Sample prompts"):
        assert part in out
    assert "->" in out or env_id == "rlfl/Sentiment-v0"  # which has no references


def test_show_draws_a_game(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its text, what it earns and a picture; of the task's own games, or of a file; what is no game has none."""
    pytest.importorskip("ludax", reason="needs the extra ludax")
    picture, other = tmp_path / "board.png", tmp_path / "none.png"
    assert main(["show", LUDAX, "--picture", str(picture), *GAMES]) == 0
    out = capsys.readouterr().out
    assert out.startswith("(game ")
    assert "playable, reward 0." in out
    assert "novelty      0" in out
    assert "the board after" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    (tmp_path / "none.ldx").write_text("(game)")
    assert main(["show", LUDAX, "--picture", str(other), "--text", str(tmp_path / "none.ldx"), *GAMES]) == 0
    assert "no_parse, reward 0" in capsys.readouterr().out
    assert not other.exists()


def test_env_kwargs_are_added_to_those_of_the_preset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a recipe needs of its environment stays, and the vocabulary that is asked for may change the recipe."""
    asked: list[PPOConfig] = []
    monkeypatch.setattr("rlfl_agents.train", lambda config, *_, **__: asked.append(config))
    for env_id, word in (("ArithmeticSteps", "max_value=50"), ("ArithmeticAnswer", "vocabulary=characters")):
        words = ["train", f"rlfl/{env_id}-v0", "--env-kwargs", word, "--run-dir", str(tmp_path / env_id), "--quiet"]
        assert main(words) == 0
    steps, answer = asked
    assert steps.env_kwargs == {"reward": "worked_out", "rewards": "tokens", "max_value": 50}
    assert answer.env_kwargs == {"rewards": "tokens", "vocabulary": "characters"}
    assert answer.position_ids == "places"


def test_env_kwargs_reach_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    """Text, numbers and symbols."""
    assert (
        main(["show", "rlfl/Copy-v0", "--env-kwargs", "length=2", "alphabet=xy", "mask=syntax", "--prompts", "3"]) == 0
    )
    assert "Discrete(5)" in capsys.readouterr().out


def test_play_judges_what_a_person_types(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong completion, a reference, and the end of the input."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("zzzz\n\n"))
    assert main(["play", "rlfl/Copy-v0", "--seed", "0"]) == 0
    out = capsys.readouterr().out
    assert "reward 0.000  not solved" in out
    assert "a reference completion" in out
    assert "reward 1.000  solved" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "rlfl/Copi-v0"], "Did you mean 'rlfl/Copy-v0'"),
        (["train", "rlfl/Copi-v0"], "Did you mean 'rlfl/Copy-v0'"),
        (["train"], "an id must come first"),
        (["train", "rlfl/Copy-v0", "--recipe", "paper"], "recipe='paper' is not allowed; allowed: 'ours'"),
        (["pretrain", "rlfl/Copy-v0"], "env_id='rlfl/Copy-v0' has no texts to learn from"),
        (["from-gguf", "nowhere.gguf"], "source='nowhere.gguf' is no file"),
        (["show", "rlfl/Copy-v0", "--picture", "x.png"], "Copy has no pictures"),
        (["show", "rlfl/Copy-v0", "--env-kwargs", "lenght=2"], "Did you mean 'length'"),
        (["eval", "nowhere"], "There is no folder 'nowhere'"),
        (["eval", "docs"], "'docs' does not say what it was trained on; name an id too"),
        (["show", "nowhere:me/X-v0"], "there is no module 'nowhere' here"),
        (["show", "nowhere.py:me/X-v0"], "names a file; name its module: nowhere:me/X-v0"),
        (["show", "rlfl_envs.tasks.copy:rlfl/Copi-v0"], "Did you mean 'rlfl/Copy-v0'"),
        (["plot", "nowhere"], "is no run directory"),
        (["plot", "nowhere", "--output", "x.txt"], "output='x.txt' is not allowed; allowed: a name that ends in .png"),
        (["show", "rlfl/Copy-v0", "--prompts", "-1"], "prompts=-1 is not allowed; allowed: 0 or more"),
        (["show", "rlfl/Copy-v0", "--seed", "-1"], "seed=-1 is not allowed; allowed: an integer, 0 or more"),
        (["show", "rlfl/Copy-v0", "--text", "x.lud"], "text='x.lud' is not allowed; allowed: a file to draw"),
        (["play", "rlfl/Copy-v0", "--seed", "-1"], "seed=-1 is not allowed; allowed: 0 or more"),
        (["audit", "rlfl/Copy-v0", "--attacker-samples", "3"], "attacker_samples=3 is not allowed; allowed: 4 or more"),
        (["audit", "rlfl/Copy-v0", "--seed", "-1"], "seed=-1 is not allowed; allowed: an integer, 0 or more"),
        (["dance"], "Allowed: list, show, play, audit, pretrain, from-gguf, sft, train, eval, plot, push"),
        (["trian", "rlfl/Copy-v0"], "Did you mean 'train'"),
    ],
)
def test_errors_are_one_line_and_status_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, and the line says what would be right."""
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("rlfl: ")
    assert captured.err.count("\n") == 1


def test_a_setting_that_cannot_work_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """Flags are checked as they are read: status 2, the reason, and no traceback."""
    with pytest.raises(SystemExit) as stop:
        main(["train", "rlfl/Copy-v0", "--group-size", "1"])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert "group_size must be 2 or more" in " ".join(err.split())
    assert "Traceback" not in err


def test_a_flag_that_is_not_known_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that may have been meant are named; `--lr` is short for the learning rate."""
    with pytest.raises(SystemExit) as stop:
        main(["train", "rlfl/Copy-v0", "--learn-rate", "1"])
    assert stop.value.code == 2
    assert "--lr, --learning-rate" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "rlfl/Copy-v0", "--lr", "-1"])
    assert "learning_rate=-1.0 is not allowed" in " ".join(capsys.readouterr().err.split())


def test_train_eval_plot_and_play(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way through, small; flags override the preset, and --resume needs no other flag."""
    run = tmp_path / "run"
    flags = ["--run-dir", str(run), "--total-samples", "128", "--prompts", "16", "--group-size", "4", *SMALL]
    assert main(["train", "rlfl/Copy-v0", "--env-kwargs", "length=2", "alphabet=abc", *flags]) == 0
    out = capsys.readouterr().out
    assert "held-out success" in out
    assert "before" in out
    assert main(["train", "rlfl/Copy-v0", "--run-dir", str(run)]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["train", "rlfl/Copy-v0", f"--run-dir={run}", "--resume", "--total-samples=192"]) == 0
    assert main(["eval", str(run), "--prompts", "20"]) == 0
    out = capsys.readouterr().out
    assert "95% Wilson interval" in out
    assert "n=20" in out
    assert (
        main(["eval", str(run), "--prompts", "5", "--samples", "3", "--output", str(tmp_path / "new/pass.json")]) == 0
    )
    found = json.loads((tmp_path / "new" / "pass.json").read_text())
    assert found["id"] == "rlfl/Copy-v0"
    assert [*found["pass_at"]] == ["1", "2", "3"]
    assert found["pass_at"]["1"] == pytest.approx(sum(found["solved"]) / 15)
    assert f"pass@3 {found['pass_at']['3']:.3f}" in capsys.readouterr().out
    assert main(["plot", str(run), str(run), "--labels", "a", "b", "--output", str(tmp_path / "two.png")]) == 0
    assert (tmp_path / "two.png").stat().st_size > 10_000
    monkeypatch.setattr(sys, "stdin", io.StringIO("ab\n\nq\n"))
    assert main(["play", "rlfl/Copy-v0", "--model", str(run)]) == 0  # with the arguments it was trained with
    out = capsys.readouterr().out
    assert out.count("reward") == 2
    assert "prompt='q' is not allowed" in out


def test_a_chat_from_the_first_command_to_the_last(
    tmp_path: Path, chat_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--chat` is given where a policy is begun; what it leaves knows it, and `show` and `play` print what is read."""
    monkeypatch.chdir(tmp_path)
    chat = ["--chat", "--env-kwargs", f"vocabulary={chat_folder}", "length=2"]
    assert main(["sft", "rlfl/Copy-v0", *SMALL, *chat, "--examples", "8", "--epochs", "1", "--output", "warm"]) == 0
    words = ["--model", "warm", *chat, "--total-samples", "64", "--prompts", "8", "--group-size", "4", "--quiet"]
    assert main(["train", "rlfl/Copy-v0", *SMALL, *words, "--run-dir", "run"]) == 0
    assert json.loads(Path("run/best/rlfl.json").read_text())["env_kwargs"]["chat"] is True
    capsys.readouterr()
    assert main(["eval", "run", "--prompts", "8", "--device", "cpu"]) == 0
    assert "on 8 prompts of split='test'" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\n"))
    assert main(["play", "rlfl/Copy-v0", "--model", "run"]) == 0
    assert "reward" in capsys.readouterr().out
    assert main(["show", "rlfl/Copy-v0", *chat, "--prompts", "1", "--baseline-prompts", "4"]) == 0
    assert "    | <|im_start|>user\n    | Repeat the text exactly as it is." in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    words = ["play", "rlfl/Copy-v0", "--template", "Say {prompt}:", "--env-kwargs", f"vocabulary={chat_folder}"]
    assert main(words) == 0
    assert "Say " in capsys.readouterr().out


def test_a_failed_start_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason: an argument of the environment, a model, a tracker."""
    monkeypatch.chdir(tmp_path)
    for words in (["--env-kwargs", "lenght=2"], ["--model", "nowhere"], ["--report-to", "nobody"]):
        assert main(["train", "rlfl/Copy-v0", *words]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_default_name_that_is_taken_is_counted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new run takes the next free name, and --resume goes on with the last one that is taken."""
    monkeypatch.chdir(tmp_path)
    flags = ["--total-samples=4", "--prompts=2", "--group-size=2", *SMALL]
    for _ in range(2):
        assert main(["train", "rlfl/Copy-v0", "--quiet", *flags]) == 0
    assert main(["train", "rlfl/Copy-v0", "--quiet", "--resume", "--total-samples=8"]) == 0
    found = {run.name: json.loads((run / "config.json").read_text())["total_samples"] for run in Path("runs").iterdir()}
    assert found == {"Copy-v0-seed0": 4, "Copy-v0-seed0-2": 8}
    assert named_folder("Copy-v0-seed0") == Path("runs/Copy-v0-seed0-3")


def test_flags_that_decide_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With "=" or without; and a run is resumed by its default name as well."""
    monkeypatch.chdir(tmp_path)
    flags = ["--total-samples=4", "--prompts=4", "--minibatches=1", *SMALL]
    assert main(["train", "rlfl/Arithmetic-v0", "--recipe=paper", "--run-dir=paper", *flags, "--seed=3"]) == 0
    assert json.loads(Path("paper/config.json").read_text())["learning_rate"] == 1.41e-5
    assert main(["train", "rlfl/Copy-v0", "--seed=3", "--group-size=2", *flags]) == 0
    assert main(["train", "rlfl/Copy-v0", "--seed", "3", "--resume"]) == 0


def test_a_reader_that_has_had_enough() -> None:
    """`rlfl show ID | head -0`: no error, and the status that a closed pipe has."""
    words = [sys.executable, "-m", "rlfl_agents", "show", "rlfl/Copy-v0", "--baseline-prompts", "5"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_sft(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Writes a model that eval understands."""
    folder = tmp_path / "sft"
    flags = ["--output", str(folder), "--epochs", "1", "--examples", "32", *SMALL]
    assert main(["sft", "rlfl/Copy-v0", *flags]) == 0
    assert main(["eval", str(folder), "--prompts", "8", "--device", "cpu"]) == 0
    assert "sampled" in capsys.readouterr().out


def test_train_asks_for_the_warm_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the preset needs one, and only as long as there is none."""
    module = importlib.import_module("rlfl_agents.cli.train")  # the package's `train` is the function
    monkeypatch.setattr(module, "AFTER_WARM_START", ("rlfl/ArithmeticSteps-v0",))
    warm = tmp_path / "warm"
    flags = ["--total-samples", "32", "--prompts", "8", "--minibatches", "2", *SMALL]
    assert main(["train", "rlfl/ArithmeticSteps-v0", "--run-dir", str(tmp_path / "one"), *flags]) == 0
    assert "rlfl sft rlfl/ArithmeticSteps-v0" in capsys.readouterr().out
    small = ["--output", str(warm), "--epochs", "1", "--examples", "32", *SMALL]
    assert main(["sft", "rlfl/ArithmeticSteps-v0", *small]) == 0
    flags += ["--run-dir", str(tmp_path / "two"), "--model", str(warm)]
    assert main(["train", "rlfl/ArithmeticSteps-v0", *flags]) == 0
    assert "rlfl sft" not in capsys.readouterr().out


def test_help_explains_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    """Each field of PPOConfig has a flag and a text."""
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for name in PPOConfig.__dataclass_fields__.keys() - {"env_id"}:
        assert f"--{name.replace('_', '-')}" in out, name
    assert "different prompts are asked" in " ".join(out.replace("│", " ").split())


def test_the_overview_has_every_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """A command's summary is the first line of what it is documented with; no words are as good as --help."""
    overviews = []
    for words in ([], ["--help"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
        overviews.append(" ".join(capsys.readouterr().out.replace("│", " ").split()))
    assert overviews[0] == overviews[1]
    for name, command in COMMANDS.items():
        assert f"• {name} {(command.run.__doc__ or '').splitlines()[0]}" in overviews[0]


HELP = [["--help"], ["list"], *([name, "--help"] for name in COMMANDS), ["train", "rlfl/Copy-v0", "--help"]]


@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_help_and_list_import_nothing_heavy(words: list[str]) -> None:
    """What takes seconds to import is imported when a command runs."""
    code = f"""
import sys
from rlfl_agents.cli import main
try:
    main({words})
except SystemExit as stop:
    assert not stop.code
heavy = {{"torch", "transformers", "accelerate", "matplotlib", "sklearn", "nltk", "ludax", "jax", "llguidance", "trl"}}
print(*heavy & sys.modules.keys(), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "\n"


@pytest.mark.timing
@pytest.mark.parametrize("words", [["--help"], ["list"], ["train", "--help"], ["train", "rlfl/Copy-v0", "--help"]])
def test_help_and_list_are_quick(words: list[str]) -> None:
    """At most four times the processor time of what every command has to import; torch alone takes seven times that."""
    commands = {"needed": ["-c", "import gymnasium, tyro"], "found": ["-m", "rlfl_agents", *words]}
    seconds = dict.fromkeys(commands, math.inf)
    for _ in range(3):  # by turns, and the best of each: other programs slow the machine down
        for name, command in commands.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *command], capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            seconds[name] = min(seconds[name], spent)
    assert seconds["found"] < 4 * seconds["needed"]


def test_list_show_and_play_import_no_torch() -> None:
    """In a process of its own; and without torch the others say what to install."""
    code = """
import importlib.abc, importlib.util, io, sys

MISSING = ("torch", "transformers", "accelerate", "rich", "matplotlib", "peft")

class Missing(importlib.abc.MetaPathFinder):  # as if they were not installed
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in MISSING else real(name, *rest)
from rlfl_agents.cli import main
assert main(["list"]) == 0
assert main(["show", "rlfl/Copy-v0", "--baseline-prompts", "5"]) == 0
sys.stdin = io.StringIO("")
assert main(["play", "rlfl/Copy-v0"]) == 0
for command in (["train", "rlfl/Copy-v0"], ["sft", "rlfl/Copy-v0"], ["eval", "x"], ["plot", "x"]):
    assert main(command) == 2
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(how_to_install("agent")) == 4


def test_names_and_values() -> None:
    """JSON where it is JSON, else text."""
    words = ["a=1", "b=+*", "c=true", "d=null", "e=x=y", "f="]
    assert dict(map(_name_and_value, words)) == {"a": 1, "b": "+*", "c": True, "d": None, "e": "x=y", "f": ""}
