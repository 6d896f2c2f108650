"""The documentation site: `make docs` builds it. Nothing is fetched while it is built."""

import os
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

# the same pages on machines with and without a GPU
os.environ.setdefault("XRNN_BACKEND", "numpy")

import xrnn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for docstrings.py
os.environ["PATH"] = (
    f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # for `xrnn --help`
)
os.environ["COLUMNS"] = "76"

project = "xrnn"
version = release = xrnn.__version__
copyright = "the authors of xrnn"
root_doc = "index"
exclude_patterns = [
    "examples",
    "gallery/*.ipynb",
    "gallery/*.py",
    "gallery/*.zip",
    "sg_execution_times.rst",
]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.programoutput",
    "docstrings",
    "links",
]
without_torch = not find_spec("torch")
if without_torch:
    autodoc_mock_imports = ["torch"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = True
default_role = "py:obj"


def inventory(name: str) -> str:
    """The path of an inventory. Those in text form list the names that this site uses; Sphinx wants them compressed."""
    text = HERE / "inventories" / f"{name}.txt"
    if not text.exists():
        return str(HERE / "inventories" / f"{name}.inv")
    packed = HERE.parent / "build" / f"{name}.inv"
    packed.parent.mkdir(exist_ok=True)
    head, names = text.read_bytes().split(b"\n\n", 1)
    packed.write_bytes(head + b"\n" + zlib.compress(names))
    return str(packed)


intersphinx_mapping = {
    "python": ("https://docs.python.org/3", inventory("python")),
    "numpy": ("https://numpy.org/doc/stable", inventory("numpy")),
    "sklearn": ("https://scikit-learn.org/stable", inventory("sklearn")),
    "cupy": ("https://docs.cupy.dev/en/stable", inventory("cupy")),
    "torch": ("https://docs.pytorch.org/docs/stable", inventory("torch")),
}

sphinx_gallery_conf = {
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("xrnn",),
    "thumbnail_size": (640, 400),
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"__init__\.py|plot_torch" if without_torch else r"__init__\.py",
    "download_all_examples": False,
    "show_signature": False,
    "abort_on_example_error": True,
    "reset_modules": (),
}

html_theme = "pydata_sphinx_theme"
html_title = "xrnn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
templates_path = ["_templates"]
html_show_sourcelink = False
html_sidebars = {
    page: []
    for page in (
        "fit",
        "install",
        "errors",
        "speed",
        "glossary",
        "changelog",
        "contributing",
        "help",
    )
}
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["about"],
    "footer_end": ["links"],
    "show_prev_next": False,
}
