"""The settings that are fastest on this machine, measured and kept beside the artifact."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_hex
from statistics import median
from time import perf_counter
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from onnxpress.classifier import Classifier
from onnxpress.errors import ConfigError
from onnxpress.hardware.cpu import available_cpus
from onnxpress.hardware.local_key import local_key
from onnxpress.inputs.encoder import Text
from onnxpress.system import replace_file
from onnxpress.tuned.beside import read_beside

__all__ = ["Measured", "Tuning", "find_tuning", "tune", "tuning_path", "write_tuning"]

_ROUNDS: Final = 3
_BATCH_TOKENS: Final = (256, 512, 1_024, 2_048)
_SINGLES: Final = 60
_BULK: Final = 400
_LEAST: Final = 40
_BULK_MS: Final = 1_000
_MOST: Final = 1_024  # workers, or threads of each: no file may ask for more
_MOST_TOKENS: Final = 2**20

Load = Callable[..., Classifier]


class Measured(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One setting and what it gave.

    Attributes:
        workers: Batches that run at once.
        threads: CPU threads of each.
        max_tokens: Tokens a batch may have.
        milliseconds: Median of a single request for "latency"; of a text in bulk for "throughput".
    """

    workers: Annotated[int, Meta(ge=1, le=_MOST)]
    threads: Annotated[int, Meta(ge=1, le=_MOST)]
    max_tokens: Annotated[int, Meta(ge=1, le=_MOST_TOKENS)]
    milliseconds: Annotated[float, Meta(ge=0)]

    def __post_init__(self) -> None:
        if self.workers * self.threads > _MOST:
            raise ValueError(f"{self.workers} × {self.threads} threads are more than {_MOST}")


class Tuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured, of which artifact, where.

    Attributes:
        key: Hash of all that the figures depend on: the artifact, CPU, number of CPUs, and ONNX Runtime's version.
        precision: What ran.
        latency: Settings measured for single requests, best first.
        throughput: Settings measured for bulk, best first.
    """

    key: str
    precision: str
    latency: Annotated[tuple[Measured, ...], Meta(min_length=1)]
    throughput: Annotated[tuple[Measured, ...], Meta(min_length=1)]

    def best(self, optimize_for: str) -> Measured:
        """The fastest setting."""
        return (self.latency if optimize_for == "latency" else self.throughput)[0]


def tuning_path(artifact: Path) -> Path:
    """Where the tuning of the artifact in the directory `artifact` is kept: beside it, for it is this machine's."""
    return artifact.resolve().with_name(f"{artifact.resolve().name}.tuning.json")


def find_tuning(artifact: Path, precision: str) -> Tuning | None:
    """The tuning kept for `artifact` and `precision`.

    None where there is none, or one of another machine or artifact, or none to believe: damaged, out of every range, a
    pipe, or a stranger's.
    """
    tuning = _kept(artifact).get(precision)
    return tuning if tuning is not None and tuning.key == _key(artifact) else None


def write_tuning(artifact: Path, tuning: Tuning) -> Path:
    """Keep `tuning` beside `artifact`, with those of other precisions. Returns the file, which appears by rename."""
    path, held = tuning_path(artifact), _kept(artifact)
    kept = {name: other for name, other in held.items() if other.key == tuning.key} | {tuning.precision: tuning}
    content = msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n"
    new = path.with_name(f".{path.name}.{token_hex(8)}")
    try:
        with new.open("xb") as file:  # readable by whom the umask lets: services run as others than who tunes
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        replace_file(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return path


def _kept(artifact: Path) -> dict[str, Tuning]:
    """The tunings kept for `artifact`, by precision; none where the file is none to believe."""
    try:
        content = read_beside(tuning_path(artifact), artifact)
        return {} if content is None else msgspec.json.decode(content, type=dict[str, Tuning])
    except (OSError, ValueError, RecursionError):
        return {}


def tune(
    artifact: Path,
    load: Load,
    texts: Sequence[Text],
    *,
    precision: str,
    cpus: int,
    on_step: Callable[[str], None] = lambda _: None,
) -> Tuning:
    """Measure single requests and bulk with each way to share `cpus` threads, in turns, the median of three rounds.

    Args:
        artifact: Its directory.
        load: `onnxpress.load`.
        texts: What to classify, at least 2; some hundred are enough.
        precision: The variant.
        cpus: CPU threads to share.
        on_step: Told what is being measured.

    Raises:
        ConfigError: There are fewer than 2 texts.
    """
    if len(texts) < 2:
        raise ConfigError(f"tuning needs at least 2 texts, got {len(texts)}")

    def open_with(workers: int, threads: int, max_tokens: int) -> Classifier:
        return load(
            artifact,
            device="cpu",
            precision=precision,
            workers=workers,
            threads=workers * threads,
            max_tokens=max_tokens,
        )

    def measured(
        name: str, settings: Sequence[tuple[int, int, int]], time: Callable[[Classifier], float]
    ) -> tuple[Measured, ...]:
        found: dict[tuple[int, int, int], list[float]] = {setting: [] for setting in settings}
        for number in range(_ROUNDS):
            for setting in settings:
                workers, threads, tokens = setting
                on_step(
                    f"{name}, round {number + 1} of {_ROUNDS}: {workers} × {threads} threads, {tokens} tokens a batch"
                )
                with open_with(*setting) as classifier:
                    found[setting].append(time(classifier))
        results = [
            Measured(workers=w, threads=t, max_tokens=n, milliseconds=round(median(times), 4))
            for (w, t, n), times in found.items()
        ]
        return tuple(sorted(results, key=lambda result: result.milliseconds))

    default = _BATCH_TOKENS[1]
    on_step("looking how many texts a second will do")
    with open_with(cpus, 1, default) as classifier:
        first = texts[: min(len(texts), _LEAST)]
        some = texts[: max(_LEAST, min(_BULK, round(_BULK_MS / _bulk(classifier, first))))]
    single = [(1, threads, default) for threads in sorted({1, cpus, max(1, cpus // 2)})]
    latency = measured("single requests", single, lambda classifier: _single(classifier, some))
    bulk = measured("bulk", [(*share, default) for share in _shares(cpus)], lambda classifier: _bulk(classifier, some))
    best = bulk[0]
    sizes = [(best.workers, best.threads, tokens) for tokens in _BATCH_TOKENS if tokens != default]
    throughput = sorted((*bulk, *measured("bulk", sizes, lambda c: _bulk(c, some))), key=lambda r: r.milliseconds)
    return Tuning(key=_key(artifact), precision=precision, latency=latency, throughput=tuple(throughput))


def _shares(cpus: int) -> list[tuple[int, int]]:
    """(workers, threads each) that use all CPUs evenly."""
    return [(workers, cpus // workers) for workers in range(1, cpus + 1) if cpus % workers == 0]


def _single(classifier: Classifier, texts: Sequence[Text]) -> float:
    chosen = texts[:: max(1, len(texts) // _SINGLES)][:_SINGLES]
    times: list[float] = []
    for text in (*chosen[:10], *chosen):
        begin = perf_counter()
        classifier.logits([text])
        times.append((perf_counter() - begin) * 1e3)
    return median(times[10:])


def _bulk(classifier: Classifier, texts: Sequence[Text]) -> float:
    classifier.logits(texts[: len(texts) // 4 or 1])
    begin = perf_counter()
    classifier.logits(texts)
    return (perf_counter() - begin) * 1e3 / len(texts)


def _key(artifact: Path) -> str:
    return local_key(artifact, f"{available_cpus()} CPUs")
