"""Find the entities of texts with an exported artifact: python examples/tag.py ARTIFACT TEXT [TEXT ...]."""

from __future__ import annotations

import sys

import onnxpress


def main(artifact: str, texts: list[str]) -> None:
    """Print each text with its entities replaced, then these."""
    with onnxpress.load(artifact, task="token-classification") as tagger:
        found: list[list[onnxpress.Entity]] = tagger(texts, aggregation="first")
        for redacted, entities in zip(tagger.redact(texts, aggregation="first"), found, strict=True):
            print(redacted)
            for entity in entities:
                print(f"{entity.label:>10}  {entity.score:.3f}  {entity.start}:{entity.end}  {entity.text}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
