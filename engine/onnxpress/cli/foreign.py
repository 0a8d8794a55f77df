"""What other libraries would write on the terminal, kept back: the commands' words are the project's own."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Final

__all__ = ["silence_libraries"]

# Read by libraries at their import, and by the processes that commands start.
_VARIABLES: Final = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
_OURS: Final = "onnxpress"


def silence_libraries() -> None:
    """Let no library but this one log or warn on the terminal; what the user has set in the environment stays.

    For a command line's own process, before libraries are imported: a program that embeds the engine decides by itself.
    """
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions and "PYTHONWARNINGS" not in os.environ:
        warnings.simplefilter("ignore")
    root, ours = logging.getLogger(), logging.getLogger(_OURS)
    if not root.handlers:
        root.addHandler(logging.NullHandler())  # in place of Python's last resort, which writes warnings
    if not ours.handlers:
        ours.addHandler(logging.StreamHandler())
