"""Programs that try to hang, flood, break out or cheat: what each may come to, called with the argument 3.

Each is a source and what is expected: "status ..." where it does not load, else a kind of result, with an exception's
name where there is one. Two kinds are expected where it depends on the machine which limit is met first, and "any"
where Monty is free to read Python one way or the other.
"""

from __future__ import annotations

_BOMB = "    x = [1]\n    for _ in range({}):\n        x = [x, x]\n    return x"

PROGRAMS: dict[str, tuple[str, str | tuple[str, str]]] = {
    # time
    "endless loop": ("def f(x):\n    while True:\n        pass", "timeout"),
    "endless loop at the top": ("while True:\n    pass", "status timeout"),
    "caught time limit": (
        "def f(x):\n    while True:\n        try:\n            while True:\n                pass\n"
        "        except BaseException:\n            pass",
        "timeout",
    ),
    "caught in finally": ("def f(x):\n    try:\n        while True: pass\n    finally:\n        return 1", "timeout"),
    "slow power": ("def f(x):\n    return pow(x, 10**7) % 2", "timeout"),
    "slow square": ("def f(x):\n    y = x ** (5 * 10**6)\n    return y * y * y * y % 7", "timeout"),
    "long sum": ("def f(x):\n    return sum(range(10**12))", "timeout"),
    "fibonacci": ("def g(x):\n    return 1 if x < 2 else g(x - 1) + g(x - 2)\ndef f(x):\n    return g(60)", "timeout"),
    "long exec": ("def f(x):\n    exec('x = 1;' * 10**6)", ("timeout", "memory")),
    "sleep": ("import time\ndef f(x):\n    time.sleep(10**9)\n    return x", "value"),
    "async sleep": ("import asyncio\nasync def f(x):\n    await asyncio.sleep(10**9)", "type"),
    "regex": ("import re\ndef f(x):\n    return re.match('(a+)+$', 'a' * 5000 + 'b') is None", "any"),
    "regex nesting": ("import re\ndef f(x):\n    return re.compile('(' * 10**5)", ("error", "PatternError")),
    # memory
    "huge power": ("def f(x):\n    return 10 ** 10 ** 10", "memory"),
    "huge shift": ("def f(x):\n    return 1 << 10 ** 12", "memory"),
    "huge text": ("def f(x):\n    return 'a' * 10**10", "memory"),
    "huge list": ("def f(x):\n    return [0] * 10**9", "memory"),
    "huge bytes": ("def f(x):\n    return bytes(10**10)", "memory"),
    "huge padding": ("def f(x):\n    return 'a'.ljust(10**10)", "memory"),
    "huge format": ("def f(x):\n    return '%10000000000d' % x", "memory"),
    "doubling": ("def f(x):\n    s = 'ab'\n    while True:\n        s += s", ("memory", "timeout")),
    "appending": ("def f(x):\n    a = []\n    while True:\n        a.append([x])", ("memory", "timeout")),
    "caught memory limit": (
        "def f(x):\n    try:\n        'a' * 10**10\n    except BaseException:\n        return 1",
        "memory",
    ),
    # depth
    "recursion": ("def f(x):\n    return f(x)", ("error", "RecursionError")),
    "caught recursion": ("def f(x):\n    try:\n        f(x)\n    except BaseException:\n        f(x)", "timeout"),
    "deep brackets": ("def f(x):\n    return " + "(" * 9000 + ")" * 9000, "status no_parse"),
    "deep lists": ("x = " + "[" * 9000 + "]" * 9000, "status no_parse"),
    "deep signs": ("def f(x):\n    return " + "-" * 9000 + "x", "status no_parse"),
    "deep sums": ("def f(x):\n    return x" + " + x" * 4000, "status no_parse"),
    "deep blocks": ("".join("    " * i + "if 1:\n" for i in range(95)) + "    " * 95 + "1", "any"),
    "deep json": ("import json\ndef f(x):\n    return json.loads('[' * 10**5)", ("error", "JSONDecodeError")),
    "deep eval": ("def f(x):\n    return eval('(' * 10**5)", ("error", "SyntaxError")),
    "deep result": ("def f(x):\n    for _ in range(10**4):\n        x = [x]\n    return x", "output"),
    "cyclic result": ("def f(x):\n    a = []\n    a.append(a)\n    return a", "type"),
    # output
    "print flood": ("def f(x):\n    while True:\n        print('x' * 1000)", ("output", "timeout")),
    "one long print": ("def f(x):\n    print('x' * 10**6)", "output"),
    "caught print limit": (
        "def f(x):\n    for _ in range(9999):\n        try:\n            print('x' * 100)\n"
        "        except BaseException:\n            pass\n    return 1",
        "output",
    ),
    "escape sequences": ("def f(x):\n    print('\\x1b]52;c;aGk=\\x07\\x1b[2J')\n    return x", "value"),
    "to the error stream": ("import sys\ndef f(x):\n    print('here', file=sys.stderr)\n    return x", "value"),
    "print at the top": ("print('here')\ndef f(x):\n    return x", "value"),
    "long result": ("def f(x):\n    return list(range(20_000))", "output"),
    "long text": ("def f(x):\n    return 'x' * 10**6", "output"),
    "long integer": ("def f(x):\n    return 10**5000", "output"),
    "bomb of lists": ("def f(x):\n" + _BOMB.format(60), "output"),
    # the machine
    "file read": ("def f(x):\n    return open('/etc/passwd').read()", ("error", "PermissionError")),
    "file written": ("def f(x):\n    open('written', 'w').write('x')", ("error", "PermissionError")),
    "path written": (
        "from pathlib import Path\ndef f(x):\n    Path('w').write_text('x')",
        ("error", "PermissionError"),
    ),
    "folder": ("import os\ndef f(x):\n    return os.listdir('/')", ("error", "PermissionError")),
    "environment": ("import os\ndef f(x):\n    return os.environ['HOME']", ("error", "RuntimeError")),
    "shell": ("import os\ndef f(x):\n    return os.system('touch written')", ("error", "AttributeError")),
    "subprocess": ("import subprocess\ndef f(x):\n    return x", ("status error", "ModuleNotFoundError")),
    "ctypes": ("def f(x):\n    import ctypes\n    return ctypes", ("error", "ModuleNotFoundError")),
    "socket": ("def f(x):\n    import socket", ("error", "ModuleNotFoundError")),
    "pickle": ("def f(x):\n    import pickle\n    return pickle.loads(b'')", ("error", "ModuleNotFoundError")),
    "__import__": ("def f(x):\n    return __import__('os')", ("error", "NameError")),
    "input": ("def f(x):\n    return input()", ("error", "NameError")),
    "exit": ("def f(x):\n    raise SystemExit", ("error", "SystemExit")),
    "interrupt": ("def f(x):\n    raise KeyboardInterrupt", ("error", "KeyboardInterrupt")),
    "exit at the top": ("raise SystemExit", ("status error", "SystemExit")),
    # attributes
    "classes": ("def f(x):\n    return ().__class__.__bases__[0].__subclasses__()", ("error", "AttributeError")),
    "globals": ("def f(x):\n    return f.__globals__", ("error", "AttributeError")),
    "code": ("def f(x):\n    return f.__code__", ("error", "AttributeError")),
    "format attribute": ("def f(x):\n    return '{0.__class__}'.format(x)", ("error", "AttributeError")),
    "patched type": ("int.__eq__ = 1", ("status error", "AttributeError")),
    "interpreter's limits": ("import sys\ndef f(x):\n    sys.setrecursionlimit(10**9)", ("error", "AttributeError")),
    # values that are none
    "equal to all": ("class A:\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return A()", "type"),
    "equal to all, inside": (
        "class A:\n    def __eq__(self, other):\n        return True\n    def __hash__(self):\n        return 3\n"
        "def f(x):\n    return {A(): [A()]}",
        "type",
    ),
    "error in repr": (
        "class A:\n    def __repr__(self):\n        raise ValueError('x')\ndef f(x):\n    return A()",
        "type",
    ),
    "endless repr": ("class A:\n    def __repr__(self):\n        while True: pass\ndef f(x):\n    return A()", "type"),
    "error as text": ("class A:\n    def __str__(self):\n        return 3\ndef f(x):\n    return str(A())", "any"),
    "function": ("def f(x):\n    return f", "type"),
    "function inside": ("def f(x):\n    return {'a': [x, (f,)]}", "type"),
    "range": ("def f(x):\n    return range(x)", "type"),
    "iterator": ("def f(x):\n    return iter([x])", "type"),
    "generator": ("def f(x):\n    return (i for i in range(3))", "any"),
    "class": ("def f(x):\n    return int", "type"),
    "complex": ("def f(x):\n    return 1j", "type"),
    "exception": ("def f(x):\n    return ValueError('x')", "type"),
    "date": ("import datetime\ndef f(x):\n    return datetime.date(2000, 1, 1)", "type"),
    "named tuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'a')\ndef f(x):\n    return P(x)",
        "type",
    ),
    "other types by name": (
        "class str:\n    pass\nclass list:\n    pass\nclass bool:\n    pass\ndef f(x):\n    return [f]",
        "type",
    ),
    "other check": (
        "def f(x):\n    global _rlfl_check, _rlfl_str, _rlfl_value\n    _rlfl_check = lambda todo: True\n"
        "    _rlfl_str = int\n    _rlfl_value = 'text'\n    return f",
        "type",
    ),
    # the text itself
    "empty": ("", ("error", "NameError")),
    "blank": (" \n\t\n", "any"),
    "NUL": ("def f(x):\n    return x\0", "status no_parse"),
    "surrogate": ("def f(x):\n    return '\ud800'", "status no_parse"),
    "surrogate by escape": ("def f(x):\n    return '\\ud800'", "any"),
    "other digits": ("def f(x):\n    return \u0663", "status no_parse"),
    "no-break space": ("def f(x):\n    return\u00a0x", "any"),
    "right to left": ("def f(x):\n    return x # \u202e } \u2066", "value"),
    "ligature": ("def f(x):\n    \ufb01 = 3\n    return fi", "value"),
    "byte order mark": ("\ufeffdef f(x):\n    return x", "value"),
    "carriage returns": ("def f(x):\r    return x\r", "any"),
    "form feed": ("def f(x):\n\f    return x", "any"),
    "open text": ('def f(x):\n    return """', "status no_parse"),
    "trailing backslash": ("def f(x):\n    return x\n\\", "status no_parse"),
    "long literal": ("def f(x):\n    return " + "9" * 10_000, "status no_parse"),
    "long hexadecimal": ("def f(x):\n    return 0x" + "f" * 10_000, "output"),
    "too long": ("#" * 20_001, "status too_long"),
    "long line": ("def f(x):\n    return " + "x;" * 9_000, "any"),
    "many names": ("".join(f"x{i}=1;" for i in range(2_000)) + "\ndef f(x):\n    return x", "value"),
    "no Python": ("I am a language model.", "status no_parse"),
    "no function": ("g = 1", ("error", "NameError")),
    "not callable": ("f = 1", ("error", "TypeError")),
    "other arguments": ("def f():\n    return 1", ("error", "TypeError")),
    "yield": ("def f(x):\n    yield x", "status unsupported"),
    "inheritance": ("class A(int):\n    pass\ndef f(x):\n    return A(x)", "status unsupported"),
}
