"""What a scoring job tells: while it runs, and at its end."""

from __future__ import annotations

import msgspec

__all__ = ["Progress", "ScoreSummary"]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is.

    Attributes:
        rows: Rows read and done, those of earlier runs included.
        resumed: Those of earlier runs.
        share: Share of the input that is read, 0 to 1; None where its size or the place in it is not known.
    """

    rows: int
    resumed: int
    share: float | None


class ScoreSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a job did.

    Attributes:
        output: The file or directory that was written.
        rows: Rows of the input.
        scored: Rows that were classified.
        rejected: Rows that could not be.
        rejected_file: Where those are kept with the reason; None where there were none.
        lines: Lines of the input that the rows are made of, without headers and without blank lines that are no rows:
            more than rows where fields hold line breaks; None for Parquet, which has none.
        labels: How often each label was the best; empty for a regression.
        answered: Share of the scored rows that each stage answered, by its name: where int8 leaves to fp32 what it is
            not sure of, fp32's is what was run again. Empty where no row was scored.
        warnings: What a reader should know: a stage that answered another share of the rows than the export certified.
        columns: The name that each answer column has in the output, by what it holds.
        parts: Parts that were committed.
        resumed: Rows that earlier runs had committed.
        profile: The file that the job's profile was written to; None where none was asked for.
        seconds: What this run took.
        rows_per_second: Rows of this run in these seconds.
    """

    output: str
    rows: int
    scored: int
    rejected: int
    rejected_file: str | None
    lines: int | None
    labels: dict[str, int]
    answered: dict[str, float]
    warnings: tuple[str, ...]
    columns: dict[str, str]
    parts: int
    resumed: int
    profile: str | None
    seconds: float
    rows_per_second: float
