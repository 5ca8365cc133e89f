"""What the bridges' tests share: the examples as modules."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a script of `examples/` by its path there, without running its main part."""

    def load(path: str) -> ModuleType:
        name = Path(path).stem
        monkeypatch.syspath_prepend(str((EXAMPLES / path).parent))  # it may import its neighbours
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # a dataclass looks itself up there
        spec.loader.exec_module(module)
        return module

    return load
