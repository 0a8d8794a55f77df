"""A first stage: taught, given a margin on texts that it was not taught on, and measured on texts that nothing saw."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxpress.answers.budget import clopper_pearson_upper
from onnxpress.answers.fidelity import Answers, Decision
from onnxpress.answers.predictions import activate
from onnxpress.artifacts.cascade_record import FIRST_STAGE_NAME, Cascade, CascadeChanged
from onnxpress.artifacts.manifest import Variant
from onnxpress.hardware.machine import saturates
from onnxpress.inputs.encoder import TokenRows
from onnxpress.running.first_stage import FirstStage, Tables, write_tables
from onnxpress_export.precision.recheck import keeps_budget
from onnxpress_export.precision.sample import HELPING, Sample
from onnxpress_export.precision.student import teach
from onnxpress_export.precision.trial import Trial
from onnxpress_export.variants import Fp32, Lower

__all__ = [
    "add_first_stage",
    "calibrated",
    "first_logits",
    "least_margin",
    "measure_cascade",
    "relative_cost",
    "texts_to_find_a_margin",
]

_LEAST_SHARE: Final = 0.05
"""Of texts that it must answer, and be it for nothing: it takes memory and a part of the budget."""
_PAYS: Final = 2.0
"""How many times the share that it answers must be what it takes of the time: it is measured on a machine that may be
busy, and texts that go on are batched anew."""
_MOST_HELD: Final = 10**6
_STEP: Final = 1.02
_TEXTS_TO_TIME: Final = 512
_ROUNDS: Final = 5
_TEMPERATURES: Final = np.geomspace(0.1, 10, 81)


def add_first_stage(source: Fp32, lower: Lower) -> tuple[Cascade | None, tuple[str, ...]]:
    """Write a first stage before what is in `lower`, or before fp32.

    Returns the cascade, and why there is no first stage in it where it was left out.
    """
    int8 = next((variant for variant in lower.variants if variant.precision == "int8"), None)
    sample = _still_unseen(source.sample, int8)
    source.on_step(f"teaching a first stage on {len(sample.taught):,} texts")
    tables = _taught(source, sample)
    source.on_step("finding the margin from which the first stage is sure")
    limit = 0.0 if lower.cascade is None else lower.cascade.thresholds["int8"]
    held, behind = _with_and_behind(source, sample.held_rows, int8)
    tables = calibrated(tables, sample.held_rows, held)
    first = first_logits(tables, sample.held_rows)
    if (needed := texts_to_find_a_margin(source.budget, at_least=len(sample.held))) > len(sample.held):
        return lower.cascade, (_too_few_held(len(sample.held), needed, source.budget),)
    cost = relative_cost(tables, sample.held_rows, source, int8)
    margin = least_margin(held, first, _rechecked(held, behind, limit), budget=source.budget, unseen=len(sample.unseen))
    share = 0.0 if margin is None else float((held.decision.margins(first) >= margin).mean())
    if margin is None or share < max(_LEAST_SHARE, _PAYS * cost):
        return lower.cascade, (_too_few(share, cost, source.budget, len(sample.taught)),)
    source.on_step("measuring the first stage on unseen texts")
    answers, behind = _with_and_behind(source, sample.unseen_rows, int8)
    cascade = measure_cascade(
        answers,
        first_logits(tables, sample.unseen_rows),
        behind,
        thresholds={"first": margin} if int8 is None else {"first": margin, "int8": limit},
        before=lower.cascade,
        taught=len(sample.taught),
    )
    found = cascade.changed
    if found.changed > source.budget * found.texts:
        return lower.cascade, (_too_many(found, source.budget),)
    (source.directory / FIRST_STAGE_NAME).write_bytes(write_tables(tables))
    return cascade, ()


def first_logits(tables: Tables, rows: TokenRows) -> NDArray[np.float32]:
    """What a first stage of `tables` answers, float32 [rows, labels]."""
    stage = FirstStage(tables)
    return np.concatenate([stage.run(rows, bucket) for bucket in stage.plan(rows.lengths, 1)])


def texts_to_find_a_margin(budget: float, *, at_least: int) -> int:
    """How many texts find a margin, and measure it, in `budget`, where not one of them changes; `at_least` and more.

    With fewer the one that `least_margin` takes to have changed leaves the unseen ones too small a chance. A budget of
    nothing is never kept so: the number has no end then, and is told as the largest that is tried.
    """
    texts = at_least
    while texts < _MOST_HELD and not keeps_budget(0.0, 1 / texts, budget=budget, unseen=texts):
        texts = math.ceil(texts * _STEP)
    return texts


def relative_cost(tables: Tables, rows: TokenRows, source: Fp32, int8: Variant | None) -> float:
    """What a first stage of `tables` takes of the time that what is behind it takes for the same texts, on one CPU."""
    trial = replace(Trial(rows, source.directory), first=_TEXTS_TO_TIME)
    model = source.cpu
    if int8 is not None:
        model = ir.load(Path(source.directory, int8.cpu.file))
        trial = replace(trial, saturates=saturates(int8.target))
    stage, taken = FirstStage(tables), []
    for _ in range(_ROUNDS):
        begin = perf_counter()
        for bucket in stage.plan(rows.lengths[:_TEXTS_TO_TIME], 1):
            stage.run(rows, bucket)
        taken.append(perf_counter() - begin)
    return float(np.median(taken)) / trial.seconds(model, rounds=_ROUNDS)


def calibrated(tables: Tables, rows: TokenRows, answers: Answers) -> Tables:
    """`tables` whose scores are nearest to those of `answers`, on the half of `rows` that they are surest of."""
    logits = first_logits(tables, rows)
    margins = answers.decision.margins(logits)
    sure = margins >= np.median(margins)
    activation = answers.decision.activation
    wanted = activate(answers.logits[sure], activation)
    distances = [np.square(activate(logits[sure] * np.float32(t), activation) - wanted).mean() for t in _TEMPERATURES]
    best = np.float32(_TEMPERATURES[int(np.argmin(distances))])
    return replace(tables, scales=tables.scales * best, bias=tables.bias * best)


def least_margin(
    answers: Answers, first: NDArray[np.float32], behind: NDArray[np.float32], *, budget: float, unseen: int
) -> float | None:
    """The smallest margin from which `first` may answer so that all answers together keep the budget; None without one.

    A count says what it does: unlike that of a lower precision, the noise of a first stage is as large as its margins,
    and largest where these are small. So that it is no lucky count, one more text is taken to have changed.

    Args:
        answers: The model's, on texts that the first stage was not taught on.
        first: What it answers to them, float32 [texts, labels].
        behind: What answers where it does not, float32 [texts, labels].
        budget: Share of answers that may change.
        unseen: Texts that will judge it.
    """
    margins, total = answers.decision.margins(first), len(first)
    order = np.argsort(-margins, kind="stable")
    by_first = np.cumsum(answers.changed(first)[order])
    by_others = answers.changed(behind)
    changed = by_first + by_others.sum() - np.cumsum(by_others[order])
    ends = np.append(margins[order][1:] < margins[order][:-1], True)  # texts of one margin leave together
    kept = [
        keeps_budget(count / total, (count + 1) / total, budget=budget, unseen=unseen)
        for count in range(int(changed.max()) + 1)
    ]
    fitting = np.flatnonzero(ends & np.array(kept)[changed])
    return float(margins[order[fitting[-1]]]) if len(fitting) else None


def measure_cascade(
    answers: Answers,
    first: NDArray[np.float32],
    behind: NDArray[np.float32],
    *,
    thresholds: dict[str, float],
    before: Cascade | None,
    taught: int,
) -> Cascade:
    """The record of a first stage with int8, or fp32 alone, behind it; all logits are of unseen texts.

    Args:
        answers: fp32's.
        first: The first stage's, float32 [texts, labels].
        behind: int8's, or fp32's where there is no int8.
        thresholds: Of the first stage, and of int8 where there is one.
        before: The cascade of int8 and fp32, where int8 leaves texts to fp32.
        taught: Texts that the first stage was taught on.
    """
    decision = answers.decision
    easy = decision.margins(first) >= thresholds["first"]
    given, kept = np.where(easy[:, None], first, behind), easy
    answered = {"first": float(easy.mean())}
    if "int8" in thresholds:
        kept = easy | (decision.margins(behind) >= thresholds["int8"])
        answered["int8"] = float((kept & ~easy).mean())
    count = int((answers.changed(given) & kept).sum())
    differences = _differences(given[kept], answers.logits[kept], decision)
    return Cascade(
        stages=("first", "int8", "fp32") if "int8" in thresholds else ("first", "fp32"),
        thresholds=thresholds,
        answered={**answered, "fp32": float((~kept).mean())},
        changed=CascadeChanged(
            texts=len(first),
            changed=count,
            upper_95=clopper_pearson_upper(count, len(first)),
            alone=int(answers.changed(behind if "int8" in thresholds else first).sum()),
        ),
        taught=taught,
        seen_again=0.0 if before is None else before.seen_again,
        score_difference=float(differences.max(initial=0)),
        score_difference_999=float(np.quantile(differences, 0.999)) if len(differences) else 0.0,
        points=() if before is None else before.points,
    )


def _differences(found: NDArray[np.float32], wanted: NDArray[np.float32], decision: Decision) -> NDArray[np.float32]:
    return np.asarray(np.abs(decision.scores(found) - decision.scores(wanted)).ravel(), dtype=np.float32)


def _still_unseen(sample: Sample, int8: Variant | None) -> Sample:
    """The sample without the unseen texts that int8's choice saw after all: the first of them."""
    if int8 is None or int8.fidelity is None:
        return sample
    return replace(sample, unseen=sample.unseen[len(sample.unseen) - int8.fidelity.texts :])


def _taught(source: Fp32, sample: Sample) -> Tables:
    rows, activation = sample.taught_rows, source.decision.activation
    assert activation != "identity"  # refused before anything was made
    logits = Trial(rows, source.directory).logits(source.cpu)
    vocabulary = len(source.checkpoint.tokenizer)
    return teach([row.ids for row in rows.encodings], logits, vocabulary=vocabulary, activation=activation)


def _with_and_behind(source: Fp32, rows: TokenRows, int8: Variant | None) -> tuple[Answers, NDArray[np.float32]]:
    """fp32's answers to `rows`, and the logits of what follows a first stage: int8's where there is one."""
    trial = Trial(rows, source.directory)
    answers = Answers(trial.logits(source.cpu), source.decision)
    if int8 is None:
        return answers, answers.logits
    model = ir.load(Path(source.directory, int8.cpu.file))
    return answers, replace(trial, saturates=saturates(int8.target)).logits(model)


def _rechecked(answers: Answers, logits: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    sure = answers.decision.margins(logits) >= limit
    return np.where(sure[:, None], logits, answers.logits)


def _too_many(found: CascadeChanged, budget: float) -> str:
    return (
        f"a first stage would change {found.changed} of {found.texts:,} unseen answers, more than the budget of "
        f"{budget:.2%}: it was left out. A larger --sample finds a better margin"
    )


def _too_few_held(held: int, needed: int, budget: float) -> str:
    return (
        f"a first stage was left out: {held:,} texts are too few to find a margin by in a budget of {budget:.2%}, and "
        f"as many to measure it; about {needed:,} each would do. Bring a larger --sample, or raise --max-disagreement"
    )


def _too_few(share: float, cost: float, budget: float, taught: int) -> str:
    pays = max(_LEAST_SHARE, _PAYS * cost)
    return (
        f"a first stage, taught on {taught:,} texts, could answer {share:.1%} of others in a budget of {budget:.2%}, "
        f"at {cost:.1%} of the time of what is behind it; it pays from {pays:.1%} on: it was left out. {HELPING:,} "
        "texts to teach it by, or a larger --max-disagreement, let it answer more"
    )
