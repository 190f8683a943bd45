"""Sphinx: the pages in this folder, and what reference.py makes of the program itself."""

import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import dsm_hpc

sys.path.insert(0, str(Path(__file__).parent))
import reference

project = "dsm_hpc"
author = "The dsm_hpc developers"
project_copyright = author
version = release = dsm_hpc.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.doctest", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"dsm_hpc {release}"
html_show_copyright = False

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
highlight_language = "none"

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
# Arrays and classes of other packages are named, not linked: nothing is fetched while the pages are built.
nitpick_ignore_regex = [("py:.*", r"(?!dsm_hpc).*")]


def setup(app: Sphinx) -> None:
    app.connect("source-read", _fill)
    app.connect("env-get-outdated", _generated)


def _fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Puts generated text where a page asks for it."""
    source[0] = reference.filled(source[0])


def _generated(app: Sphinx, env: BuildEnvironment, *_: object) -> list[str]:
    """Pages that must be read again although their own text is as it was."""
    return [page for page in env.found_docs if reference.asks(Path(env.doc2path(page)).read_text())]
