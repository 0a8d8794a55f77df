"""The main figures of a result as a picture for a README: one SVG for light pages and one for dark ones."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

import msgspec

from onnxpress.errors import ConfigError
from onnxpress_bench.result import BenchResult, SystemResult, read_result
from onnxpress_bench.statistics import median, percentile
from onnxpress_bench.table import throughput

__all__ = ["DARK", "LIGHT", "Shown", "ShownSystem", "Theme", "draw_picture", "encode_shown", "read_shown", "shown_of"]

_WIDTH: Final = 860
_NAMES: Final = 230  # pixels of the systems' names
_GAP: Final = 22
_VALUE: Final = 52  # pixels of a value behind the longest bar
_ROW: Final = 30
_TOP: Final = 46
_LINE: Final = 18
_LETTERS: Final = 32  # of a name
_NOTE_LETTERS: Final = 120
_SMALL: Final = ' font-size="12.5"'


class ShownSystem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A system's main figures.

    Attributes:
        name: What it is called.
        ours: Whether it is the engine.
        texts_per_second: All texts at once.
        p50_ms: Of a single request; None where it was not measured.
        cold_start_s: Process start to first answer.
    """

    name: str
    ours: bool
    texts_per_second: float
    p50_ms: float | None
    cold_start_s: float


class Shown(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a picture shows.

    Attributes:
        systems: From top to bottom, at least one.
        note: What was measured, on what.
    """

    systems: list[ShownSystem]
    note: str

    def __post_init__(self) -> None:
        if not self.systems:
            raise ValueError("a picture needs a system")


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """Colours, as CSS has them."""

    ink: str
    quiet: str
    ours: str
    others: str


LIGHT: Final = Theme(ink="#1b1b1f", quiet="#5b5b66", ours="#0072b2", others="#a9a9b4")
DARK: Final = Theme(ink="#ececf1", quiet="#a7a7b3", ours="#4db5f0", others="#62626e")

_PANELS: Final[tuple[tuple[str, str, Callable[[ShownSystem], float | None], str], ...]] = (
    ("texts a second", "longer is better", lambda system: system.texts_per_second, "{:,.0f}"),
    ("ms, single request, p50", "shorter is better", lambda system: system.p50_ms, "{:.2f}"),
    ("s to the first answer", "shorter is better", lambda system: system.cold_start_s, "{:.2f}"),
)


def shown_of(result: BenchResult, names: Sequence[str] = ()) -> Shown:
    """The figures of `result`, of the systems called `names`, in their order; of all without names.

    Raises:
        ConfigError: The result is void, or has no such system.
    """
    if result.is_void:
        raise ConfigError("this result is void: the machine told a system from itself. Measure again.")
    systems = {system.spec.name: system for system in result.systems}
    if unknown := [name for name in names if name not in systems]:
        raise ConfigError(f"{unknown[0]!r} is no system of this result. It has {', '.join(systems)}.")
    machine = result.machine
    libraries = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    where = f"{machine.cpu}, {machine.cpus} CPUs ({', '.join(machine.simd)})"
    return Shown(
        systems=[_shown(systems[name], result) for name in names or systems],
        note=f"{result.texts.count:,} texts; {where}; {libraries}.",
    )


def encode_shown(shown: Shown) -> bytes:
    """As indented UTF-8 JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(shown), indent=2) + b"\n"


def read_shown(path: Path, names: Sequence[str] = ()) -> Shown:
    """What is to be shown of the file at `path`: a result of `bench run`, or what `encode_shown` made of one.

    Raises:
        ConfigError: It is neither, or has no system called as one of `names`; or the result is void.
    """
    try:
        shown = msgspec.json.decode(path.read_bytes(), type=Shown)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. `onnxpress bench run … --output FILE` writes one.") from None
    except msgspec.MsgspecError:
        return shown_of(read_result(path), names)
    known = {system.name: system for system in shown.systems}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"{path}: {unknown[0]!r} is no system of this file. It has {', '.join(known)}.")
    return Shown(systems=[known[name] for name in names or known], note=shown.note)


def draw_picture(shown: Shown, theme: Theme) -> str:
    """An SVG document of its own, which fetches nothing."""
    note = textwrap.wrap(shown.note, _NOTE_LETTERS)
    bottom = _TOP + _ROW * len(shown.systems)
    height = bottom + 14 + _LINE * len(note)
    width = (_WIDTH - _NAMES) // len(_PANELS)
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    font = 'font-family="system-ui, sans-serif" font-size="14"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" {font}>',
        f"<title>{escape(_spoken(shown))}</title>",
    ]
    for row, system in enumerate(shown.systems):
        name = textwrap.shorten(system.name, _LETTERS, placeholder="…") if len(system.name) > _LETTERS else system.name
        weight = ' font-weight="600"' if system.ours else ""
        parts.append(_text(0, _middle(row), name, theme.ink, weight))
    for number, (title, better, read, form) in enumerate(_PANELS):
        left = _NAMES + number * width
        parts.append(_text(left, 18, title, theme.ink))
        parts.append(_text(left, 36, better, theme.quiet, _SMALL))
        values = [read(system) for system in shown.systems]
        longest = max((value for value in values if value is not None), default=1.0) or 1.0
        for row, (system, value) in enumerate(zip(shown.systems, values, strict=True)):
            long = 0.0 if value is None else (width - _GAP - _VALUE) * value / longest
            colour = theme.ours if system.ours else theme.others
            parts.append(
                f'<rect x="{left}" y="{_TOP + _ROW * row + 4}" width="{max(long, 1):.1f}" height="{_ROW - 10}" '
                f'rx="3" fill="{colour}"/>'
            )
            said = "–" if value is None else form.format(value)
            parts.append(_text(left + long + 7, _middle(row), said, theme.ink))
    parts += [_text(0, bottom + 14 + _LINE * line + 4, words, theme.quiet, _SMALL) for line, words in enumerate(note)]
    return "\n".join([*parts, "</svg>", ""])


def _shown(system: SystemResult, result: BenchResult) -> ShownSystem:
    single = system.of("single-stream")
    return ShownSystem(
        name=system.spec.name,
        ours=system.spec.kind == "engine",
        texts_per_second=round(throughput(system, result.texts.count), 1),
        p50_ms=None if single is None else round(percentile(single.latencies_ns(), 50) / 1e6, 3),
        cold_start_s=round(median(system.cold_start_ns) / 1e9, 3),
    )


def _spoken(shown: Shown) -> str:
    """The figures in words, for those who do not see them."""
    return "; ".join(
        f"{system.name}: {system.texts_per_second:,.0f} texts a second"
        + ("" if system.p50_ms is None else f", {system.p50_ms:.2f} ms for a single request")
        + f", {system.cold_start_s:.2f} s to the first answer"
        for system in shown.systems
    )


def _middle(row: int) -> int:
    return _TOP + _ROW * row + _ROW // 2 + 4


def _text(x: float, y: float, words: str, colour: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" fill="{colour}"{more}>{escape(words)}</text>'
