# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Sphinx settings. `make docs` renders these files into build/docs, where every warning is an error."""

import re
from pathlib import Path

project = "ivshmem-rs"
copyright = "the authors of ivshmem-rs"
author = "the authors of ivshmem-rs"
# The version stands in one place, the Cargo workspace.
release = re.search(r'(?m)^version = "(.+)"', Path("../tools/Cargo.toml").read_text())[1]
version = release

extensions = []
root_doc = "index"
nitpicky = True
# Most literal blocks are commands or messages; those in a language say so.
highlight_language = "none"

html_theme = "alabaster"
html_theme_options = {
    "description": "Shared memory and doorbells between virtual machines",
    "fixed_sidebar": True,
    "page_width": "72rem",
    "body_max_width": "56rem",
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_show_sphinx = False
html_copy_source = False
