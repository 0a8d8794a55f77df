"""A comparison in words, and as Markdown."""

from __future__ import annotations

from onnxpress.watching.compare import Comparison, Estimate, Figure, scored_alike
from onnxpress.watching.profile import Profile

__all__ = ["introduction", "markdown", "told"]


def introduction(comparison: Comparison) -> str:
    """What was compared, and by what."""
    baseline, current = comparison.baseline, comparison.current
    alike = scored_alike(baseline, current)
    left_out = "" if alike else " A first stage answered in one of them alone: scores and margins are not compared."
    return (
        f"{comparison.baseline.texts:,} texts in the baseline, {comparison.current.texts:,} now. Drift is a population "
        f"stability index above {comparison.limit:g}; the intervals hold with {comparison.confidence:.4g} confidence, "
        f"all of them together.{left_out}"
    )


def told(estimate: Estimate) -> str:
    """A figure and its interval."""
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def markdown(comparison: Comparison) -> str:
    """The comparison as a page of Markdown."""
    baseline, current = comparison.baseline, comparison.current
    lines = [
        f"# {comparison.verdict.capitalize()}",
        "",
        introduction(comparison),
        "",
        "| figure | population stability index | Jensen-Shannon distance | |",
        "|---|---|---|---|",
        *(
            f"| {_cell(figure.name)} | {told(figure.psi)} | {told(figure.distance)} | {figure.verdict} |"
            for figure in comparison.figures
        ),
        "",
        "| share | baseline | now |",
        "|---|---|---|",
        *(f"| {name} | {one} | {two} |" for name, one, two in _shares(baseline, current)),
    ]
    for figure in comparison.figures:
        if figure.verdict != "no drift":
            lines += ["", *_groups(figure)]
    return "\n".join(lines) + "\n"


def _groups(figure: Figure) -> list[str]:
    return [
        f"| {_cell(figure.name)} | baseline | now |",
        "|---|---|---|",
        *(f"| {_cell(group.name)} | {group.baseline:.1%} | {group.current:.1%} |" for group in figure.groups),
    ]


def _shares(baseline: Profile, current: Profile) -> list[tuple[str, str, str]]:
    """What is told and not judged: it follows from the rest, or depends on the engine's settings."""
    both = (baseline, current)
    counts = {"texts that were cut": [profile.cut for profile in both]}
    counts["texts in windows"] = [profile.in_windows for profile in both]
    for stage in dict.fromkeys([*baseline.answered, *current.answered]):
        counts[f"answered by {stage}"] = [profile.answered.get(stage, 0) for profile in both]
    rows = {
        name: [count / profile.texts for count, profile in zip(found, both, strict=True)]
        for name, found in counts.items()
    }
    if baseline.unknown_shares is not None and current.unknown_shares is not None:
        rows["tokens that are unknown"] = [profile.unknown_tokens / max(1, profile.tokens) for profile in both]
    return [(_cell(name), f"{one:.2%}", f"{two:.2%}") for name, (one, two) in rows.items()]


def _cell(text: str) -> str:
    """`text` as it may stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")
