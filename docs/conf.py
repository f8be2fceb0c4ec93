"""Configuration of Sphinx. Build: make docs"""

from importlib.metadata import version as installed

project = "embedding_assets"
author = "the embedding_assets developers"
release = installed("embedding-assets")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"embedding_assets {release}"

# Links to headings, also between pages.
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
