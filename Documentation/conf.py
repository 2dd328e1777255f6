# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Sphinx settings. `make docs` renders these files into build/docs, where every warning is an error."""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

project = "ivshmem-rs"
copyright = "the authors of ivshmem-rs"
author = "the authors of ivshmem-rs"
# The version stands in one place, the Cargo workspace.
release = re.search(r'(?m)^version = "(.+)"', Path("../tools/Cargo.toml").read_text())[1]
version = release

extensions = ["sphinx_copybutton", "sphinx.ext.graphviz"]
root_doc = "index"
nitpicky = True
# Of C and Linux, not of these headers.
nitpick_ignore_regex = [("c:identifier", "(__)?[us](8|16|32|64)|u?int(32|64)_t|size_t|timespec|va_list")]
# Most literal blocks are commands or messages; those in a language say so.
highlight_language = "none"
graphviz_output_format = "svg"

html_theme = "furo"
html_title = f"ivshmem-rs {version}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False

# `make man`: the reference pages that people look for by `man`.
man_pages = [
    ("userspace-api", "ivshmem", "shared memory and doorbells between virtual machines, /dev/ivshmemN", author, 4),
    ("libivshmem", "libivshmem", "/dev/ivshmemN for C and C++", author, 3),
    ("libivshmem_channel", "libivshmem_channel", "channels between virtual machines for C and C++", author, 3),
]

# What else there are manual pages of; the programs make theirs themselves.
programs = ["ivshmemctl(1)", "ivshmem-server(8)"]


def refer_as_manual_pages_do(app, doctree):
    """Manual pages refer to each other by name and section, also at their end, and to other pages of the manual by title."""
    pages = {source: f"{name}({section})" for source, name, _, _, section in man_pages}
    if app.builder.name != "man" or app.env.docname not in pages:
        return
    for reference in list(doctree.findall(addnodes.pending_xref)):
        if reference["reftype"] != "doc" or reference["refexplicit"]:
            continue
        page = pages.get(reference["reftarget"])
        reference.replace_self(nodes.strong(text=page) if page else nodes.emphasis("", "", reference.deepcopy()))
    others = [page for source, page in pages.items() if source != app.env.docname]
    end = nodes.section("", nodes.title(text="See also"), nodes.paragraph(text=", ".join(others + programs)), ids=["see-also"])
    next(doctree.findall(nodes.section)).append(end)


def setup(app):
    app.connect("doctree-read", refer_as_manual_pages_do)
