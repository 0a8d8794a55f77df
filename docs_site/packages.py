"""The packages and what they import, as they are in the source, and a drawing of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

__all__ = ["Package", "draw_packages", "packages_of"]

ROOT: Final = Path(__file__).parents[1]
SOURCES: Final = {"engine": "onnxpress", "export": "onnxpress_export", "bench": "onnxpress_bench"}

_BOX_WIDTH, _BOX_HEIGHT = 132, 34
_LAYER, _TOP, _EDGE = 92, 44, 16
_STYLE: Final = """\
<style>
.frame{fill:none;stroke:#8888} .box{fill:#0072b222;stroke:#0072b2} .arrow{fill:none;stroke:#8889}
.up{stroke-dasharray:4 4} text{fill:#777} .root{font-weight:600}
</style>"""


@dataclass(frozen=True, slots=True)
class Package:
    """A package, without those inside it.

    Attributes:
        name: As it is imported.
        imports: The packages that its modules import as they are loaded, but for its own.
    """

    name: str
    imports: frozenset[str]

    @property
    def root(self) -> str:
        """The package that is installed."""
        return self.name.partition(".")[0]


def packages_of(root: Path = ROOT) -> list[Package]:
    """Every package of the three source roots, by name."""
    folders = {
        ".".join(path.parent.relative_to(root / source).parts): path.parent
        for source, package in SOURCES.items()
        for path in (root / source / package).rglob("__init__.py")
    }
    found = []
    for name, folder in sorted(folders.items()):
        # What a root's own __init__ offers to its users comes from all over it.
        outside = ("__init__.py", "__main__.py") if "." not in name else ()
        modules = [path for path in folder.glob("*.py") if path.name not in outside]
        imported = {target for module in modules for target in _imports(ast.parse(module.read_text(encoding="utf-8")))}
        owners = {_owner(target, folders) for target in imported}
        found.append(Package(name, frozenset(owner for owner in owners if owner and owner != name)))
    return found


def draw_packages(packages: Sequence[Package]) -> str:
    """An SVG: the installed packages beside each other, in each of them what imports above what is imported.

    Arrows are for imports within an installed package. Of those that import each other, by way of others too, the
    lower one is that which more packages import than it imports itself; arrows that go up are dashed.
    """
    down = {package.name: _lower(package, packages) for package in packages}
    layers = {name: _layer(name, down) for name in down}
    roots = list(dict.fromkeys(package.root for package in sorted(packages, key=lambda one: one.root != "onnxpress")))
    places: dict[str, tuple[float, float]] = {}
    frames: list[str] = []
    left = float(_EDGE)
    deepest = max(layers.values())
    for root in roots:
        mine = [package.name for package in packages if package.root == root]
        rows = [[name for name in mine if layers[name] == layer] for layer in range(deepest + 1)]
        widest = max(len(row) for row in rows)
        width = widest * (_BOX_WIDTH + _EDGE) + _EDGE
        high = _TOP + _LAYER * (deepest + 1) - 20
        frames.append(
            f'<rect class="frame" x="{left:g}" y="8" width="{width:g}" height="{high:g}" rx="8"/>'
            f'<text class="root" x="{left + 12:g}" y="30">{escape(root)}</text>'
        )
        for layer, row in enumerate(rows):
            start = left + (width - len(row) * (_BOX_WIDTH + _EDGE) + _EDGE) / 2
            for number, name in enumerate(row):
                places[name] = (start + number * (_BOX_WIDTH + _EDGE), _TOP + _LAYER * (deepest - layer))
        left += width + 2 * _EDGE
    arrows = [
        _arrow(places[package.name], places[target], "arrow" if target in down[package.name] else "arrow up")
        for package in packages
        for target in sorted(_within(package))
    ]
    boxes = [_box(name, *place) for name, place in places.items()]
    height = _TOP + _LAYER * (deepest + 1)
    size = f'viewBox="0 0 {left:g} {height:g}" role="img" font-family="system-ui, sans-serif" font-size="13"'
    opened = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    title = f"<title>{escape(_spoken(packages))}</title>"
    return "\n".join([opened, title, _STYLE, *frames, *arrows, *boxes, "</svg>", ""])


def _imports(tree: ast.Module) -> Iterator[str]:
    """What is imported as the module is loaded: neither in functions nor for type checkers alone."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _owner(target: str, folders: dict[str, Path]) -> str | None:
    """The package that holds the module of the name `target`, or whose name it is; None for what is another's."""
    parts = target.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in folders), None)


def _within(package: Package) -> set[str]:
    """What it imports of its own root."""
    return {target for target in package.imports if target.partition(".")[0] == package.root}


def _lower(package: Package, packages: Sequence[Package]) -> set[str]:
    """What it imports of its own root, without what stands above it though it imports that."""
    by_name = {one.name: one for one in packages}

    def weight(one: Package) -> tuple[int, str]:
        return sum(one.name in _within(other) for other in packages) - len(_within(one)), one.name

    return {
        target
        for target in _within(package)
        if not (package.name in _reached(target, by_name) and weight(package) > weight(by_name[target]))
    }


def _reached(name: str, by_name: dict[str, Package]) -> set[str]:
    """What it imports of its own root, by way of others too."""
    found, left = set[str](), [name]
    while left:
        new = _within(by_name[left.pop()]) - found
        found |= new
        left += new
    return found


def _layer(name: str, down: dict[str, set[str]]) -> int:
    """0 for a package that is above no other, else one more than the highest below it."""
    return 1 + max((_layer(one, down) for one in down[name]), default=-1)


def _box(name: str, x: float, y: float) -> str:
    _, _, inner = name.partition(".")
    words = escape(inner) if inner else "its own modules"
    return (
        f'<rect class="box" x="{x:g}" y="{y:g}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="5"/>'
        f'<text x="{x + _BOX_WIDTH / 2:g}" y="{y + 22:g}" text-anchor="middle">{words}</text>'
    )


def _arrow(source: tuple[float, float], target: tuple[float, float], kind: str) -> str:
    x1, y1 = source[0] + _BOX_WIDTH / 2, source[1] + _BOX_HEIGHT
    x2, y2 = target[0] + _BOX_WIDTH / 2, target[1]
    if y2 < y1:
        y1, y2 = y1 - _BOX_HEIGHT, y2 + _BOX_HEIGHT
        return f'<path class="{kind}" d="M{x1:g} {y1:g}C{x1:g} {y1 - 36:g} {x2:g} {y2 + 36:g} {x2:g} {y2:g}"/>'
    return f'<path class="{kind}" d="M{x1:g} {y1:g}C{x1:g} {y1 + 36:g} {x2:g} {y2 - 36:g} {x2:g} {y2:g}"/>'


def _spoken(packages: Sequence[Package]) -> str:
    return "; ".join(
        f"{package.name} imports {', '.join(sorted(package.imports))}" for package in packages if package.imports
    )


if __name__ == "__main__":
    print(draw_packages(packages_of()))
