"""The right labels of example texts, as files give them, in the model's own words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import structs

from onnxpress.artifacts.manifest import Activation
from onnxpress.errors import ConfigError

if TYPE_CHECKING:
    from onnxpress.examples import Example

__all__ = ["with_right_labels"]

_SEPARATORS: Final = ("|", ";", ",")
_SHOWN: Final = 10
_TRUTH: Final = {"true": "1", "false": "0"}


def with_right_labels(
    examples: Sequence[Example], labels: Sequence[str], activation: Activation, path: Path
) -> list[Example]:
    """`examples`, read from `path`, with their labels as the model has them.

    With one label a text ("softmax") a label becomes its name, with many ("sigmoid") a tuple of names, of a regression
    ("identity") a tuple of as many numbers as the model gives. Several may come as a list, or in one text separated by
    "|", ";" or ",". Numbers are positions, from 0 on, where no name matches them and all labels of the file are such;
    with many labels also a 0 or 1 for each label.

    Raises:
        ConfigError: A label is none of the model's.
    """
    known = [example.label for example in examples if example.label is not None]
    if activation == "identity":
        return [_relabelled(example, _numbers(example.label, len(labels), path)) for example in examples]
    if activation == "softmax":
        lists = {label: tuple(map(str, label)) if isinstance(label, tuple) else (label,) for label in known}
        if several := next((parts for parts in lists.values() if len(parts) != 1), None):
            raise ConfigError(f"{path}: {len(several)} labels of one text, of a model that has one label a text.")
        names = _names({part for parts in lists.values() for part in parts}, labels, path)
        return [_relabelled(e, None if e.label is None else names[lists[e.label][0]]) for e in examples]
    lists = {label: _parts(label, labels) for label in known}
    if lists and all(_is_row_of_flags(parts, labels) for parts in lists.values()):
        chosen = {
            label: tuple(name for name, part in zip(labels, parts, strict=True) if float(part))
            for label, parts in lists.items()
        }
    else:
        names = _names({part for parts in lists.values() for part in parts}, labels, path)
        chosen = {label: tuple(dict.fromkeys(names[part] for part in parts)) for label, parts in lists.items()}
    return [_relabelled(e, None if e.label is None else chosen[e.label]) for e in examples]


def _relabelled(example: Example, label: str | tuple[str, ...] | tuple[float, ...] | None) -> Example:
    return structs.replace(example, label=label)


def _parts(label: str | tuple[object, ...], labels: Sequence[str]) -> tuple[str, ...]:
    """The labels in `label`: a list, a list that was written as text, or parts between separators."""
    if isinstance(label, tuple):
        return tuple(map(str, label))
    if _name_of(label, labels) is not None:
        return (label,)
    if label.startswith("["):
        try:
            return tuple(map(str, msgspec.json.decode(label.replace("'", '"'), type=list[str | int | float])))
        except msgspec.DecodeError:
            return (label,)
    splits = [
        tuple(part.strip() for part in label.split(separator) if part.strip())
        for separator in _SEPARATORS
        if separator in label
    ]
    fitting = (parts for parts in splits if all(_name_of(p, labels) or _position(p) is not None for p in parts))
    return next(fitting, splits[0] if splits else (label,))


def _is_row_of_flags(parts: Sequence[str], labels: Sequence[str]) -> bool:
    """Whether `parts` is a 0 or 1 for each label."""
    return len(parts) == len(labels) > 1 and not set(parts) & set(labels) and {_position(p) for p in parts} <= {0, 1}


def _names(found: Iterable[str], labels: Sequence[str], path: Path) -> Mapping[str, str]:
    """The model's name of each label in `found`."""
    found = sorted(found)
    names = {label: name for label in found if (name := _name_of(label, labels)) is not None}
    if len(names) == len(found):
        return names
    positions = {label: position for label in found if (position := _position(label)) is not None}
    if len(positions) == len(found) and not names and 0 in positions.values() and max(positions.values()) < len(labels):
        return {label: labels[position] for label, position in positions.items()}
    strange = next(label for label in found if label not in names)
    raise ConfigError(
        f"{path}: the label {strange!r} is none of the model's ({', '.join(labels[:_SHOWN])}). Use the names, or "
        f"positions from 0 to {len(labels) - 1} for all texts."
    )


def _name_of(label: str, labels: Sequence[str]) -> str | None:
    """The name that `label` is, also where it is a number that was written as 1.0 or a truth value as true."""
    whole = _position(label)
    forms = (label, label.capitalize() if label in _TRUTH else label, label if whole is None else str(whole))
    return next((form for form in forms if form in labels), None)


def _position(label: str) -> int | None:
    """The whole number, at least 0, that `label` is."""
    try:
        value = float(_TRUTH.get(label, label))
    except ValueError:
        return None
    return int(value) if value >= 0 and value.is_integer() else None


def _numbers(label: str | tuple[object, ...] | None, count: int, path: Path) -> tuple[float, ...] | None:
    if label is None:
        return None
    try:
        values = tuple(float(_TRUTH.get(part, part)) for part in _parts(label, ()))
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        shown = label if isinstance(label, str) else ", ".join(map(str, label))
        raise ConfigError(
            f"{path}: the label {shown!r} is not {'a number' if count == 1 else f'{count} numbers'}, which this "
            "regression gives. Give one number for each output, separated by ';', or leave labels out."
        )
    return values
