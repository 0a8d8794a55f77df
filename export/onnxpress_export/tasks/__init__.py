"""What an export does by the task, one module a task; all else knows of none.

A new task is a module with its `ExportTask`, named in `TASKS`.
"""

from __future__ import annotations

from onnxpress_export.tasks.choose import TASKS, chosen_task, stated_task
from onnxpress_export.tasks.task import ExportTask, all_of_each

__all__ = ["TASKS", "ExportTask", "all_of_each", "chosen_task", "stated_task"]
