"""`onnxpress bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from onnxpress.cli.progress import show_steps
from onnxpress.errors import CheckFailedError, ConfigError
from onnxpress.extras import require
from onnxpress_bench.outputs import require_writable, write_whole

if TYPE_CHECKING:
    from onnxpress_bench.gate.decision import GateResult
    from onnxpress_bench.result import BenchResult

__all__ = ["app"]

_TABLE_WIDTH: Final = 180
_INCONCLUSIVE: Final = 3

app = typer.Typer()
_bench = typer.Typer(no_args_is_help=True, help="Measure the engine, side by side with other systems.")
app.add_typer(_bench, name="bench")


@_bench.callback()
def _group() -> None:
    require(("scipy", "platformdirs", "filelock"), extra="bench")


@_bench.command()
def run(
    artifact: Annotated[Path, typer.Argument(help="The artifact's directory.")],
    texts: Annotated[Path, typer.Option(help="Texts: one a line, or .jsonl, .csv, .parquet with a field `text`.")],
    against: Annotated[str | None, typer.Option(help="The checkpoint, to measure other systems on.")] = None,
    peers: Annotated[str, typer.Option(help="Other systems, by commas; or all.")] = "pipeline",
    precision: Annotated[
        str, typer.Option(help="The artifact's variants, by commas: fp32, fp16, int8; or all.")
    ] = "fp32",
    blocks: Annotated[int, typer.Option(help="Blocks: in each every system is started afresh and has two turns.")] = 8,
    requests: Annotated[int, typer.Option(help="Single requests a turn.")] = 200,
    loads: Annotated[
        str, typer.Option(help="Arrival rates, as shares of offline throughput; or none.")
    ] = "0.3,0.5,0.7,0.9",
    sweep: Annotated[str, typer.Option(help="Lengths in tokens to sweep; or none.")] = "16,64,256",
    cold_starts: Annotated[
        int, typer.Option(help="Fresh processes a system to time to their first answer; each block gives one.")
    ] = 8,
    output: Annotated[Path | None, typer.Option(help="Also write everything measured to this JSON file.")] = None,
) -> None:
    """Measure latency, throughput, cold start and memory; each system in a process of its own, in turns.

    Exits with 1 when the engine's answers are not those of the checkpoint: all of them, or for a lower precision all
    but the share that its export allowed; with 3 when the machine told the engine from itself.
    """
    require(("onnxruntime",), extra="cpu")
    if against:
        require(("torch", "transformers"), extra="bench")
    from onnxpress.artifacts.artifact import open_artifact
    from onnxpress_bench.peers import PEERS
    from onnxpress_bench.result import encode_result
    from onnxpress_bench.runner import run_benchmark
    from onnxpress_bench.sample import SampleSizes
    from onnxpress_bench.table import render

    sizes = SampleSizes(
        blocks=blocks,
        requests=requests,
        loads=_numbers("loads", loads),
        cold_starts=cold_starts,
        sweep_tokens=_integers("sweep", sweep),
    )
    require_writable("--output", output)
    held = [variant.precision for variant in open_artifact(artifact).manifest.variants]

    def keep(result: BenchResult) -> None:
        if output is not None:
            write_whole(output, encode_result(result))

    with show_steps("starting") as show:
        result = run_benchmark(
            artifact,
            texts,
            against=against,
            precisions=held if precision == "all" else [name.strip() for name in precision.split(",")],
            peers=list(PEERS) if peers == "all" else [name.strip() for name in peers.split(",")],
            sizes=sizes,
            command=sys.argv[1:],
            on_step=show,
            on_measured=keep,
        )
    keep(result)
    _console().print(render(result))
    for system in result.systems:  # a fast wrong answer is no result
        agreement = system.agreement
        if system.spec.kind == "engine" and not agreement.is_kept:
            raise CheckFailedError(
                f"{system.spec.name} gives {agreement.texts - agreement.equal_labels} of {agreement.texts:,} texts "
                f"another {agreement.compared[:-1]} than {agreement.reference}; {agreement.may_change:.2%} may differ. "
                "Export the artifact from that checkpoint again."
            )
    if result.is_void:
        raise typer.Exit(_INCONCLUSIVE)


@_bench.command()
def compare(
    baseline: Annotated[Path, typer.Argument(help="An artifact's directory, or a result file of `bench run`.")],
    candidate: Annotated[Path, typer.Argument(help="The same, of what may be slower.")],
    texts: Annotated[Path | None, typer.Option(help="Texts to measure artifacts on.")] = None,
    max_slowdown: Annotated[float, typer.Option(help="The largest slowdown that passes.")] = 1.05,
    seconds: Annotated[float, typer.Option(help="The time that it may take.")] = 170.0,
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8 or auto.")] = "auto",
    baseline_env: Annotated[
        Path | None, typer.Option(help="Python of the environment whose onnxpress runs the baseline.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also append GitHub-flavoured Markdown to this file.")] = None,
) -> None:
    """Is CANDIDATE slower than BASELINE, beyond the limit? Two artifacts are measured now, in turns.

    Exits with 0 when it is not, with 1 when it is, with 3 when the time did not suffice to tell.
    """
    from onnxpress_bench.gate import words
    from onnxpress_bench.gate.decision import EXIT_STATUS

    if not 1 <= max_slowdown <= 10:
        raise ConfigError(f"--max-slowdown must be from 1 to 10, got {max_slowdown}")
    require_writable("--junit", junit)
    require_writable("--markdown", markdown)
    if baseline.is_file() and candidate.is_file():
        from onnxpress_bench.gate.recorded import compare_recorded
        from onnxpress_bench.result import read_result

        if baseline_env is not None:
            raise ConfigError("--baseline-env is for artifacts, which are measured now; these are result files.")
        found = compare_recorded(
            read_result(baseline), read_result(candidate), names=(str(baseline), str(candidate)), limit=max_slowdown
        )
    else:
        found = _measure_now(baseline, candidate, texts, baseline_env, max_slowdown, seconds, precision)
    for finding in found.findings:
        print(words.sentence(found, finding), flush=True)
    for note in found.notes:
        print(note, file=sys.stderr)
    if junit is not None:
        write_whole(junit, words.junit(found).encode())
    if markdown is not None:
        with markdown.open("a", encoding="utf-8") as file:
            file.write(words.markdown(found))
    raise typer.Exit(EXIT_STATUS[found.verdict])


def _measure_now(
    baseline: Path,
    candidate: Path,
    texts: Path | None,
    baseline_env: Path | None,
    limit: float,
    seconds: float,
    precision: str,
) -> GateResult:
    require(("onnxruntime",), extra="cpu")
    from onnxpress.artifacts.artifact import open_artifact
    from onnxpress.examples import read_examples
    from onnxpress_bench.gate.paired import Side, compare_now
    from onnxpress_bench.process import Python, this_python, worker_sources

    if texts is None:
        raise ConfigError("--texts FILE is needed to measure two artifacts. Two result files need none.")
    if not seconds >= 10:
        raise ConfigError(f"--seconds must be at least 10, got {seconds:g}")
    if baseline_env is not None and not baseline_env.is_file():
        raise ConfigError(f"{baseline_env}: no such file. --baseline-env takes a Python, as in env/bin/python.")
    for artifact in (baseline, candidate):
        open_artifact(artifact)
    rows = [example.text for example in read_examples(texts)]
    with worker_sources() as sources, show_steps("measuring") as show:
        python = this_python() if baseline_env is None else Python(executable=str(baseline_env), sources=sources)
        beside = "" if baseline_env is None else f" ({baseline_env})"
        return compare_now(
            Side(name=f"{baseline}{beside}", artifact=str(baseline), python=python),
            Side(name=str(candidate), artifact=str(candidate), python=this_python()),
            rows,
            limit=limit,
            seconds=seconds,
            precision=precision,
            on_step=show,
        )


@_bench.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="Result files of `bench run`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("report.html"),
) -> None:
    """Draw results as one self-contained HTML page."""
    require(("matplotlib", "jinja2"), extra="bench")
    from onnxpress_bench.html.page import report as draw_report
    from onnxpress_bench.result import read_result

    require_writable("--output", output)
    write_whole(output, draw_report([(path.name, read_result(path)) for path in results]).encode())
    print(output)


@_bench.command()
def history(
    directory: Annotated[Path, typer.Argument(help="A folder of result files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("history.html"),
) -> None:
    """Draw the engine's figures in a folder of results over commits."""
    require(("matplotlib", "jinja2"), extra="bench")
    from onnxpress_bench.history import history_page, read_history

    require_writable("--output", output)
    write_whole(output, history_page(read_history(directory)).encode())
    print(output)


@_bench.command()
def picture(
    result: Annotated[Path, typer.Argument(help="A result file of `bench run`, or the JSON that this wrote of one.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Begins what is written: -light.svg, -dark.svg and .json follow.")
    ] = Path("measured"),
    systems: Annotated[str, typer.Option(help="Systems to show, in their order, separated by semicolons.")] = "",
) -> None:
    """Draw a result's main figures as a picture for a README, for light and for dark pages."""
    from onnxpress_bench.html.picture import DARK, LIGHT, draw_picture, encode_shown, read_shown

    shown = read_shown(result, [name.strip() for name in systems.split(";") if name.strip()])
    written = {
        "-light.svg": draw_picture(shown, LIGHT).encode(),
        "-dark.svg": draw_picture(shown, DARK).encode(),
        ".json": encode_shown(shown),
    }
    for ending, content in written.items():
        path = output.with_name(f"{output.name}{ending}")
        require_writable("--output", path)
        write_whole(path, content)
        print(path)


@_bench.command()
def schema() -> None:
    """Print the JSON Schema of result files."""
    import msgspec

    from onnxpress_bench.result import RESULT_SCHEMA_VERSION, BenchResult

    described = {"$comment": f"schema_version {RESULT_SCHEMA_VERSION}"} | msgspec.json.schema(BenchResult)
    print(msgspec.json.format(msgspec.json.encode(described), indent=2).decode())


def _numbers(option: str, words: str) -> tuple[float, ...]:
    if words == "none":
        return ()
    try:
        return tuple(float(word) for word in words.split(","))
    except ValueError:
        raise ConfigError(f"--{option} takes numbers with commas between them, or none; got {words!r}") from None


def _integers(option: str, words: str) -> tuple[int, ...]:
    found = _numbers(option, words)
    if not all(number.is_integer() for number in found):
        raise ConfigError(f"--{option} takes whole numbers with commas between them, or none; got {words!r}")
    return tuple(int(number) for number in found)


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _TABLE_WIDTH
    return console
