"""`onnxpress verify`: do the lower precisions keep the answers here, on these texts?"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Final

import msgspec
import typer

from onnxpress.answers.fidelity import Answers, Decision, require_budget
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.cli.endpoint import verify_endpoint
from onnxpress.cli.progress import show_steps
from onnxpress.errors import ConfigError
from onnxpress.examples import read_examples
from onnxpress.loading import load
from onnxpress.sessions.session import resolve_device
from onnxpress.tasks.comparison import COMPARISONS, Compared, Measure

__all__ = ["verify"]

_ROUNDS: Final = 3


def verify(
    artifact: Annotated[Path, typer.Argument(help="The artifact's directory.")],
    sample: Annotated[Path, typer.Option(help="Texts: one a line, or JSONL, CSV or Parquet with a field `text`.")],
    max_disagreement: Annotated[
        float | None, typer.Option(help="Share of answers that may change.", show_default="that of the export")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Compare a running server instead: of onnxpress, text-embeddings-inference or vLLM; its URL."
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="With --endpoint: what it is compared with, fp32, int8 or auto.", show_default="fp32"),
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="With --endpoint: what its scores may differ by.", show_default="0.01")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="ONNXPRESS_TOKEN", help="With --endpoint: its bearer token.")
    ] = None,
) -> None:
    """Compare every lower precision with fp32 on this machine: a JSON line each; exit status 1 when over budget.

    With --endpoint, compare a running server's answers: labels, scores, their order, and what it cuts of a long text.
    """
    if endpoint is not None:
        if max_disagreement is not None:
            raise ConfigError("--max-disagreement is of lower precisions; with --endpoint pass --tolerance")
        verify_endpoint(
            artifact,
            endpoint,
            sample,
            precision="fp32" if precision is None else precision,
            tolerance=0.01 if tolerance is None else tolerance,
            token=token,
        )
        return
    if precision is not None or tolerance is not None:
        raise ConfigError("--precision and --tolerance are of --endpoint, which is not given")
    if max_disagreement is not None and not 0 <= max_disagreement < 1:
        raise ConfigError(f"--max-disagreement must be from 0 to below 1, got {max_disagreement:g}")
    opened = open_artifact(artifact)
    manifest = opened.manifest
    lower = [(variant, variant.fidelity) for variant in manifest.variants if variant.fidelity is not None]
    if not lower:
        raise ConfigError(
            f"{artifact} holds only fp32, which was compared with torch. Export with --precision fp32,int8."
        )
    from tokenizers import Tokenizer  # takes time to import, which a bad setting's error need not wait for

    comparison = COMPARISONS[manifest.task]
    examples = comparison.examples(read_examples(sample), manifest.labels, manifest.activation, sample)
    texts = [example.text for example in examples]
    decision = Decision(manifest.activation, manifest.thresholds)
    here = [(variant, exported) for variant, exported in lower if variant.precision != "fp16" or _has_cuda()]
    if not here:
        raise ConfigError(
            f"{artifact}: fp16 is for CUDA, which this machine's onnxruntime lacks. Run this where it is."
        )
    for variant, exported in here:
        with (
            show_steps(f"comparing {variant.precision} with fp32") as show,
            load(artifact, precision="fp32", device="cpu", optimize_for="throughput", spinning=False) as reference,
            load(artifact, precision=variant.precision, optimize_for="throughput", spinning=False) as candidate,
        ):
            rows = reference.encode(texts)
            answers = Answers(reference.answer(rows).logits, decision, comparison.owners(rows))
            logits = candidate.answer(rows).logits
            ratios = []
            for number in range(_ROUNDS):
                show(f"timing, round {number + 1} of {_ROUNDS}")
                seconds = []
                for classifier in (reference, candidate):
                    begin = perf_counter()
                    classifier.logits(texts)
                    seconds.append(perf_counter() - begin)
                ratios.append(seconds[0] / seconds[1])
        found = comparison.compare(
            answers,
            rows,
            Compared(logits=logits, name=variant.precision, speed=median(ratios)),
            Measure(
                examples=examples,
                labels=manifest.labels,
                sample=sample.name,
                budget=exported.budget if max_disagreement is None else max_disagreement,
                tokenizer=Tokenizer.from_buffer(opened.read("tokenizer.json")),
            ),
        )
        typer.echo(msgspec.json.encode({"precision": variant.precision, **msgspec.to_builtins(found)}).decode())
        require_budget(found, variant.precision)


def _has_cuda() -> bool:
    """Whether this onnxruntime has CUDA."""
    return resolve_device("auto")[0] == "cuda"
