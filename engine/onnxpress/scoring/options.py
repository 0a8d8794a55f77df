"""What a scoring job is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from onnxpress.errors import ConfigError

__all__ = [
    "OUTPUT_FORMATS",
    "STDIN",
    "Compression",
    "Engine",
    "Format",
    "OnBadRow",
    "ScoreOptions",
    "format_of",
    "require_use",
]

Format = Literal["csv", "tsv", "jsonl", "parquet", "txt"]
Compression = Literal["gzip", "zstd"]
OnBadRow = Literal["error", "null", "skip"]
Engine = Literal["local", "ray"]

STDIN: Final = "-"

OUTPUT_FORMATS: Final[tuple[Format, ...]] = ("csv", "tsv", "jsonl", "parquet")
"""The formats that have columns, for the answers too."""

_FORMATS: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "txt",
}
_COMPRESSIONS: Final[dict[str, Compression]] = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """The settings of `onnxpress.score`, which describes them; refuses those outside their range."""

    text_column: str = "text"
    pair_column: str | None = None
    columns: tuple[str, ...] | None = None
    zero_shot_labels: tuple[str, ...] | None = None
    template: str | None = None
    multi_label: bool = False
    input_format: Format | None = None
    output_format: Format | None = None
    quoted_tsv: bool = False
    on_bad_row: OnBadRow = "error"
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    max_characters: int = 100_000
    restart: bool = False
    profile: str | None = None
    engine: Engine = "local"
    workers: int = 1
    gpus_per_worker: float = 0
    ray_address: str | None = None

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("input_format", self.input_format, (None, *get_args(Format))),
            ("output_format", self.output_format, (None, *OUTPUT_FORMATS)),
            ("on_bad_row", self.on_bad_row, get_args(OnBadRow)),
            ("engine", self.engine, get_args(Engine)),
        ):
            if value not in choices:
                raise ConfigError(f"{name} must be {' or '.join(c for c in choices if c)}, got {value!r}")
        for name, number in (
            ("threads", self.threads),
            ("max_characters", self.max_characters),
            ("workers", self.workers),
        ):
            if number is not None and number < 1:
                raise ConfigError(f"{name} must be at least 1, got {number}")
        if self.zero_shot_labels is None and (self.template is not None or self.multi_label):
            raise ConfigError("template and multi_label say how zero_shot_labels are asked for; pass these too")
        if self.zero_shot_labels is not None and self.pair_column is not None:
            raise ConfigError("zero_shot_labels are paired with single texts; leave pair_column out")
        if not 0 <= self.gpus_per_worker < float("inf"):
            raise ConfigError(f"gpus_per_worker must be at least 0, got {self.gpus_per_worker}")
        if self.engine == "local" and (self.workers, self.gpus_per_worker, self.ray_address) != (1, 0, None):
            raise ConfigError("workers, gpus_per_worker and ray_address are for engine='ray'")
        if self.engine == "ray" and self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"device must be auto, cpu or cuda on Ray, which chooses the GPU, got {self.device!r}")
        if self.engine == "ray" and self.device == "cuda" and not self.gpus_per_worker:
            raise ConfigError("device='cuda' on Ray needs gpus_per_worker above 0, got 0")


def format_of(name: str) -> tuple[Format | None, Compression | None]:
    """The format and the compression that a file's name tells, each None where it tells none."""
    stem, _, last = name.lower().rpartition(".")
    compression = _COMPRESSIONS.get(f".{last}")
    if compression is not None:
        last = stem.rpartition(".")[2]
    found = _FORMATS.get(f".{last}")
    return found, None if found == "parquet" else compression


def require_use(source: Format, output: Format, options: ScoreOptions) -> None:
    """Raise ConfigError when quoted TSV is asked for, and neither format is TSV."""
    if options.quoted_tsv and "tsv" not in (source, output):
        raise ConfigError(f"--quoted-tsv (quoted_tsv=) is for TSV; the input is {source}, the output {output}")
