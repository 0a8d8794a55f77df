"""Texts for those who bring none: plain sentences about everyday things, put together from parts."""

from __future__ import annotations

from typing import Final

import numpy as np

from onnxpress.examples import Example

__all__ = ["GENERIC_NAME", "generic_examples"]

GENERIC_NAME: Final = "generic text"

_COUNT: Final = 1_200
_SEED: Final = 11

_OPENINGS: Final = (
    "", "", "", "Honestly, ", "To be fair, ", "As far as I can tell, ", "After two weeks, ", "Last night ",
    "For the price, ", "Compared with the old one, ", "Sadly, ", "I have to say, ", "On the way home ", "In short, ",
)  # fmt: skip
_SUBJECTS: Final = (
    "the battery", "the new manager", "our flight to Lisbon", "this phone", "the second season",
    "my grandmother's soup", "the train", "the hotel room", "the update", "her latest novel", "the customer service",
    "the weather forecast", "the vegetable market", "a small museum by the river", "the coffee machine",
    "the contract", "the meeting", "the neighbours' dog", "the invoice", "the lead actor", "their head office",
    "the garden", "the bus driver", "the orchestra", "the referee", "my old bicycle", "the app", "the soundtrack",
    "the delivery", "the recipe",
)  # fmt: skip
_PREDICATES: Final = (
    "was better than anyone expected", "broke after three days", "arrived late again", "never fails to make me smile",
    "is not worth the money", "works exactly as described", "could have been a little shorter", "left us speechless",
    "needs another look before Friday", "was cancelled without a word", "costs twice as much as it should",
    "turned out to be surprisingly quiet", "is hard to find but easy to love", "keeps asking for my password",
    "deserves more attention", "was neither good nor bad", "made the whole trip worthwhile", "went from bad to worse",
    "has improved a lot since the spring", "is everything that I wanted", "was cold, bland and overpriced",
    "will be moved to the third floor", "lost 4.5 percent in one afternoon", "won by two goals to one",
)  # fmt: skip
_ENDINGS: Final = (
    ".", ".", ".", "!", ", and I would do it again.", ", but nobody seems to care.", "; we shall see.",
    ", which is a pity.", ", or so they say.", " - what a day!", ", although the instructions were unclear.",
    ", so we called them at 9:30 and waited.", ", thanks to a very patient colleague.",
)  # fmt: skip
_REQUESTS: Final = (
    "Can you tell me how to reset my card's PIN?", "Please cancel my order.", "What time does the pharmacy close?",
    "Remind me to water the plants tomorrow.", "How many calories are in a banana?", "Where is my refund?",
    "Play something quiet.", "Is it going to rain on Sunday?", "I need to change my address.",
    "Translate this, please.", "Who wrote this letter?", "Could I speak to someone about my bill?",
    "Set a timer for twelve minutes.", "No.", "Thanks a lot", "ok", "How do I get to the airport from here?",
    "What is the exchange rate today?",
)  # fmt: skip


def generic_examples() -> list[Example]:
    """Different texts of one to some eighty words, always the same, without labels."""
    generator = np.random.default_rng(_SEED)

    def sentence() -> str:
        parts = [str(generator.choice(part)) for part in (_OPENINGS, _SUBJECTS, _PREDICATES, _ENDINGS)]
        return "".join((parts[0], parts[1], " ", parts[2], parts[3])).replace("  ", " ")

    texts = dict.fromkeys(_REQUESTS)
    while len(texts) < _COUNT:
        sentences = [sentence() for _ in range(generator.integers(1, 6))]
        if generator.random() < 0.2:
            sentences.append(str(generator.choice(_REQUESTS)))
        texts[" ".join(one[0].upper() + one[1:] for one in sentences)] = None
    return [Example(text) for text in texts]
