"""A checkpoint's graph: captured where its architecture lets us, else traced as it is written."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from onnxpress.errors import CheckpointError
from onnxpress_export.attention import AttentionArgumentError
from onnxpress_export.capture import FixedShapeError, capture, capture_as_written, fusable_attentions
from onnxpress_export.checkpoint import Checkpoint
from onnxpress_export.settled import length_limit

__all__ = ["capture_classifier", "unfused_note", "within_length_limit"]


def within_length_limit(checkpoint: Checkpoint) -> tuple[Checkpoint, tuple[str, ...]]:
    """The checkpoint with the length up to which a graph gives its answers, and a note where that is less."""
    limit = length_limit(checkpoint.model)
    if limit is None or limit.tokens >= checkpoint.max_length:
        return checkpoint, ()
    note = f"{limit.reason}: the artifact takes {limit.tokens} tokens, not {checkpoint.max_length}"
    return replace(checkpoint, max_length=limit.tokens), (note,)


def unfused_note(architecture: str, unfused: int, fused: int) -> str:
    """What is said of an export with `unfused` attentions beside `fused` ones."""
    return (
        f"{unfused} of {unfused + fused} attentions of {architecture} are not fused: the answers are exact, but slower"
    )


def capture_classifier(checkpoint: Checkpoint, *, allow_unfused: bool) -> tuple[ir.Model, int]:
    """The graph, and how many fused attentions it promises: as many as were captured, 0 where none can be.

    Raises:
        CheckpointError: torch cannot trace the model; or an attention takes what no fused one expresses, or cannot
            be traced fused, and `allow_unfused` is not set.
    """
    model, names = checkpoint.model, checkpoint.input_names
    kind = f"{type(model).__name__} ({model.config.model_type})"
    try:
        promised = fusable_attentions(model, names)
    except AttentionArgumentError as error:
        if not allow_unfused:
            raise CheckpointError(
                checkpoint.source,
                f"the attention of {kind} takes {error.args[0]}, which the fused attention cannot express. "
                "Pass --allow-unfused to trace it as it is written.",
            ) from error
        promised = 0
    if promised:
        try:
            return capture(model, names), promised
        except FixedShapeError as error:  # written out it would be the same
            raise _untraceable(checkpoint, kind, error) from error
        except Exception as error:  # torch's exporter raises what a model's own code raises in it, and its own
            if not allow_unfused:
                raise CheckpointError(
                    checkpoint.source,
                    f"torch cannot trace {kind} with fused attention ({_cause(error)}). "
                    "Pass --allow-unfused to trace it as it is written.",
                ) from error
    try:
        return capture_as_written(model, names), 0
    except Exception as error:  # as above
        raise _untraceable(checkpoint, kind, error) from error


def _untraceable(checkpoint: Checkpoint, kind: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        checkpoint.source,
        f"torch cannot trace {kind}: {_cause(error)}. No graph can be made of it; serve it with torch, and please "
        "report it.",
    )


def _cause(error: BaseException) -> str:
    """The first line of what first went wrong: torch wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300]
