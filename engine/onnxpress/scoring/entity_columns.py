"""The columns of a token classifier: lists of entities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, Final

import pyarrow as pa

from onnxpress.answers.answered import Answered
from onnxpress.errors import ConfigError
from onnxpress.tasks.entities import Aggregation, Entity
from onnxpress.token_classifier import TokenClassifier

__all__ = ["AGGREGATIONS", "ENTITIES", "entity_values", "require_entity_column"]

AGGREGATIONS: Final[dict[str, Aggregation]] = {
    "entities": "simple",
    "entities_first": "first",
    "entities_average": "average",
    "entities_max": "max",
    "tokens": "none",
}
"""What becomes an entity, by the column's name."""

_ENTITY: Final = pa.struct(
    [
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("start", pa.int32()),
        pa.field("end", pa.int32()),
        pa.field("text", pa.string()),
    ]
)
ENTITIES: Final = pa.list_(_ENTITY)


def require_entity_column(item: str) -> None:
    """Raise ConfigError when a token classifier has no column `item`."""
    if item not in AGGREGATIONS:
        known = ", ".join((*AGGREGATIONS, "stage"))
        raise ConfigError(f"this model labels tokens: columns must be of {known}, got {item!r}")


def entity_values(answered: Sequence[Answered], classifier: TokenClassifier, column: str) -> Any:
    """The entities of each text, as a list array."""
    aggregation = AGGREGATIONS[column]
    lists = list(chain.from_iterable(classifier.entities(part, aggregation=aggregation) for part in answered))
    offsets = list(accumulate(map(len, lists), initial=0))
    entities: list[Entity] = list(chain.from_iterable(lists))
    members = [pa.array([getattr(entity, field.name) for entity in entities], field.type) for field in _ENTITY]
    structs = pa.StructArray.from_arrays(members, fields=list(_ENTITY))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)
