# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""What a Rust file of src/ changes when it becomes a file of a kernel tree: paths, visibility, macros.

A `Place` knows for each module of src/kapi where it goes below rust/kernel. In the `kernel` crate, paths begin with `crate::`,
what was visible to the module of the driver is public, and macros are exported. In the driver, only paths change.
"""

import re

# The trees of a file's imports: each `use` at the beginning of a line, but not those that have an attribute.
USES = re.compile(r"(?:(?<!\]\n)^use [^;]*;\n+)+", re.M)
COMMENT = re.compile(r"\s*//[^\n]*")


def leaves(tree):
    """The paths of `a::{b, c::d}`, as lists of names."""
    tree = COMMENT.sub("", tree)
    while inner := re.search(r"([\w:\s]*)\{([^{}]*)\}", tree):
        parts = [inner[1].strip() + part.strip() for part in inner[2].split(",") if part.strip()]
        tree = tree[:inner.start()] + ",".join(parts) + tree[inner.end():]
    return [part.strip().split("::") for part in tree.split(",") if part.strip()]


def order(name):
    """As rustfmt orders: self, modules and functions, types, constants."""
    word = name.removeprefix("r#")
    kind = 0 if word == "self" else 1 if word[0].islower() else 3 if word.upper() == word and len(word) > 1 else 2
    return kind, word


def show(name, below, depth):
    """One name of an import with what is below it, in the kernel's style: a line for each."""
    names = sorted(below, key=order)
    if not names:
        return name
    if len(names) == 1 and names != ["self"]:
        return f"{name}::{show(names[0], below[names[0]], depth)}"
    indent = "    " * depth
    lines = [f"{indent}    {show(part, below[part], depth + 1)}," for part in names]
    lines[-1] += " //" if names[-1] != "*" or len(names) > 1 else ""
    return f"{name}::{{\n" + "\n".join(lines) + f"\n{indent}}}"


def imports(paths):
    """The statements for `paths`: first `core`, then other crates, then the own one."""
    tree = {}
    for path in paths:
        node = tree
        for name in path:
            node = node.setdefault(name, {})
    mark_modules(tree, {tuple(path) for path in paths})
    groups = {0: [], 1: [], 2: []}
    for root in sorted(tree, key=order):
        group = {"core": 0, "super": 2}.get(root, 1 if root != "crate" or "kernel" not in tree else 2)
        groups[group].append(f"use {show(root, tree[root], 0)};\n")
    return "\n".join("".join(group) for group in groups.values() if group) + "\n"


def mark_modules(node, paths, above=()):
    """A module that is imported itself, and has names imported from it, is the `self` of these."""
    for name, below in list(node.items()):
        here = (*above, name)
        mark_modules(below, paths, here)
        if below and here in paths:
            below["self"] = {}


class Place:
    def __init__(self, modules, in_kernel):
        """`modules`: the path in the crate `kernel` of each module of src/kapi."""
        self.modules = modules
        self.in_kernel = in_kernel
        self.kernel = "crate" if in_kernel else "kernel"

    def path(self, path):
        """Where the import `path` of a file of src/ is found."""
        last, _, alias = path[-1].partition(" as ")
        found = self.place([*path[:-1], last])
        return [*found[:-1], f"{found[-1]} as {alias}"] if alias and alias != found[-1] else found

    def place(self, path):
        if path[:2] == ["crate", "kapi"] or (self.in_kernel and path[0] == "super"):
            rest = path[2:] if path[0] == "crate" else path[1:]
            return [self.kernel, *self.module(rest[0]).split("::"), *(name for name in rest[1:] if name != "self")]
        if path[-1] == "self":
            path = path[:-1]
        return [self.kernel, *path[1:]] if path[0] == "kernel" else path

    def module(self, name):
        if name not in self.modules:
            raise KeyError(f"src/kapi/{name} is used, and is not there: neither this patch nor one before brings it")
        return self.modules[name]

    def relocate(self, text):
        """The file as it is in its place."""
        text = USES.sub(self.uses, text)
        # Paths in the code.
        text = re.sub(r"(\$crate::|(?<![\w:])crate::|(?<![\w:$]))kapi::(\w+)",
                      lambda found: ("$crate::" if found[1] == "$crate::" else self.kernel + "::") + self.module(found[2]), text)
        if not self.in_kernel:
            return text
        text = re.sub(r"(?<!use )\bsuper::(\w+)(?=::)", lambda found: "crate::" + self.module(found[1]), text)
        text = re.sub(r"^(\s*)use kernel::", r"\1use crate::", text, flags=re.M)
        text = re.sub(r"(?<![\w:])::kernel::", "$crate::", text)
        text = re.sub(r"\bpub\((?:crate|super|in [\w:]+)\)", "pub", text)
        return re.sub(r"^macro_rules!", "#[macro_export]\nmacro_rules!", text, flags=re.M)

    def uses(self, block):
        trees = re.findall(r"use ([^;]*);", block[0])
        return imports([self.path(path) for tree in trees for path in leaves(tree)])
