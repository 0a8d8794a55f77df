"""`onnxpress serve`: artifacts over HTTP."""

from __future__ import annotations

from functools import partial
from typing import Annotated, cast

import typer

from onnxpress.errors import ConfigError
from onnxpress.extras import require
from onnxpress.hardware.cpu import available_cpus
from onnxpress.loading import load
from onnxpress.settings import OptimizeFor, require_whole

__all__ = ["serve"]


def serve(
    artifacts: Annotated[
        list[str], typer.Argument(help="Directories of artifacts, or NAME=PATH; the first is asked without a name.")
    ],
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 for one that is free.")] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="ONNXPRESS_TOKEN", help="What requests must bring as Authorization: Bearer TOKEN.", show_envvar=True
        ),
    ] = None,
    max_texts: Annotated[int, typer.Option(help="Texts of one request.")] = 256,
    max_body: Annotated[int, typer.Option(help="Bytes of one request's body.")] = 2_000_000,
    max_requests: Annotated[int, typer.Option(help="Texts that may wait, for each artifact.")] = 1_024,
    max_queued_tokens: Annotated[int, typer.Option(help="Tokens of these together.")] = 65_536,
    timeout: Annotated[
        float, typer.Option(help="Seconds for an answer; a request may ask for fewer by X-Request-Timeout.")
    ] = 60.0,
    close_seconds: Annotated[int, typer.Option(help="Seconds in which SIGTERM lets what waits be answered.")] = 30,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8 or auto.")] = "auto",
    optimize_for: Annotated[
        str, typer.Option(help="throughput runs a batch on each thread, latency one on all of them.")
    ] = "throughput",
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads, for each artifact of each worker; by default the CPUs are shared out."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that answer on the one port.")] = 1,
    max_characters: Annotated[int, typer.Option(help="Characters a text may have.")] = 100_000,
) -> None:
    """Answer over HTTP, with the routes of text-embeddings-inference, until SIGTERM or Ctrl-C."""
    require(("starlette", "uvicorn"), extra="serve")
    from onnxpress.serving.http.limits import Limits
    from onnxpress.serving.http.models import name_artifacts
    from onnxpress.serving.http.server import Serving, listen
    from onnxpress.serving.http.server import serve as serve_on
    from onnxpress.serving.http.workers import supervise

    if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
        raise ConfigError("--token must be of printable ASCII characters without spaces around them, at least one")
    if close_seconds < 0:
        raise ConfigError(f"--close-seconds must be 0 or more, got {close_seconds}")
    limits = Limits(
        max_texts=max_texts,
        max_body=max_body,
        max_requests=max_requests,
        max_tokens=max_queued_tokens,
        timeout=timeout,
    )
    require_whole("workers", workers)
    named = name_artifacts(artifacts)
    opened = partial(
        load,
        device=device,
        precision=precision,
        optimize_for=cast("OptimizeFor", optimize_for),
        threads=max(1, available_cpus() // workers) if threads is None and workers > 1 else threads,
        max_characters=max_characters,
        spinning=False,
    )
    serving = Serving(artifacts=named, load=opened, limits=limits, token=token, close_seconds=close_seconds)

    def on_ready(url: str) -> None:
        by = f", {workers} workers" if workers > 1 else ""
        typer.echo(f"serving {', '.join(named)} on {url}{by}", err=True)

    if workers == 1:
        serve_on(serving, listening=listen(host, port), on_ready=on_ready)
    else:
        supervise(serving, workers, listening=listen(host, port), on_ready=on_ready)
