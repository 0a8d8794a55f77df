"""The engine's folders import each other one way."""

from __future__ import annotations

from docs_site.packages import packages_of

OPEN_TO_ALL = "onnxpress"
"""Errors and settings, which all may name; and what joins the folders, which none of them does."""


def test_no_folder_imports_what_imports_it() -> None:
    imports = {
        package.name: {name for name in package.imports if name != OPEN_TO_ALL}
        for package in packages_of()
        if package.root == OPEN_TO_ALL and package.name != OPEN_TO_ALL
    }
    assert {"onnxpress.sessions", "onnxpress.running", "onnxpress.tasks"} <= imports.keys()
    done = set[str]()
    while ready := {name for name, needed in imports.items() if needed <= done} - done:
        done |= ready
    assert done == imports.keys(), f"in a circle, or above one: {sorted(imports.keys() - done)}"
