"""Sphinx settings."""

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
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
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
