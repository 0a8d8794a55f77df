"""`onnxpress`: the engine's own commands, and those of the packages above it, found by entry point."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

import onnxpress
from onnxpress.cli.doctor import doctor
from onnxpress.cli.drift import drift
from onnxpress.cli.explain import explain
from onnxpress.cli.foreign import silence_libraries
from onnxpress.cli.inspect import inspect
from onnxpress.cli.predict import predict
from onnxpress.cli.score import score
from onnxpress.cli.serve import serve
from onnxpress.cli.tune import tune
from onnxpress.cli.verify import verify
from onnxpress.errors import CheckFailedError, OnnxpressError

__all__ = ["app", "main"]

_CHECK_FAILED: Final = 1
_BAD_INPUT: Final = 2
_INTERRUPTED: Final = 130
_MOST_WORDS: Final = 500


class _OneLineErrors(TyperGroup):
    """Turns the project's errors, and the operating system's, into one line and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: nobody to tell
            ctx.exit(_CHECK_FAILED)
        except (OnnxpressError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            ctx.exit(_CHECK_FAILED if isinstance(error, CheckFailedError) else _BAD_INPUT)
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)
        except Exception as error:
            if ctx.params.get("debug") or isinstance(error, typer.Abort) or hasattr(error, "exit_code"):  # as Exit has
                raise
            typer.echo(f"error: {_unexpected(error)}", err=True)
            ctx.exit(_CHECK_FAILED)


def _unexpected(error: Exception) -> str:
    """One line on an error that nobody foresaw, with what to do about it."""
    said = " ".join(str(error).split())[:_MOST_WORDS].rstrip(".")
    return (
        f"unexpected {type(error).__name__}{f': {said}' if said else ''}. This is a mistake in onnxpress: run the same "
        "again as `onnxpress --debug …`, and report what it prints."
    )


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fine-tuned text classifiers as optimized ONNX: export, check, serve and measure them.",
)


@app.callback()
def _root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error, and what other libraries log.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=lambda on: _version(on)),
    ] = False,
) -> None:
    if not debug:
        silence_libraries()


def _version(on: bool) -> None:
    if on:
        typer.echo(onnxpress.__version__)
        raise typer.Exit


app.command()(predict)
app.command()(inspect)
app.command()(verify)
app.command()(tune)
app.command()(score)
app.command()(explain)
app.command()(drift)
app.command()(serve)
app.command()(doctor)
for _entry in sorted(entry_points(group="onnxpress.commands"), key=lambda entry: entry.name):
    app.add_typer(_entry.load(), name=None)


def main() -> None:
    """Run the command line with the process's arguments."""
    app()
