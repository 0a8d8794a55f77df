"""Which task a checkpoint is of."""

from __future__ import annotations

from typing import Any, Final

from onnxpress.errors import CheckpointError, ConfigError
from onnxpress_export.tasks.task import ExportTask
from onnxpress_export.tasks.text_classification import TEXT_CLASSIFICATION
from onnxpress_export.tasks.token_classification import TOKEN_CLASSIFICATION

__all__ = ["TASKS", "chosen_task", "stated_task"]

TASKS: Final = (TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION)


def stated_task(config: Any, adapter: str | None) -> ExportTask | None:
    """The task that an adapter's PEFT name, else config.json, states; None where it is none of `TASKS`.

    The names of its architectures go before the classes that its own code brings along (auto_map).
    """
    names, own = config.architectures or [], getattr(config, "auto_map", None) or {}
    if adapter is not None:
        return next((task for task in TASKS if task.adapter == adapter), None)
    by_name = (task for task in TASKS if any(name.endswith(task.ending) for name in names))
    by_code = (task for task in TASKS if task.model_class.__name__ in own)
    return next(by_name, next(by_code, None))


def chosen_task(source: str, config: Any, adapter: str | None, asked: str | None) -> ExportTask:
    """The task that is asked for by name, else the stated one.

    Raises:
        ConfigError: What is asked for is no task.
        CheckpointError: Nothing is asked for, and what is stated is another task.
    """
    if asked is not None:
        found = next((task for task in TASKS if task.name == asked), None)
        if found is None:
            raise ConfigError(f"task must be {' or '.join(task.name for task in TASKS)}, got {asked!r}")
        return found
    if (found := stated_task(config, adapter)) is None:
        kinds = " or a ".join(f"{task.kind} (*{task.ending})" for task in TASKS)
        what = (config.architectures or [config.model_type])[0]
        raise CheckpointError(
            source,
            f"is a {what}, not a {kinds}. Fine-tune it for one of these; where its head is one by another name, pass "
            f"--task {' or '.join(task.name for task in TASKS)}.",
        )
    return found
