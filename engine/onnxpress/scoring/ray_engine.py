"""The same parts, scored by actors of Ray Data, each of which holds an engine.

Who writes a part, and how often, makes no difference: its bytes are the same, it appears by rename, and the journal,
which the calling process alone writes, takes each part once.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import Event
from typing import Any

import msgspec

from onnxpress.errors import OnnxpressError
from onnxpress.model import Model
from onnxpress.scoring.journal import PartRecord
from onnxpress.scoring.options import ScoreOptions
from onnxpress.scoring.pipeline import one_part, score_items
from onnxpress.scoring.plan import Plan, open_classifier
from onnxpress.scoring.rows import Position

__all__ = ["score_with_ray"]


def score_with_ray(
    plan: Plan,
    starts: Sequence[tuple[int, Position]],
    options: ScoreOptions,
    *,
    on_part: Callable[[PartRecord], None],
    stop: Event,
) -> bool:
    """Score the parts that begin at `starts`; actors that die are replaced, and their parts scored again.

    Args:
        plan: How; its folders must be the same on every machine.
        starts: Indices and places of the parts.
        options: Workers, their GPUs, and the cluster.
        on_part: Called for each part on the disk, in any order.
        stop: Once set, no other part is taken.

    Returns:
        Whether all were scored, which `stop` alone prevents.

    Raises:
        OnnxpressError: What the first worker that failed raised.
    """
    if not starts:
        return True
    import ray.data

    with _cluster(options.ray_address):
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        items = [{"part": part, "start": msgspec.json.encode(start)} for part, start in starts]
        results = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Worker,
            fn_constructor_args=(plan, os.getcwd()),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(options.workers, len(items))),
            num_cpus=plan.engine.threads,
            num_gpus=options.gpus_per_worker or None,
        )  # Ray Data restarts actors and repeats their tasks of its own accord
        for row in results.iter_rows():
            if row["error"]:
                error: OnnxpressError = pickle.loads(row["error"])
                raise error
            on_part(msgspec.json.decode(row["record"], type=PartRecord))
            if stop.is_set():
                break
        else:
            return True
    return False


class _Worker:
    """An actor: one engine, for any parts."""

    def __init__(self, plan: Plan, folder: str) -> None:
        self._plan, self._folder = plan, folder

    @cached_property
    def _classifier(self) -> Model:
        os.chdir(self._folder)  # the input's names may be relative
        return open_classifier(self._plan)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        records: list[PartRecord] = []
        try:
            for part, start in zip(batch["part"].tolist(), batch["start"], strict=True):
                place = msgspec.json.decode(start, type=Position)
                items = one_part(self._plan, self._classifier, part, place)
                score_items(self._plan, self._classifier, items, on_part=records.append)
        except (OnnxpressError, OSError) as error:  # an answer, not a reason to try again
            return {"record": [b""], "error": [pickle.dumps(error)]}
        return {"record": [msgspec.json.encode(record) for record in records], "error": [b""] * len(records)}


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """The cluster that is connected to already, or the one at `address`, or a local one, which is ended again."""
    import ray

    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    local = {} if address else {"include_dashboard": False}
    ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False, **local)
    try:
        yield
    finally:
        ray.shutdown()
