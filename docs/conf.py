"""How Sphinx builds the site: `make -C docs html`."""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

DOCS = Path(__file__).parent
# what is documented is this checkout, and the notebooks run it; the CPU is enough
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(DOCS.parent), str(DOCS / "_ext"), os.environ.get("PYTHONPATH", "")]
)
# programs that two pages compile are compiled once, and not again in the next build
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(DOCS / "_build" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

project = "jaxnoise"
author = "The jaxnoise authors"
copyright = f"2026, {author}"
release = version = installed("jaxnoise")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "api_pages",
    "laws_pages",
    "results_pages",
]
exclude_patterns = ["_build", "README.md", "gallery/*.md5", "**/*.ipynb", "noises/*"]
default_role = "py:obj"
suppress_warnings = [
    # results are written by programs whose headings and languages are their own
    "myst.header",
    "misc.highlighting_failure",
    # a configuration with functions cannot be pickled; it is read again instead
    "config.cache",
]
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 70

# autodoc shows defaults and types as `api_pages` writes them
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_attr_annotations = False
napoleon_use_rtype = False
napoleon_numpy_docstring = False
doctest_test_doctest_blocks = "default"

# pages with code cells are notebooks: they run when they have changed
nb_execution_mode = "force"
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": str(DOCS / "noises"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"/_",
    "reference_url": {"jaxnoise": None},
    "within_subsection_order": "FileNameSortKey",
    "capture_repr": (),
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("jaxnoise",),
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "download_all_examples": False,
    "copyfile_regex": r"",
    "abort_on_example_error": True,
    "plot_gallery": True,
    "matplotlib_animations": False,
}

html_theme = "sphinx_book_theme"
html_title = f"jaxnoise {release}"
html_static_path = ["_static"]
html_css_files = ["jaxnoise.css"]
html_favicon = "_static/favicon.svg"
html_logo = "_static/logo.svg"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "repository_url": "https://github.com/jaxnoise/jaxnoise",
    "use_repository_button": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navbar_persistent": [],
    "logo": {"text": "jaxnoise", "alt_text": "jaxnoise"},
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
