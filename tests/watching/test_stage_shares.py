"""A stage that answers another share than was certified is told of; chance is not."""

from __future__ import annotations

import numpy as np
import pytest

from onnxpress.artifacts.cascade_record import Cascade, CascadeChanged, Stage
from onnxpress.watching.stage_shares import WINDOW, StageWatch, unusual_shares


def certified(texts: int = 1_500, **answered: float) -> Cascade:
    stages: tuple[Stage, ...] = tuple(name for name in ("first", "int8", "fp32") if name in answered)
    return Cascade(
        stages=stages,
        thresholds=dict.fromkeys(stages[:-1], 0.5),
        answered=answered,
        changed=CascadeChanged(texts=texts, changed=1, upper_95=0.01, alone=2),
    )


CASCADE = certified(first=0.5, int8=0.48, fp32=0.02)


def test_other_shares_are_told_stage_by_stage() -> None:
    told = unusual_shares(CASCADE, {"first": 3_000, "int8": 6_800, "fp32": 200})
    assert len(told) == 2 and "\n" not in "".join(told)
    assert told[0].startswith("the stage first answered 30.00% of 10,000 texts, where 45.7") and "1,500" in told[0]
    assert told[1].startswith("the stage int8 answered 68.00%") and "onnxpress drift" in told[1]


@pytest.mark.parametrize("texts", [200, 3_000, 1_000_000])
def test_the_certified_texts_shares_raise_no_alarm(texts: int) -> None:
    """Drawn from the same texts, however many: the artifact's own shares are a draw too."""
    generator = np.random.default_rng(texts)
    truth, alarms = np.array([0.5, 0.48, 0.02]), 0
    for _ in range(100):
        exported = generator.multinomial(1_500, truth) / 1_500
        record = certified(**dict(zip(("first", "int8", "fp32"), exported.tolist(), strict=True)))
        drawn = generator.multinomial(texts, truth).tolist()
        alarms += bool(unusual_shares(record, dict(zip(("first", "int8", "fp32"), drawn, strict=True))))
    assert alarms <= 1


def test_of_few_texts_nothing_is_told() -> None:
    assert unusual_shares(CASCADE, {"first": 0, "int8": 3, "fp32": 0}) == ()
    assert unusual_shares(CASCADE, {"first": 0, "int8": 0, "fp32": 0}) == ()


@pytest.mark.parametrize(
    "answered", [{"int8": 900, "fp32": 100}, {"fp32": 1_000}, {"first": 0, "int8": 1_000}, {"first": 0, "fp32": 1_000}]
)
def test_of_other_stages_nothing_was_certified(answered: dict[str, int]) -> None:
    assert unusual_shares(CASCADE, answered) == () and unusual_shares(None, answered) == ()


def test_a_last_stage_that_never_answers_need_not_run() -> None:
    found = certified(first=0.5, int8=0.5, fp32=0.0)
    assert unusual_shares(found, {"first": 5_000, "int8": 5_000}) == ()
    assert len(unusual_shares(found, {"first": 9_000, "int8": 1_000})) == 2


def test_a_service_is_warned_once_until_it_is_well_again() -> None:
    watch, well, ill = StageWatch(CASCADE, CASCADE.stages), [50, 48, 2], [20, 75, 5]

    def window(counts: list[int]) -> list[bool]:
        return [bool(watch.add(counts)) for _ in range(WINDOW // 100)]

    assert not any(window(well)) and watch.outside == ()
    assert window(ill) == [False] * 9 + [True] and len(watch.outside) == 2
    assert not any(window(ill)) and watch.outside
    assert not any(window(well)) and watch.outside == ()
    assert window(ill)[-1]
    assert not any(StageWatch(None, ("fp32",)).add([5 * WINDOW]))
