"""A checkpoint's files, looked at before any library opens them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from onnxpress.errors import CheckpointError
from onnxpress_export.loading_errors import one_line

__all__ = [
    "HUB_ID",
    "body_folder",
    "check_at_once",
    "check_files",
    "check_quantization",
    "check_unused",
    "find_file",
    "read_object",
]

HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

_CONFIG: Final = "config.json"
_INDEX: Final = "*.safetensors.index.json"
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
_FOREIGN: Final = {
    "*.gguf": "GGUF",
    "*.onnx": "ONNX",
    "*.h5": "TensorFlow",
    "*.msgpack": "Flax",
    "*.index": "TensorFlow",
    "*.npz": "NumPy",
    "*.tflite": "TensorFlow Lite",
    "*.ot": "Rust",
}
_LFS: Final = b"version https://git-lfs"
_FULL: Final = "An export needs full weights"
# What quantizers store beside, or in place of, a weight.
_QUANTIZERS_OWN: Final = re.compile(
    r"\.(qweight|qzeros|scales|g_idx|weight_scale|weight_scale_inv|weight_packed|weight_zero_point|input_scale"
    r"|absmax|quant_map|quant_state\..+|SCB|weight_format|_packed_params.*|zero_point)$"
)


def find_file(source: str, name: str, options: Mapping[str, Any]) -> Path | None:
    """Where the file `name` of the directory or Hub id `source` lies on this machine; None where there is none.

    `options` are transformers' own.
    """
    folder = Path(source)
    if folder.exists():
        return folder / name if (folder / name).is_file() else None
    from transformers.utils import cached_file

    with suppress(OSError, ValueError):
        found = cached_file(
            source,
            name,
            revision=options.get("revision"),
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return None if found is None else Path(found)
    return None


def read_object(source: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object in the file `name`, found as `find_file` does; an empty one where there is no such file.

    Raises:
        CheckpointError: It cannot be read, or holds something else.
    """
    path = find_file(source, name, options)
    if path is None:
        return {}
    with one_line(source, f"its {name} cannot be read"):
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise CheckpointError(source, f"its {name} cannot be read (it holds no JSON object). Save it again.")
    return content


def check_files(source: str, base: str, *, allow_pickle: bool) -> None:
    """Raise CheckpointError where the directory `base` holds no checkpoint that can be loaded.

    Args:
        source: What is exported.
        base: The model's directory; the same, or what an adapter names. A Hub id is let pass.
        allow_pickle: Pickles are weights too.
    """
    path = Path(base)
    if not path.exists():
        if not HUB_ID.fullmatch(base):
            broken = " (it is a symbolic link to nothing)" if path.is_symlink() else ""
            raise CheckpointError(base, f"no such directory{broken}.")
        return
    if not path.is_dir():
        raise CheckpointError(base, "is a file. Pass the directory that holds config.json.")
    if not (path / _CONFIG).is_file():
        raise CheckpointError(base, "is not a transformers checkpoint (no config.json).")
    check_quantization(source, base, _object(base, path / _CONFIG))
    _check_weights(base, path, allow_pickle=allow_pickle)


def check_at_once(source: str, *, allow_pickle: bool) -> None:
    """`check_files` of what `source` holds, or of the local base that an adapter in it names; imports no library."""
    settings, base = Path(source) / "adapter_config.json", body_folder(source)
    if settings.is_file():
        named = _object(source, settings).get("base_model_name_or_path")
        if not isinstance(named, str) or not Path(named).exists():
            return  # told when it is read
        base = named
    check_files(source, base, allow_pickle=allow_pickle)


def body_folder(source: str) -> str:
    """Where the transformers model of the directory `source` lies: itself, or the folder that its modules.json names.

    So sentence-transformers laid its models out before its version 3.
    """
    path = Path(source) / "modules.json"
    if not path.is_file():
        return source
    try:
        first = json.loads(path.read_text(encoding="utf-8"))[0]["path"]
        return str(Path(source) / first) if first and (Path(source) / first).is_dir() else source
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return source  # told when it is read


def check_quantization(source: str, base: str, config: dict[str, Any]) -> None:
    """Raise CheckpointError where config.json says that the weights are quantized."""
    nested = [value for name, value in config.items() if name.endswith("_config") and isinstance(value, dict)]
    for part in (config, *nested):
        for name in ("quantization_config", "compression_config", "quantization"):
            if found := part.get(name):
                kind = found.get("quant_method") or found.get("quant_type") if isinstance(found, dict) else None
                _refuse_quantized(source, base, str(kind or name))


def check_unused(source: str, base: str, unused: Iterable[str]) -> None:
    """Raise CheckpointError where weights that the model does not take show that others are quantized."""
    if (name := next((name for name in sorted(unused) if _QUANTIZERS_OWN.search(name)), None)) is not None:
        _refuse_quantized(source, base, name)


def _refuse_quantized(source: str, base: str, how: str) -> None:
    if source == base:
        raise CheckpointError(
            source,
            f"its weights are quantized ({how[:100]}). {_FULL}: take the checkpoint that was quantized, or save "
            "model.dequantize() where its quantizer runs.",
        )
    raise CheckpointError(
        source,
        f"its base model {base} is quantized ({how[:100]}). {_FULL}: name the full model as base_model_name_or_path "
        "in adapter_config.json.",
    )


def _check_weights(source: str, path: Path, *, allow_pickle: bool) -> None:
    for index in sorted(path.glob(_INDEX)):
        held = _object(source, index).get("weight_map")
        if not isinstance(held, dict):
            raise CheckpointError(source, f"{index.name} holds no weight_map. Download it again.")
        missing = sorted({str(name) for name in held.values() if not (path / str(name)).is_file()})
        if missing:
            raise CheckpointError(
                source,
                f"{index.name} names {missing[0]}, which is not there ({len(missing)} missing). Download it again.",
            )
    weights = sorted(file for file in path.glob("*.safetensors") if file.name != "adapter_model.safetensors")
    for file in weights:
        _check_content(source, file)
    pickles = [file for pattern in _PICKLES for file in sorted(path.glob(pattern)) if file.name != "training_args.bin"]
    if weights or (allow_pickle and pickles):
        return
    if pickles:
        raise CheckpointError(
            source,
            f"its weights ({pickles[0].name}) are a pickle, which can run code when it is loaded. "
            "Save it with safetensors, or pass --allow-pickle if you trust it.",
        )
    for pattern, kind in _FOREIGN.items():
        if (foreign := next(iter(sorted(path.glob(pattern))), None)) is not None:
            raise CheckpointError(
                source,
                f"holds {kind} weights alone ({foreign.name}). Save the PyTorch model with safetensors "
                "(model.save_pretrained).",
            )
    raise CheckpointError(source, "holds no weights (no *.safetensors).")


def _check_content(source: str, file: Path) -> None:
    """Refuse what stands for the weights: a broken link, a pointer of Git LFS, nothing at all."""
    if not file.is_file():
        why = "is a symbolic link to nothing" if file.is_symlink() else "is no file"
        raise CheckpointError(source, f"{file.name} {why}. Download it again.")
    try:
        with file.open("rb") as opened:
            start = opened.read(len(_LFS))
    except OSError as error:
        raise CheckpointError(source, f"{file.name} cannot be read ({error.strerror}).") from error
    if start == _LFS:
        raise CheckpointError(source, f"{file.name} is a pointer of Git LFS, not the weights. Run git lfs pull.")
    if not start:
        raise CheckpointError(source, f"{file.name} is empty. Download it again.")


def _object(source: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            source, f"its {path.name} cannot be read ({reason}). Download or save it again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(source, f"its {path.name} cannot be read (it holds no JSON object). Save it again.")
    return content
