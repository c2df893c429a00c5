"""How Sphinx builds this site: `sphinx-build -W docs docs/_build/html`, from the root of the project.

Nothing is fetched: formulas become MathML, which browsers draw by themselves. The notebooks are copied into
`docs/tutorial/` and executed; `-D nb_execution_mode=off` leaves their outputs out and saves the time.
"""

import re
import shutil
from importlib.metadata import version as installed_version
from pathlib import Path

import numpy as np
from docutils import nodes
from sphinx.util.nodes import make_refnode

import tensorgrad as tg

DOCS = Path(__file__).parent
EXECUTED = """---
file_format: mystnb
kernelspec:
  language: python
  name: python3
---"""

project = "tensorgrad"
author = "the tensorgrad developers"
project_copyright = f"2026, {author}"
release = version = installed_version("tensorgrad-numpy")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "sphinx_copybutton"]
exclude_patterns = ["_build", "tutorial/.ipynb_checkpoints"]
nitpicky = True
smartquotes = False  # "same" is an argument, not a quotation
default_role = "autolink"  # `Dense` in a docstring is a link where there is such a name

autodoc_typehints = "none"  # shapes and dtypes stand in the docstrings, where they are easier to read
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 100

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_ipywidgets_js = {}  # widgets would fetch scripts from the network
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
html_math_renderer = "mathml"

html_theme = "pydata_sphinx_theme"
html_title = "tensorgrad"
html_static_path = ["_static"]
html_css_files = ["tensorgrad.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "navbar_persistent": [],
    "navbar_end": ["search-button", "theme-switcher"],
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def copy_notebooks(app):
    """The notebooks lie outside this folder, where Sphinx does not look. An unchanged copy is left alone."""
    notebooks = sorted((DOCS.parent / "notebooks").glob("*.ipynb"))
    for copy in (DOCS / "tutorial").glob("*.ipynb"):
        if copy.name not in {notebook.name for notebook in notebooks}:  # of one that was renamed
            copy.unlink()
    for notebook in notebooks:
        copy = DOCS / "tutorial" / notebook.name
        if not copy.exists() or copy.read_bytes() != notebook.read_bytes():
            shutil.copyfile(notebook, copy)


def link_to_copies(app, docname, source):
    """A link to a notebook leads to the file on GitHub, here to the page that its copy becomes; and back."""
    up = "../" * docname.count("/")
    source[0] = re.sub(r"\]\((?:\.\./)+notebooks/(?=[\w-]+\.ipynb\))", f"]({up}tutorial/", source[0])
    source[0] = source[0].replace("](../docs/", f"]({up}")


def uncover(app, docname, source):
    """What is for this site alone stands in comments, so that pages read well as plain Markdown."""
    source[0] = re.sub(r"^<!--\n(```\{.*?^```)\n-->", r"\1", source[0], flags=re.MULTILINE | re.DOTALL)
    if source[0].startswith("<!-- executed -->"):  # a page whose blocks show what they give
        cells = source[0].replace("```python\n", "```{code-cell} python\n")
        source[0] = cells.replace("<!-- executed -->", EXECUTED, 1)


def leave_out_progress_bars(app, doctree):
    """Without its script, the widget of a progress bar is the text of its beginning, which tells nothing."""
    for block in list(doctree.findall(nodes.literal_block)):
        if re.match(r"\s*(?:[^\n]*: *)? *0%\|[^\n]*\s*$", block.astext()):
            block.parent.remove(block)


def name_the_examples(app, what, name, obj, options, lines):
    """Docstrings end with an example; numpydoc wants a heading over it."""
    first = next((i for i, line in enumerate(lines) if line.startswith(">>> ")), None)
    if first is not None and "Examples" not in lines:
        lines[first:first] = ["Examples", "--------", ""]


def show_arrays_alone(app, what, name, obj, options, signature, returned):
    """The options of NumPy's ufuncs (out, where, dtype) are not for tensors; their arrays are."""
    if isinstance(getattr(obj, "forward", None), np.ufunc):
        return f"({', '.join(obj.arrays)})", None
    return None


def link_to_numpy(app, env, node, content):
    """`numpy.sin` leads to NumPy's own page of it."""
    target = node.get("reftarget", "")
    if not target.startswith("numpy."):
        return None
    page = f"https://numpy.org/doc/stable/reference/generated/{target}.html"
    return nodes.reference("", "", content, internal=False, refuri=page)


def link_by_last_name(app, env, node, content):
    """`Training` leads to tensorgrad.nn.Training from every page; what no page has stays without a link."""
    if node.get("reftype") != "obj":
        return None
    found = env.domains.python_domain.find_obj(env, None, None, node["reftarget"], None, searchmode=1)
    if len(found) != 1:
        return content
    name, entry = found[0]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)


def visit_math(translator, node):
    """Inline and displayed formulas as MathML: no script, no font and no network needed."""
    from latex2mathml.converter import convert

    displayed = isinstance(node, nodes.math_block)
    translator.body.append(convert(node.astext(), display="block" if displayed else "inline"))
    raise nodes.SkipNode


def write_playground(app, exception):
    """The page that the home page and the one of the playground show in a frame."""
    if exception is None and app.builder.format == "html":
        tg.playground(path=Path(app.outdir) / "spirals-and-digits.html")


def setup(app):
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.connect("builder-inited", copy_notebooks)
    app.connect("source-read", link_to_copies)
    app.connect("source-read", uncover)
    app.connect("doctree-read", leave_out_progress_bars)
    app.connect("autodoc-process-docstring", name_the_examples, priority=400)  # before numpydoc's
    app.connect("autodoc-process-signature", show_arrays_alone)
    app.connect("missing-reference", link_to_numpy)
    app.connect("missing-reference", link_by_last_name)
    app.connect("build-finished", write_playground)
