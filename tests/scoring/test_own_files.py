"""A job's own files are never taken for input, and nothing that the job did not make is taken away."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet

import onnxpress
from onnxpress.scoring import job
from onnxpress.scoring.files import find_files
from onnxpress.scoring.target import _matches
from tests.scoring.conftest import ROWS, Stopped, make_table, read_folder, run_score

GOOD = '{"text": "good"}\n'
BAD = '{"text": null}\n'


def test_the_file_of_rejects_is_not_the_input(artifact: Path, tmp_path: Path) -> None:
    source = tmp_path / "out.csv.rejected.jsonl"
    source.write_text(GOOD + BAD)
    for restart in (False, True):
        with pytest.raises(onnxpress.ConfigError, match="the file of what is rejected is part of the input"):
            onnxpress.score(artifact, source, tmp_path / "out.csv", on_bad_row="skip", restart=restart)
    assert source.read_text() == GOOD + BAD and not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("content", [GOOD, GOOD + BAD])
def test_a_file_of_rejects_that_is_there_is_kept(artifact: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "in.jsonl").write_text(content)
    mine = tmp_path / "out.csv.rejected.jsonl"
    mine.write_text("mine")
    with pytest.raises(onnxpress.OutputExistsError, match=r"out\.csv\.rejected\.jsonl exists already.*--restart"):
        onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.csv", on_bad_row="skip")
    assert mine.read_text() == "mine" and not list(tmp_path.glob(".*"))
    onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.csv", on_bad_row="skip", restart=True)
    assert mine.exists() == (content != GOOD) and (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("name", ["out.csv", "out.csv.rejected.jsonl", "out"])
@pytest.mark.parametrize("restart", [False, True])
def test_what_appears_meanwhile_is_kept(artifact: Path, tmp_path: Path, name: str, restart: bool) -> None:
    (tmp_path / "in.jsonl").write_text(GOOD + BAD)
    output = tmp_path / name.removesuffix(".rejected.jsonl")
    other = tmp_path / name

    def interfere(progress: onnxpress.Progress) -> None:
        if name == "out":
            other.mkdir(exist_ok=True)
            (other / "part-000000.jsonl").write_text("mine")
        else:
            other.write_text("mine")

    def score(on_progress: Callable[[onnxpress.Progress], None] | None = None, restart: bool = False) -> int:
        source = tmp_path / "in.jsonl"
        return onnxpress.score(
            artifact, source, output, on_bad_row="null", on_progress=on_progress, restart=restart
        ).rows  # fmt: skip

    with pytest.raises(onnxpress.JobError, match="was put there while the job ran"):
        score(interfere, restart)
    assert (other / "part-000000.jsonl" if name == "out" else other).read_text() == "mine"
    other.rename(tmp_path / "kept")
    assert score() == 2 and output.exists()


@pytest.mark.parametrize("output", ["in/out.csv", "in/deep/out.csv", "in/scored", "in/"])
def test_an_output_in_the_folder_that_is_read_is_refused(artifact: Path, tmp_path: Path, output: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("text\ngood\n")
    for source in (f"{tmp_path}/in", f"file://{tmp_path}/in/"):
        with pytest.raises(onnxpress.ConfigError, match=r"lies where the input is read from|is part of the input"):
            onnxpress.score(artifact, source, f"{tmp_path}/{output}")
    assert list(read_folder(tmp_path / "in")) == ["a.csv"]


@pytest.mark.parametrize(
    ("pattern", "output", "refused"),
    [
        ("*.csv", "out.csv", True),
        ("*.csv", "scored/out.csv", False),
        ("**/*.csv", "scored/out.csv", True),
        ("part-*.csv", "out.csv", False),
        ("*.jsonl", "out.csv", False),
        ("*/*.csv", "scored", True),
        ("?.csv", "scored", False),
    ],
)
def test_an_output_that_the_glob_takes_is_refused(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, output: str, refused: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (".", "a", "scored"):
        Path(folder).mkdir(exist_ok=True)
    Path("scored").rmdir() if output == "scored" else None
    for name in ("1.csv", "a/1.csv", "part-1.csv"):
        Path(name).write_text("text\ngood\n")
    Path("1.jsonl").write_text(GOOD)
    if refused:
        with pytest.raises(onnxpress.ConfigError, match="lies where the input is read from"):
            onnxpress.score(artifact, pattern, output)
    else:
        assert onnxpress.score(artifact, pattern, output).rows >= 1


def test_a_glob_is_matched_part_by_part() -> None:
    assert _matches(["a", "**", "*.csv"], ["a", "b", "c", "d.csv"]) and _matches(["**"], ["a", "b"])
    assert _matches(["a", "**", "*.csv"], ["a", "d.csv"]) and not _matches(["a", "*"], ["a", "b", "c"])
    assert not _matches(["a", "*.csv"], ["a"])


def test_what_was_rejected_is_not_data(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.jsonl", "old.csv.rejected.jsonl"):
        (tmp_path / "in" / name).write_text(GOOD)
    assert [Path(name).name for name in find_files(f"{tmp_path}/in")] == ["a.jsonl"]
    assert [Path(name).name for name in find_files(f"{tmp_path}/in/*.jsonl")] == ["a.jsonl"]
    assert len(find_files(f"{tmp_path}/in/old.csv.rejected.jsonl")) == 1


def test_a_path_and_its_url_are_one(artifact: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(GOOD)
    for one, other in ((source, f"file://{source}"), (f"file://{source}", source), (f"FILE://{source}", source)):
        with pytest.raises(onnxpress.ConfigError, match="the output is part of the input"):
            onnxpress.score(artifact, one, other, restart=True)
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(onnxpress.OutputExistsError):
        onnxpress.score(artifact, source, f"file://{tmp_path}/out.csv")
    onnxpress.score(artifact, f"file://{source}", f"file://{tmp_path}/parts/")
    assert list(read_folder(tmp_path / "parts")) == ["part-000000.jsonl"]


def test_a_link_to_the_input_is_the_input(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(GOOD)
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "in.jsonl")
    with pytest.raises(onnxpress.ConfigError, match="the output is part of the input"):
        onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.jsonl", restart=True)
    (tmp_path / "nowhere.csv").symlink_to(tmp_path / "gone")
    with pytest.raises(onnxpress.OutputExistsError):
        onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "nowhere.csv")


def test_files_in_the_folder_of_the_state_that_are_not_the_jobs_stay(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(GOOD)
    state = tmp_path / ".out.csv.onnxpress"
    (state / "deep").mkdir(parents=True)
    (state / "notes.md").write_text("mine")
    (state / "data.jsonl").write_text(GOOD)
    with pytest.raises(onnxpress.ConfigError, match="the output is part of the input"):
        onnxpress.score(artifact, state / "data.jsonl", tmp_path / "out.csv")
    onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.csv")
    assert sorted(path.name for path in state.iterdir()) == ["data.jsonl", "deep", "notes.md"]


@pytest.mark.parametrize("name", ["out.csv", "out/"])
def test_an_output_that_is_gone_before_the_job_was_cleared_is_made_again(
    artifact: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    output, clear = tmp_path / name, job._clear_parts

    def fail(state: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(job, "_clear_parts", fail)
        with pytest.raises(KeyboardInterrupt):
            onnxpress.score(artifact, source, f"{tmp_path}/{name}")
    assert clear is job._clear_parts
    output.rename(tmp_path / "moved")
    assert onnxpress.score(artifact, source, f"{tmp_path}/{name}").rows == ROWS
    assert read_folder(output).keys() and list(read_folder(output).values()) == list(
        read_folder(tmp_path / "moved").values()
    )


@pytest.mark.parametrize(
    "wrong", [{"text_column": "texts"}, {"columns": ["labels"]}, {"output_format": "xlsx"}, {"device": "tpu"}]
)
def test_a_slip_beside_restart_forgets_nothing(
    artifact: Path, source: Path, stopped: Stopped, wrong: dict[str, object]
) -> None:
    with pytest.raises(onnxpress.OnnxpressError):
        onnxpress.score(artifact, source, stopped.output, restart=True, **wrong)  # type: ignore[arg-type]
    assert onnxpress.score(artifact, source, stopped.output).resumed == stopped.rows


def test_a_mount_point_is_refused_before_anything_is_scored(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.jsonl").write_text(GOOD)
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "volume")
    with pytest.raises(onnxpress.JobError, match=r"volume: is a mount point.*such as .*volume/scored/"):
        onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "volume", restart=True)
    onnxpress.score(artifact, tmp_path / "in.jsonl", f"{tmp_path}/volume/scored/")


@pytest.mark.parametrize("output", [".", "/", "..", "./", "", "a/..", "x\0.csv"])
def test_what_names_no_output_is_told(artifact: Path, tmp_path: Path, output: str) -> None:
    (tmp_path / "in.jsonl").write_text(GOOD)
    with pytest.raises(onnxpress.ConfigError, match="names no output"):
        onnxpress.score(artifact, tmp_path / "in.jsonl", output)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_standard_input_that_is_closed_is_told_and_hinders_nothing_else(artifact: Path, tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "in.jsonl").write_text(GOOD)
    for source, status in (("in.jsonl", 0), ("-", 2)):
        command = f"{sys.executable} -m onnxpress score {artifact} {source} out-{status}.csv --input-format jsonl <&-"
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == status, done.stderr.decode()
        assert b"Traceback" not in done.stderr
    assert b"standard input is closed" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="a filesystem that takes any bytes for a name")
def test_names_that_are_no_utf_8(artifact: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / f"{name}.jsonl").write_text(GOOD + BAD)
    done = run_score(
        artifact, f"{name}.jsonl", f"{name}.csv", "--on-bad-row", "skip", "--summary", "s.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr.decode()
    (row,) = map(json.loads, (tmp_path / f"{name}.csv.rejected.jsonl").read_text().splitlines())
    assert row["file"] == "caf\\xe9.jsonl" and json.loads((tmp_path / "s.json").read_text())["output"] == "caf\\xe9.csv"


def test_linked_folders_are_read_once_and_unreadable_ones_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("in/a", "elsewhere", "in/z"):
        (tmp_path / folder).mkdir(parents=True)
        parquet.write_table(make_table(2), tmp_path / folder / "x.parquet")
    (tmp_path / "in/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    names = [os.path.relpath(name, tmp_path / "in") for name in find_files(f"{tmp_path}/in/")]
    assert names == ["a/x.parquet", "linked/x.parquet", "z/x.parquet"]
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("z"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(onnxpress.ConfigError, match=r"in/z: cannot be listed \(Permission denied\)"):
        find_files(f"{tmp_path}/in")
    monkeypatch.undo()
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("z"))
    with pytest.raises(onnxpress.ConfigError, match=r"in/z: cannot be listed"):
        find_files(f"{tmp_path}/in/*/*.parquet")


def test_text_files_are_read_where_a_folder_holds_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good\n")
    assert [Path(name).name for name in find_files(str(tmp_path))] == ["a.txt"]
    (tmp_path / "b.csv").write_text("text\ngood\n")
    assert [Path(name).name for name in find_files(str(tmp_path))] == ["b.csv"]
