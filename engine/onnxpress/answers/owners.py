"""Which text each vector of logits is of, and which of them decide: what an answer of several vectors is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Owners"]


@dataclass(frozen=True, slots=True)
class Owners:
    """The texts that vectors are of.

    Attributes:
        texts: How many there are; one may have no vector that decides.
        of: Number of the text of each vector, ascending, intp [vectors].
        decides: Whether the vector is a part of its text's answer, bool [vectors].
    """

    texts: int
    of: NDArray[np.intp]
    decides: NDArray[np.bool_]

    @classmethod
    def alone(cls, texts: int) -> Owners:
        """Of texts with one vector each, which is their answer."""
        return cls(texts, np.arange(texts), np.ones(texts, dtype=np.bool_))

    def first(self, texts: int) -> Owners:
        """Of the first `texts` of them."""
        vectors = int(np.searchsorted(self.of, texts))
        return Owners(texts, self.of[:vectors], self.decides[:vectors])

    def any_of(self, holds: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Of which texts a vector `holds`, bool [texts], by what each does, bool [vectors]."""
        return np.asarray(np.bincount(self.of[holds], minlength=self.texts) > 0)

    def smallest(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The smallest of each text's `values`, float64 [texts], of float64 [vectors]; infinite without any."""
        found = np.full(self.texts, np.inf)
        np.minimum.at(found, self.of, values)
        return found

    def product(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The product of the `values` of each text's deciding vectors, float64 [texts], of float64 [deciding]."""
        found = np.ones(self.texts)
        np.multiply.at(found, self.of[self.decides], values)
        return found

    def spread(self, values: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """To each vector what its text has, bool [vectors], of bool [texts]."""
        return np.asarray(values[self.of])
