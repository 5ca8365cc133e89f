"""Sphinx settings."""

from typing import Any

from sphinx.application import Sphinx

import rlfl_envs

project = "rlfl-envs"
author = "The rlfl-envs authors"
copyright = "2026, The rlfl-envs authors"
version = release = rlfl_envs.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "_scripts"]

html_theme = "furo"
html_title = "rlfl-envs"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

default_role = "code"  # docstrings are read in editors and terminals: single backticks are code there too
autodoc_class_signature = "separated"
autodoc_member_order = "bysource"
autodoc_type_aliases = {name: name for name in ("NDArray", "Keys", "Tensor")}
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
autodoc_typehints_format = "short"
napoleon_attr_annotations = False  # the signature has them
napoleon_use_ivar = True
python_maximum_signature_line_length = 100
# The sections of a task's card.
napoleon_custom_sections = [
    ("Description", "Notes"),
    "Prompt",
    "Observation",
    "Action",
    "Reward",
    "Episode end",
    "Arguments",
    "Known exploits",
    "Version history",
    ("Source", "Notes"),
]


def join_at_colon(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Mends what napoleon takes apart: it reads "text: more" as "type: text", but our types are annotations."""
    for i, line in enumerate(lines):
        tag, _, text = line.partition(" ")
        if tag == ":type:" and what == "attribute":
            lines[0] = f"{text}: {lines[0]}"
        elif tag == ":rtype:":
            start = next(j for j, other in enumerate(lines) if other.startswith(":returns: "))
            lines[start] = lines[start].replace(":returns: ", f":returns: {text}: ", 1)
        else:
            continue
        del lines[i]
        return


def setup(app: Sphinx) -> None:
    """Registers the above, after napoleon's turn."""
    app.connect("autodoc-process-docstring", join_at_colon, priority=600)
