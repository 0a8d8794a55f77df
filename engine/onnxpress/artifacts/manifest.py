"""The artifact's manifest, `onnxpress.json`: schema, reading and writing."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Final, Literal

import msgspec

from onnxpress.artifacts.archives import archive_kind
from onnxpress.artifacts.calibration_record import Calibration, Reliability
from onnxpress.artifacts.cascade_record import FIRST_STAGE_NAME, Cascade
from onnxpress.errors import ArtifactNotFoundError, ArtifactSchemaError

__all__ = [
    "MANIFEST_NAME",
    "SCHEMA_VERSION",
    "Activation",
    "Calibration",
    "Candidate",
    "Cascade",
    "ChangedText",
    "Drift",
    "Fidelity",
    "FileRecord",
    "Graph",
    "Manifest",
    "Parity",
    "ProblemType",
    "Provenance",
    "Reliability",
    "Target",
    "Task",
    "TokenFidelity",
    "Tokens",
    "Variant",
    "encode_manifest",
    "read_manifest",
]

MANIFEST_NAME: Final = "onnxpress.json"
SCHEMA_VERSION: Final = 2

Task = Literal["text-classification", "token-classification"]
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]
Activation = Literal["softmax", "sigmoid", "identity"]
Target = Literal["vnni", "avx2", "arm64"]

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MAX_MANIFEST_BYTES: Final = 16 * 2**20


def _require_finite(record: msgspec.Struct) -> None:
    """Raise ValueError when a number of `record` is NaN or infinite: JSON has neither, so it could not be read back."""
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} of {type(record).__name__} must be a finite number, got {value}")


class FileRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file was when it was exported."""

    sha256: str
    bytes: int


class Parity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How closely a variant's logits follow torch's.

    Attributes:
        cases: (batch, sequence) shapes compared, each with padding where the batch has room for it. Longer rows than
            these were not compared.
        rows: Rows compared in all cases together.
        max_difference: Largest absolute difference of a logit.
        tolerance: The difference that would have failed the export, as a share of the largest of torch's logits in a
            comparison, or of 1 where that is smaller.
        equal_labels: Rows whose predicted labels equal torch's.
        text_rows: Rows among them that the tokenizer made of texts and pairs; the others are random tokens.
        largest_logit: Largest absolute logit of torch's; None where it was not noted.
    """

    cases: tuple[tuple[int, int], ...]
    rows: int
    max_difference: float
    tolerance: float
    equal_labels: int
    text_rows: int = 0
    largest_logit: float | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest rows compared."""
        return max(sequence for _, sequence in self.cases)

    def __post_init__(self) -> None:
        _require_finite(self)


class Tokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The proof that the artifact's tokenizer gives the checkpoint's ids.

    Attributes:
        texts: Texts and pairs whose ids and type ids were compared, whole and cut on either side; all were equal.
        reference: What with: "tokenizer.json", the checkpoint's own with the settings of its tokenizer_config.json; or
            "slow", where it had none and its vocabulary files were converted.
        rebuilt: The class that transformers builds from these files with other ids, which is not followed; None where
            its ids are the same.
    """

    texts: int
    reference: Literal["tokenizer.json", "slow"]
    rebuilt: str | None = None


class ChangedText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text whose answer a variant changes."""

    text: str
    reference: str
    found: str


class TokenFidelity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a variant keeps the fp32 graph's labels of tokens, and the entities that these become.

    Entities are those of the aggregation "simple": neighbouring tokens of one label; O makes none.

    Attributes:
        tokens: The texts' own tokens; what the tokenizer adds to a text is none.
        changed: Those with another label.
        entities: What fp32 finds.
        found: What the variant finds.
        equal: Those that both find: the same label, from the same character to the same.
    """

    tokens: int
    changed: int
    entities: int
    found: int
    equal: int


class Fidelity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a variant keeps the fp32 graph's answers, on texts that its making never saw.

    Attributes:
        sample: Name of the file that the texts came from.
        texts: How many there were.
        changed: Texts with another answer: another best label, another set of accepted labels (by the manifest's
            thresholds), or a regression's value moved by more than a tenth of its standard deviation. Where tokens are
            classified: another label of any token.
        changed_low, changed_high: 95 % interval of the share of changed answers (Wilson).
        upper_95: The share that is not exceeded with 95 % confidence (Clopper and Pearson, one-sided); None in records
            of before it was kept.
        budget: The share that was allowed.
        accuracy: Share of right answers, where the sample has labels; of many labels all must be right.
        f1: F1 of each label, averaged over the labels that occur (macro F1), where the sample has labels.
        error: Mean absolute error of a regression, where the sample has labels.
        reference_accuracy, reference_f1, reference_error: The same of fp32.
        torch_texts: How many of the texts torch answered too; 0 where it was not at hand.
        torch_changed: How many of these have another answer than torch's.
        largest_difference: Largest absolute difference of a logit.
        mean_difference: Mean absolute difference of a logit.
        speed: How many times the fp32 graph's texts a second, in turns on the machine that exported; None where that
            machine does not run the variant.
        examples: Some of the texts with another answer.
        tokens: The same of tokens and entities, where tokens are classified.
    """

    sample: str
    texts: int
    changed: int
    changed_low: float
    changed_high: float
    budget: float
    accuracy: float | None
    f1: float | None
    reference_accuracy: float | None
    reference_f1: float | None
    torch_texts: int
    torch_changed: int
    largest_difference: float
    mean_difference: float
    speed: float | None
    examples: tuple[ChangedText, ...]
    upper_95: float | None = None
    error: float | None = None
    reference_error: float | None = None
    tokens: TokenFidelity | None = None

    def __post_init__(self) -> None:
        _require_finite(self)


class Drift(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far unseen texts leave the ranges that calibration found. What lies outside is clipped.

    Attributes:
        values: Quantized values watched.
        drifted: Those of which a number lay outside.
        clipped: Share of all their numbers that lay outside.
        overshoot: The farthest that a number lay outside, as a share of its value's range.
        worst: Name of that value; empty where none drifted.
    """

    values: int
    drifted: int
    clipped: float
    overshoot: float
    worst: str

    def __post_init__(self) -> None:
        _require_finite(self)


class Candidate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One mix that the search measured, on its own part of the sample.

    Attributes:
        products: Products by level: "int8", "int8+fp32" (a few channels apart), "int8x2" (two terms) and "fp32".
        time: Time of its operators on some of the texts, as a share of fp32's.
        changed: Share of texts with another answer.
        expected: The share that the noise of the logits would change on average.
        chosen: Whether the variant is this one.
        embeddings: What its embedding tables are stored as.
        again: Share of texts that fp32 answers again, because the mix is not sure of them; `time`, `changed` and
            `expected` are those of both together.
    """

    products: dict[str, int]
    time: float
    changed: float
    expected: float
    chosen: bool
    embeddings: Literal["uint8", "fp32"] = "uint8"
    again: float = 0.0

    def __post_init__(self) -> None:
        _require_finite(self)


class Graph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ONNX file.

    Attributes:
        file: Its name.
        operators: How often each operator type occurs in it.
        weights: How many numbers of each type its weights hold.
        rewrites: Sites that each pass rewrote, by the pass's name, in order.
    """

    file: str
    operators: dict[str, int]
    weights: dict[str, int]
    rewrites: dict[str, int]


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One precision of the model.

    Attributes:
        precision: "fp32", "fp16" or "int8".
        portable: The graph that takes an attention mask, for any padding and any runtime.
        cpu: The graph for CPU and batches whose rows have equal length: it takes no mask.
        weights: Files that all graphs read their weights from.
        packed: The graph for CPU and batches of different lengths: it takes a mask, and drops padding inside. None
            where the model cannot be packed.
        parity: Measured against torch when it was exported; None for what is not meant to be equal.
        fidelity: Measured against fp32 when it was exported; None for fp32 itself.
        target: The instructions that int8 was made for: "vnni", "avx2" or "arm64".
        search: The mixes that the search measured, fastest first.
        drift: How far int8's ranges hold on the unseen texts.
    """

    precision: str
    portable: Graph
    cpu: Graph
    weights: tuple[str, ...]
    packed: Graph | None = None
    parity: Parity | None = None
    fidelity: Fidelity | None = None
    target: Target | None = None
    search: tuple[Candidate, ...] = ()
    drift: Drift | None = None

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """All of them."""
        return (self.portable, self.cpu) if self.packed is None else (self.portable, self.cpu, self.packed)


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the artifact came from: never a path, so that it says nothing about the machine.

    Attributes:
        unfused_attentions: Attentions that are written out instead of one operator each: exact, but slower.
        notes: What the export warned about, a sentence each.
    """

    source: str
    architecture: str
    parameters: int
    layers: int
    command: str
    versions: dict[str, str]
    created: str
    unfused_attentions: int = 0
    notes: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that the engine needs to know before it opens a model file.

    Attributes:
        task: What an answer is, by the name that transformers' pipelines have for it: labels of a text, or of each of
            its tokens.
        labels: Label names, in the order of the logits.
        problem_type: What the model was trained for.
        activation: What makes scores of logits.
        thresholds: The score at which each label is accepted, in their order; None for one half, or for the best.
        inputs: Names of the graph's inputs, in its order.
        max_length: Tokens a text may have, special tokens included; longer ones are truncated.
        truncation_side: The side that truncation cuts from.
        files: Every other file of the artifact by name.
        cascade: Which answers of a lower precision are given again by fp32; None where none are.
        tokens: How the tokenizer was compared with the checkpoint's own; None in artifacts of schema 1.
        reliability: How far fp32's own scores are shares of right answers; None where no label was known.
        calibration: What its logits are divided by, on their way to scores; None for nothing.
    """

    schema_version: int
    labels: tuple[str, ...]
    problem_type: ProblemType
    activation: Activation
    thresholds: tuple[float, ...] | None
    inputs: tuple[str, ...]
    max_length: int
    truncation_side: Literal["left", "right"]
    variants: tuple[Variant, ...]
    files: dict[str, FileRecord]
    provenance: Provenance
    task: Task = "text-classification"
    cascade: Cascade | None = None
    tokens: Tokens | None = None
    reliability: Reliability | None = None
    calibration: Calibration | None = None

    @property
    def temperature(self) -> float:
        """What logits are divided by before scores are made of them."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    def __post_init__(self) -> None:
        bad = [name for name in self.files if not _FILE_NAME.fullmatch(name)]
        if bad:
            raise ValueError(f"file names must be plain names inside the artifact, got {bad[0]!r}")
        named = {name for v in self.variants for name in (*(graph.file for graph in v.graphs), *v.weights)}
        missing = sorted((named | {"tokenizer.json"}) - self.files.keys())
        if missing:
            raise ValueError(f"{missing[0]!r} is used but not among the files")
        if not self.labels or not self.variants or self.max_length < 1:
            raise ValueError("labels and variants must not be empty, and max_length must be at least 1")
        if self.thresholds is not None and len(self.thresholds) != len(self.labels):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.labels)} labels")
        if self.task == "token-classification" and (self.activation, self.thresholds) != ("softmax", None):
            raise ValueError("labels of tokens have scores of a softmax, and no thresholds")
        if self.calibration is not None and self.activation == "identity":
            raise ValueError("a regression has no scores to calibrate, but it has a temperature")
        if self.cascade is not None:
            held = {variant.precision for variant in self.variants} | {"first"}
            if absent := [stage for stage in self.cascade.stages if stage not in held]:
                raise ValueError(f"the cascade goes through {absent[0]}, which is no variant of this artifact")
            if "first" in self.cascade.stages and self.task != "text-classification":
                raise ValueError("a first stage answers for a text, not for its tokens")
            if "first" in self.cascade.stages and FIRST_STAGE_NAME not in self.files:
                raise ValueError(f"the cascade begins with a first stage, but {FIRST_STAGE_NAME} is no file of it")


class _Version(msgspec.Struct):
    schema_version: int


def read_manifest(directory: Path) -> Manifest:
    """Read and validate the manifest of the artifact in `directory`.

    Raises:
        ArtifactNotFoundError: `directory` does not exist or holds no manifest.
        ArtifactSchemaError: The manifest is malformed, or of a schema newer than this version's.
    """
    path = directory / MANIFEST_NAME
    if not directory.exists():
        raise ArtifactNotFoundError(directory, "no such directory.")
    if not directory.is_dir():
        kind = archive_kind(directory)
        reason = "a file, and" if kind is None else f"a {kind} archive: unpack it, for"
        raise ArtifactNotFoundError(
            directory, f"{reason} an artifact is a directory. Pass the one with {MANIFEST_NAME}."
        )
    if not path.is_file():
        raise ArtifactNotFoundError(
            directory, f"not an onnxpress artifact (no {MANIFEST_NAME}). Make one with `onnxpress export`."
        )
    if path.stat().st_size > _MAX_MANIFEST_BYTES:
        raise ArtifactSchemaError(path, f"larger than {_MAX_MANIFEST_BYTES:,} bytes, which no manifest is.")
    data = path.read_bytes()
    try:
        found = msgspec.json.decode(data, type=_Version).schema_version
        if found > SCHEMA_VERSION:
            raise ArtifactSchemaError(
                path,
                f"schema {found} is newer than {SCHEMA_VERSION}, the latest this version reads. "
                "Upgrade onnxpress, or export again.",
            )
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactSchemaError(path, f"not a valid manifest ({error}). Export again.") from error


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as indented UTF-8 JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
