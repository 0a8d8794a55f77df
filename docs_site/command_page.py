"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import typer

__all__ = ["command_page"]

_HEAD: Final = """\
Made from the commands themselves. Exit status: 0 done, 1 a check failed or an unexpected error, 2 bad input, 3 not to
be told. `onnxpress --debug …` shows tracebacks."""


def command_page() -> str:
    """A Markdown page with every command, its arguments and its options."""
    from onnxpress.cli.main import app

    root = typer.main.get_command(app)
    words = ["# The command line", "", _HEAD]
    for name, command in _commands(root, "onnxpress"):
        words += ["", f"## `{name}`", "", _sentences(command.help), *_parameters(name, command)]
    return "\n".join(words) + "\n"


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """What can be run, by its whole name; groups are passed through."""
    inner = getattr(command, "commands", None)
    if not inner:
        yield name, command
        return
    for word, one in inner.items():
        yield from _commands(one, f"{name} {word}")


def _parameters(name: str, command: Any) -> list[str]:
    shown = [one for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option"]
    usage = " ".join([name, *(_metavar(one) for one in arguments), *(["[options]"] if options else [])])
    rows = [f"| `{_metavar(one)}` | {_cell(one.help)} | |" for one in arguments]
    rows += [f"| {_names(one)} | {_cell(one.help)} | {_default(one)} |" for one in options]
    return ["", f"    {usage}", *(["", "| | | default |", "|---|---|---|", *rows] if rows else [])]


def _metavar(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).upper()
    name = f"{name}…" if parameter.nargs != 1 else name
    return name if parameter.required else f"[{name}]"


def _names(parameter: Any) -> str:
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _default(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        return "needed"
    if default is None or callable(default) or default is False or default == () or default == "":
        return ""
    return f"`{getattr(default, 'value', default)}`"


def _cell(words: str | None) -> str:
    return _sentences(words).replace("|", "\\|")


def _sentences(words: str | None) -> str:
    return " ".join((words or "").split()).replace("<", "&lt;")
