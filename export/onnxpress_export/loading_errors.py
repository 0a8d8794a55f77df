"""What other libraries say of a checkpoint that they cannot load, as one line with the way out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from onnxpress.errors import CheckpointError, OnnxpressError

__all__ = ["TRUST", "first_line", "one_line"]

TRUST: Final = "brings code of its own. Read it, and pass --trust-remote-code if you trust it."

_PACKAGES: Final = {"google.protobuf": "protobuf", "sklearn": "scikit-learn", "PIL": "pillow"}
# transformers' backends say what they miss in sentences of their own.
_MISSING: Final = re.compile(
    r"No module named '([\w.]+)'"
    r"|\b(sentencepiece|tiktoken|protobuf|accelerate|peft|bitsandbytes|optimum|auto-gptq|gptqmodel|autoawq"
    r"|compressed-tensors|sacremoses|fugashi|ipadic|unidic_lite|rjieba|jieba|pythainlp|spacy|ftfy|mistral-common"
    r"|einops|flash_attn|mamba-ssm|timm|gguf)\b[^.]{0,80}?\b(?:not found|not installed|is required|to be installed"
    r"|installed|install)\b"
    r"|(?:requires?|need(?:s|ed)?|install)\b[^.]{0,80}?[ `'](sentencepiece|tiktoken|protobuf|accelerate|peft"
    r"|bitsandbytes|gguf|einops|mistral-common|fugashi)\b",
    re.IGNORECASE,
)
_ADVICE: Final = (
    (
        re.compile(r"does not recognize this architecture|model type .* but Transformers", re.IGNORECASE | re.DOTALL),
        "this transformers does not know its model type. Upgrade transformers, or correct model_type in config.json.",
    ),
    (
        re.compile(r"Unrecognized model|should have a `model_type` key", re.IGNORECASE),
        "its config.json names no model type that transformers knows. Save it again with model.save_pretrained.",
    ),
    (
        re.compile(r"Unrecognized configuration class", re.IGNORECASE),
        "transformers has no such classifier for its model type. Fine-tune another architecture.",
    ),
)
_LONGEST: Final = 300


@contextmanager
def one_line(source: str, what: str) -> Iterator[None]:
    """Let whatever fails inside end as a CheckpointError of `source` that says `what` failed, and why.

    transformers, torch, safetensors, tokenizers and a checkpoint's own code raise errors of any class, Rust's panics
    among them, which are no `Exception`: all but an interrupt is the checkpoint's failure to load.
    """
    try:
        yield
    except (OnnxpressError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise CheckpointError(source, _explain(error, what)) from error


def first_line(error: BaseException) -> str:
    """The first line of its message, at most 300 characters; its class's name where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:_LONGEST] if lines else type(error).__name__


def _explain(error: BaseException, what: str) -> str:
    message = str(error)
    if "trust_remote_code" in message:
        return TRUST
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in message:
        return f"{what}: it needs more memory than this machine has. Use a larger one."
    if (package := _missing_package(error)) is not None:
        return f"{what}: {package} is not installed. Run pip install {package}."
    for pattern, advice in _ADVICE:
        if pattern.search(message):
            return advice
    name = "" if isinstance(error, (OSError, ValueError, RuntimeError)) else f"{type(error).__name__}: "
    return f"{what} ({name}{first_line(error)})."


def _missing_package(error: BaseException) -> str | None:
    """The package whose absence `error`, or what it came from, tells of."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ModuleNotFoundError) and found.name:
            return _PACKAGES.get(found.name, found.name.split(".")[0])
        if isinstance(found, ImportError | ValueError) and (match := _MISSING.search(str(found))):
            name = next(group for group in match.groups() if group)
            return _PACKAGES.get(name, name.split(".")[0]).lower()
        found = found.__cause__ or found.__context__
    return None
