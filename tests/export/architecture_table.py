"""The tables of docs/architectures.md: what an export makes of every model type of the installed transformers.

`python -m tests.export.architecture_table TASK` exports a tiny classifier of each, with weights large enough that each
term matters, and writes the task's table; `python -m tests.export.architecture_table TASK TYPE…` writes the rows of
some, and leaves the others.
"""

from __future__ import annotations

import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from onnxpress import OnnxpressError
from onnxpress.artifacts.manifest import Task
from onnxpress_export import export
from onnxpress_export.graph_census import attention_count
from tests.export.zoo import MODEL_CLASSES, MODEL_TYPES, tiny_classifier, tiny_tokenizer

__all__ = ["STATES", "State", "read_table", "state_of"]

STATES = ("torch cannot build it small", "refused", "exact, unfused", "exact and fused")
"""From the worst to the best."""

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
_MARKS: dict[Task, tuple[str, str]] = {
    "text-classification": ("<!-- every type: begin -->", "<!-- every type: end -->"),
    "token-classification": ("<!-- every type of tokens: begin -->", "<!-- every type of tokens: end -->"),
}
_ROW = re.compile(r"\| `([^`]+)` \| ([^|]+) \| ([^|]*) \|")


@dataclass(frozen=True, slots=True)
class State:
    """One row.

    Attributes:
        name: Of `STATES`.
        detail: Attentions, or the reason.
    """

    name: str
    detail: str


def state_of(model_type: str, directory: Path, task: Task = "text-classification") -> State:
    """Export a tiny classifier of `model_type` in `directory`. Raises what is no error of the project's own."""
    tokenizer = tiny_tokenizer(model_type)
    checkpoint = directory / "checkpoint"
    try:
        tiny_classifier(model_type, len(tokenizer), task).save_pretrained(checkpoint)
        tokenizer.save_pretrained(checkpoint)
        MODEL_CLASSES[task].from_pretrained(checkpoint)
    except Exception as error:  # transformers' own code for each type
        return State(STATES[0], _short(error))
    try:
        report = export(checkpoint, directory / "artifact")
    except OnnxpressError as error:
        name = STATES[0] if "torch itself cannot run" in str(error) else STATES[1]
        says = str(error).removeprefix(f"{checkpoint}: ").removeprefix("checkpoint: ")
        return State(name, _short(says))
    unfused = report.manifest.provenance.unfused_attentions
    fused = attention_count(report.manifest.variants[0].cpu.operators)
    notes = [note for note in report.manifest.provenance.notes if "not fused" not in note]
    detail = "; ".join([f"{fused} of {fused + unfused} attentions" if fused + unfused else "no attention", *notes])
    return State(STATES[2] if unfused else STATES[3], detail)


def read_table(page: str, task: Task = "text-classification") -> dict[str, State]:
    """The rows of the page's table of `task` by model type."""
    begin, end = _MARKS[task]
    table = page[page.index(begin) : page.index(end)]
    return {found[1]: State(found[2].strip(), found[3].strip()) for found in _ROW.finditer(table)}


def write_table(page: str, states: dict[str, State], task: Task = "text-classification") -> str:
    """`page` with `states` in place of its table of `task`."""
    rows = [f"| `{model_type}` | {state.name} | {state.detail} |" for model_type, state in sorted(states.items())]
    counts = {name: sum(state.name == name for state in states.values()) for name in STATES}
    said = ", ".join(f"{counts[name]} {name}" for name in reversed(STATES))
    table = "\n".join(["| model type | state | |", "|---|---|---|", *rows])
    marks = _MARKS[task]
    begin, end = page.index(marks[0]) + len(marks[0]), page.index(marks[1])
    return f"{page[:begin]}\n{len(states)} types: {said}.\n\n{table}\n{page[end:]}"


def _short(error: object) -> str:
    return re.sub(r"[|`\s]+", " ", str(error)).strip()[:160]


def main(task: Task, types: list[str]) -> None:
    """Write the rows of `types`, or of all, each as soon as it is known, so that a walk may end early."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for model_type in types or MODEL_TYPES[task]:
        with TemporaryDirectory() as directory:
            state = state_of(model_type, Path(directory), task)
        print(model_type, state, flush=True)
        page = PAGE.read_text()
        rows = {name: row for name, row in read_table(page, task).items() if name in MODEL_TYPES[task]}
        PAGE.write_text(write_table(page, rows | {model_type: state}, task))


if __name__ == "__main__":
    main(*[task for task in MODEL_TYPES if task == sys.argv[1]], sys.argv[2:])
