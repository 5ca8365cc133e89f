"""What Ludii's jar says of its language: the games that it holds, and a grammar.

Both are read by a process of its own, once for each jar, and kept in the user's cache folder: Ludii's licence (CC
BY-NC-ND 4.0) lets nobody pass them on.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from rlfl_envs.cache import cache_folder, is_whole, keep
from rlfl_envs.errors import ConfigError, RLFLError
from rlfl_envs.tasks.games.ludii import judge as ludii

__all__ = ["corpus", "grammar", "lark", "words"]

_MAX_CHARACTERS = 10_000  # the paper's limit
_FOLDERS = ("/subgame/", "/test/", "/wip/", "/wishlist/", "/WishlistDLP/", "/bad/", "/bad_playout/", "/pending/")
_VERSION = 1  # of what is kept


def corpus(jar: str = "") -> list[str]:
    """The games of Ludii's jar, each with its definitions written out and its options as they are by default.

    Left out are matches of several games, parts of other games and drafts (by folder), games for fewer than two
    players, and games of more than 10,000 characters, as in the paper.

    Args:
        jar: The jar; by default what the environment variable LUDII_JAR names.

    Raises:
        ConfigError: The jar cannot be read, or holds no games.
        MissingDependencyError: No jar is named, or something is missing that it needs.
    """
    games: list[str] = json.loads(_read(jar, "games.json"))
    if not games:
        raise ConfigError(f"jar={str(ludii.find_jar(jar))!r} holds no games; take the one from ludii.games.")
    return games


def grammar(jar: str = "") -> str:
    """The jar's own grammar of games in llguidance's dialect of Lark; see `lark`. Raises as `corpus` does."""
    return lark(_read(jar, "grammar.txt"))


def words(jar: str = "") -> list[str]:
    """The words of the language, labels with their colon, and none that only stands in strings. Raises as `corpus`."""
    return sorted(set(re.findall(r'"([A-Za-z]\w*:?)"', grammar(jar))))


def _read(jar: str, name: str) -> str:
    """The text of a cached file, which is made first where there is none."""
    path = ludii.find_jar(jar)
    folder = cache_folder() / "ludii" / f"{ludii.digest_of(path)}-{_VERSION}"
    if not is_whole(folder / name):
        command = [sys.executable, "-m", "rlfl_envs.tasks.games.ludii.language", str(path), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise ConfigError(f"jar={str(path)!r} cannot be read as Ludii's jar: {reason}")
    try:
        return (folder / name).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"jar={str(path)!r} was read, but could not be kept in {folder}: {error}") from error


def _games(jar: Path) -> Iterator[str]:
    """Expands one game after the other."""
    with zipfile.ZipFile(jar) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith("lud/") and name.endswith(".lud") and not any(part in name for part in _FOLDERS):
                expanded = ludii.expand(archive.read(name).decode("utf-8", errors="replace"), str(jar))
                game = ludii.normalise(expanded)
                players = re.search(r"\(players (?:(\d+)\)|\{)", game)
                has_players = players is not None and (players[1] is None or int(players[1]) >= 2)
                if game.startswith("(game ") and has_players and len(game) <= _MAX_CHARACTERS:
                    yield game


def main() -> None:
    """Writes a jar's games and grammar into a folder: `python -m rlfl_envs.tasks.games.ludii.language JAR FOLDER`."""
    jar, folder = map(Path, sys.argv[1:])
    try:
        keep(folder / "grammar.txt", ludii.ebnf(str(jar)).encode())
    except RLFLError as error:
        sys.exit(str(error))
    keep(folder / "games.json", json.dumps(list(dict.fromkeys(_games(jar)))).encode())


# --- the grammar -----------------------------------------------------------------------------------------------------


def lark(ebnf: str) -> str:
    """Writes the EBNF that Ludii reports in llguidance's dialect of Lark, without `start`; `game` derives whole texts.

    In `<place> ::= (place <string> [<int>] {<item>} (<a> | <b>) [count:<int>]) | <other>` a parenthesis before a word
    begins a form and any other a group, braces are a list of one or more, and brackets an option. The rules derive
    texts as `normalise` writes them: one space between arguments, and no other. What needs a rule that Ludii does not
    report is left out.
    """
    bodies: dict[str, str] = {}
    name = ""
    for line in ebnf.splitlines():
        if head := re.match(r"<(\S+)>\s+::=(.*)", line):
            name = head[1]
            bodies[name] = head[2]
        elif name and not line.startswith("//"):
            bodies[name] += " " + line.strip()
    names = {name: _rule_name(name, number) for number, name in enumerate(bodies)}
    references = "|".join(re.escape(f"<{name}>") for name in sorted(names, key=len, reverse=True))  # one is <<=>
    symbols = re.compile(rf"[A-Za-z]\w*:|{references}|[()\[\]{{}}|]|[^\s()\[\]{{}}|]+")
    lists: dict[str, str] = {}
    rules = {names[name]: _Reader(symbols.findall(body), names, lists).rule() for name, body in bodies.items()}
    rules |= {name: f'"{{" ({item}) (" " ({item}))* "}}"' for item, name in lists.items()}
    return "".join(f"{name}: {rule}\n" for name, rule in rules.items())


_TERMINALS = {
    "int": "/-?[0-9]+/",
    "float": r"/-?([0-9]+(\.[0-9]+)?|\.[0-9]+)/",
    "boolean": '("True" | "False")',
    "string": r'/"[^"]*"/',
}


def _rule_name(name: str, number: int) -> str:
    words = re.sub("[^a-z]+", "_", name.lower()).strip("_")
    return "game" if name == "game" else f"{words or 'operator'}_{number}"


class _Reader:
    """Reads the right side of a rule, by recursive descent; what cannot be derived is an empty string."""

    def __init__(self, symbols: list[str], names: dict[str, str], lists: dict[str, str]) -> None:
        self._left = ["", *reversed(symbols)]
        self._names = names
        self._lists = lists  # a rule's name for each kind of item: lists are forms too, and need rules of their own

    def rule(self) -> str:
        """All of it."""
        return self._group("") or '"<none>"'

    def _group(self, end: str) -> str:
        """Alternatives up to a closing bracket, each a single item; Ludii now and then forgets the bars."""
        found = []
        while self._left[-1] != end:
            if self._left[-1] == "|":
                self._left.pop()
            else:
                found.append(self._item())
        self._left.pop()
        return " | ".join(dict.fromkeys(filter(None, found)))

    def _item(self) -> str:
        symbol = self._left.pop()
        if symbol == "(" and self._is_word(self._left[-1]):
            return self._form()
        if symbol == "{":
            item = self._group("}")
            return self._lists.setdefault(item, f"list_{len(self._lists)}") if item else ""
        if symbol in ("(", "["):
            item = self._group(")" if symbol == "(" else "]")
            return f"({item})" if item else ""
        if symbol.endswith(":"):
            item = self._item()
            return f"{json.dumps(symbol)} {item}" if item else ""
        if self._is_word(symbol):
            return _TERMINALS.get(symbol) or json.dumps(symbol)
        return self._names.get(symbol[1:-1], "")

    def _form(self) -> str:
        """A word and its arguments."""
        text, can_be = f'"(" {json.dumps(self._left.pop())}', True
        while self._left[-1] != ")":
            is_option = self._left[-1] == "["
            item = self._item()
            can_be &= bool(item) or is_option
            text += (f' (" " {item})?' if is_option else f' " " {item}') if item else ""
        self._left.pop()
        return f'{text} ")"' if can_be else ""

    def _is_word(self, symbol: str) -> bool:
        is_reference = len(symbol) > 2 and symbol[0] == "<" and symbol[-1] == ">"
        return symbol not in ("(", "[", "{") and not symbol.endswith(":") and not is_reference


if __name__ == "__main__":
    main()
