"""A gate's result for people and for CI: plain text, GitHub-flavoured Markdown, JUnit XML."""

from __future__ import annotations

from xml.etree import ElementTree

from onnxpress_bench.gate.decision import Finding, GateResult
from onnxpress_bench.statistics import Ratio

__all__ = ["junit", "markdown", "sentence"]


def sentence(result: GateResult, finding: Finding) -> str:
    """One line on one metric."""
    slowdown = finding.slowdown
    return (
        f"{finding.verdict}: {finding.metric} takes {slowdown.value:.3f} times as long "
        f"[{_ends(slowdown, ', ')}]; {result.limit:.3f} is the limit"
    )


def markdown(result: GateResult) -> str:
    """A heading, a table, and the notes."""
    rows = [
        f"| {finding.metric} | {finding.slowdown.value:.3f}× | {_ends(finding.slowdown, ' … ')} | {finding.verdict} |"
        for finding in result.findings
    ]
    head = ["| metric | slowdown | interval | |", "|---|---:|---:|---|"]
    title = f"### Performance: {result.verdict} (limit {result.limit:.3f}×)"
    sides = f"`{result.candidate}` against `{result.baseline}`, {result.seconds:.0f} s."
    return "\n".join([title, "", sides, "", *head, *rows, "", *(f"- {note}" for note in result.notes)]) + "\n"


def junit(result: GateResult) -> str:
    """A test suite of one case a metric: a regression fails, an inconclusive one is an error."""
    counts = {verdict: sum(f.verdict == verdict for f in result.findings) for verdict in ("regression", "inconclusive")}
    suite = ElementTree.Element(
        "testsuite",
        name="onnxpress bench compare",
        tests=str(len(result.findings)),
        failures=str(counts["regression"]),
        errors=str(counts["inconclusive"]),
        time=f"{result.seconds:.1f}",
    )
    for finding in result.findings:
        case = ElementTree.SubElement(suite, "testcase", classname="onnxpress.bench", name=finding.metric)
        if finding.verdict != "pass":
            tag = "failure" if finding.verdict == "regression" else "error"
            ElementTree.SubElement(case, tag, message=sentence(result, finding)).text = "\n".join(result.notes)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _ends(slowdown: Ratio, between: str) -> str:
    if slowdown.low is None or slowdown.high is None:
        return "no interval of one repetition"
    return f"{slowdown.low:.3f}{between}{slowdown.high:.3f}"
