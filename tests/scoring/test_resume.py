"""Stopped, torn, full, locked, changed: what a job goes on with, and what it refuses to go on with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow import parquet

import onnxpress
from onnxpress.scoring import job, journal, parts
from onnxpress.scoring.journal import Header, Journal, PartRecord, WrittenFile
from onnxpress.scoring.layout import Layout
from onnxpress.scoring.lock import hold_lock
from onnxpress.scoring.rows import Position
from onnxpress.watching.counts import Counts
from tests.conftest import edit_json
from tests.scoring.conftest import ROWS, Stopped, make_table, read_folder, score_command

PART = 8_192


@pytest.fixture
def whole(artifact: Path, source: Path, tmp_path: Path) -> bytes:
    """What a run without interruption writes."""
    onnxpress.score(artifact, source, tmp_path / "whole.csv")
    return (tmp_path / "whole.csv").read_bytes()


def test_a_stopped_job_goes_on(artifact: Path, source: Path, stopped: Stopped, whole: bytes) -> None:
    seen: list[onnxpress.Progress] = []
    summary = onnxpress.score(artifact, source, stopped.output, on_progress=seen.append)
    assert stopped.output.read_bytes() == whole and not stopped.state.exists()
    assert (summary.rows, summary.resumed, summary.parts) == (ROWS, stopped.rows, 3)
    assert sum(summary.labels.values()) == ROWS
    assert [progress.rows for progress in seen] == [*range(stopped.rows + 4_096, ROWS, 4_096), ROWS]
    assert seen[-1].share == pytest.approx(1, abs=0.01) and seen[0].resumed == stopped.rows


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"columns": ["score"]}, r"columns was None, is \['score'\]"),
        ({"max_characters": 9_000}, "max_characters was 100000, is 9000"),
        ({"threads": 7}, "batches at once was [0-9]+, is 7; threads was [0-9]+, is 7"),
        ({"text_column": "label"}, "text_column was 'text', is 'label'"),
        ({"precision": "fp32", "device": "cpu"}, None),
        ({"on_bad_row": "skip"}, None),
    ],
)
def test_other_options_are_refused(
    artifact: Path, source: Path, stopped: Stopped, change: dict[str, object], says: str | None
) -> None:
    if says is None:  # the same thing in other words, or harmless: no part holds a bad row
        assert onnxpress.score(artifact, source, stopped.output, **change).rows == ROWS  # type: ignore[arg-type]
        return
    with pytest.raises(onnxpress.JobChangedError, match=f"made otherwise: {says}. Restore that, or pass --restart"):
        onnxpress.score(artifact, source, stopped.output, **change)  # type: ignore[arg-type]
    again = onnxpress.score(artifact, source, stopped.output, **change, restart=True)  # type: ignore[arg-type]
    assert again.resumed == 0


def test_another_input_is_refused(artifact: Path, source: Path, stopped: Stopped, tmp_path: Path) -> None:
    content = source.read_bytes()
    os.utime(source, ns=(1, 1))
    with pytest.raises(onnxpress.JobChangedError, match=r"in\.parquet changed \(time of modification\)"):
        onnxpress.score(artifact, source, stopped.output)
    source.write_bytes(content[:-8] + b"\0\0\0\0" + content[-4:])
    with pytest.raises(onnxpress.JobChangedError, match=r"in\.parquet changed \(content\)"):
        onnxpress.score(artifact, source, stopped.output)
    parquet.write_table(make_table(10), tmp_path / "other.parquet")
    with pytest.raises(onnxpress.JobChangedError, match=r"in\.parquet is gone"):
        onnxpress.score(artifact, tmp_path / "other.parquet", stopped.output)


def test_another_artifact_is_refused(artifact: Path, source: Path, stopped: Stopped, tmp_path: Path) -> None:
    other = Path(shutil.copytree(artifact, tmp_path / "other"))
    edit_json(other / "onnxpress.json", lambda manifest: manifest.update(max_length=100))
    with pytest.raises(onnxpress.JobChangedError, match="artifact was '"):
        onnxpress.score(other, source, stopped.output)


def test_what_tuning_measured_later_changes_nothing(
    artifact: Path, source: Path, stopped: Stopped, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxpress import loading

    tuned = SimpleNamespace(workers=1, threads=1, max_tokens=64)
    monkeypatch.setattr(loading, "find_tuning", lambda *_: SimpleNamespace(best=lambda optimize_for: tuned))
    assert onnxpress.score(artifact, source, stopped.output).resumed == stopped.rows
    assert stopped.output.read_bytes() == whole


def test_a_job_that_has_no_part_yet_leaves_nothing(artifact: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(onnxpress.DeviceUnavailableError):
        onnxpress.score(artifact, source, tmp_path / "out.csv", device="cuda")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet"]


def test_two_runs_on_one_output_are_refused(artifact: Path, source: Path, stopped: Stopped) -> None:
    holder = (
        "from onnxpress.scoring.lock import hold_lock; from pathlib import Path\n"
        f"with hold_lock(Path({str(stopped.state)!r}), 'x'): print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(onnxpress.JobLockedError, match=f"another run works on it .process {process.pid}"):
            onnxpress.score(artifact, source, stopped.output)
        process.kill()
    assert onnxpress.score(artifact, source, stopped.output).rows == ROWS, "the lock died with its holder"


def test_the_lock_is_held_once_and_left_clean(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with hold_lock(folder, "out"):
        with pytest.raises(onnxpress.JobLockedError), hold_lock(folder, "out"):
            pass
        assert (folder / "lock").exists(), "whoever is refused leaves the holder's lock"
    with hold_lock(folder, "out"):
        (folder / "journal").touch()
    assert os.name == "nt" or [path.name for path in folder.iterdir()] == ["journal"]


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no open file")
def test_a_lock_that_is_removed_while_it_is_taken_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder before lets go between our opening of its file and our locking of it."""
    from onnxpress.scoring import lock

    path, removed = tmp_path / "lock", []
    take = lock.lock_file

    def late(descriptor: int) -> None:
        if not removed:
            removed.append(path.unlink())
        take(descriptor)

    monkeypatch.setattr(lock, "lock_file", late)
    with hold_lock(tmp_path, "out"), pytest.raises(onnxpress.JobLockedError), hold_lock(tmp_path, "out"):
        pass


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_line_is_dropped(artifact: Path, source: Path, stopped: Stopped, whole: bytes, cut: int) -> None:
    path = stopped.state / "journal"
    path.write_bytes(path.read_bytes()[:-cut])
    assert onnxpress.score(artifact, source, stopped.output).resumed == stopped.rows - PART
    assert stopped.output.read_bytes() == whole


def test_a_line_that_was_begun_is_overwritten(artifact: Path, source: Path, stopped: Stopped, whole: bytes) -> None:
    with (stopped.state / "journal").open("ab") as file:
        file.write(b'deadbeef {"type":"part","pa')
    assert onnxpress.score(artifact, source, stopped.output).resumed == stopped.rows
    assert stopped.output.read_bytes() == whole


@pytest.mark.parametrize("line", [0, 1])
def test_a_flipped_bit_ends_what_is_believed(
    artifact: Path, source: Path, stopped: Stopped, whole: bytes, line: int
) -> None:
    path = stopped.state / "journal"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line][:-10] + bytes([lines[line][-10] ^ 1]) + lines[line][-9:]
    path.write_bytes(b"".join(lines))
    assert onnxpress.score(artifact, source, stopped.output).resumed == 0
    assert stopped.output.read_bytes() == whole


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_part_that_is_gone_or_short_is_scored_again(
    artifact: Path, source: Path, stopped: Stopped, whole: bytes, damage: str
) -> None:
    (part,) = stopped.state.glob("parts-*/part-000000.csv")
    if damage == "gone":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-1])
    assert onnxpress.score(artifact, source, stopped.output).resumed == stopped.rows - PART
    assert stopped.output.read_bytes() == whole


def test_a_part_of_other_bytes_is_refused(artifact: Path, source: Path, stopped: Stopped) -> None:
    (part,) = stopped.state.glob("parts-*/part-000000.csv")
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(onnxpress.JobError, match="not as it was committed"):
        onnxpress.score(artifact, source, stopped.output)
    assert not stopped.output.exists()
    assert onnxpress.score(artifact, source, stopped.output, restart=True).rows == ROWS


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out/"])
@pytest.mark.parametrize("step", ["publish_rejects", "publish", "Journal.publish", "_clear_parts"])
def test_ended_between_its_last_steps_the_next_call_ends_them(
    artifact: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, name: str
) -> None:
    onnxpress.score(artifact, source, f"{tmp_path}/whole-{name}")
    output = tmp_path / name

    clear = job._clear_parts

    def fail(*arguments: object) -> None:
        raise KeyboardInterrupt

    def clear_first(state: Path) -> None:
        (fail if output.exists() else clear)(state)

    with monkeypatch.context() as patched:
        holder, _, attribute = step.rpartition(".")
        patched.setattr(Journal if holder else job, attribute, clear_first if step == "_clear_parts" else fail)
        with pytest.raises(KeyboardInterrupt):
            onnxpress.score(artifact, source, f"{tmp_path}/{name}")
    summary = onnxpress.score(artifact, source, f"{tmp_path}/{name}")
    assert (summary.rows, summary.resumed) == (ROWS, ROWS) and not list(tmp_path.glob(".*"))
    assert list(read_folder(output).values()) == list(read_folder(tmp_path / f"whole-{name}").values())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 600 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("a filesystem can be mounted here by root alone")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_told_and_nothing_is_lost(artifact: Path, source: Path, small_disk: Path, whole: bytes) -> None:
    with pytest.raises(
        onnxpress.JobError, match=r"out\.csv: cannot be written \(.*No space left.*the same call continues"
    ):
        onnxpress.score(artifact, source, small_disk / "out.csv")
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert onnxpress.score(artifact, source, small_disk / "out.csv").resumed > 0
    assert (small_disk / "out.csv").read_bytes() == whole


def test_an_output_that_is_read_only_is_told(artifact: Path, source: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(onnxpress.JobError, match=r"cannot be written \(.*Read-only file system"):
        onnxpress.score(artifact, source, small_disk / "out.csv")


@pytest.mark.parametrize("name", ["parts", "journal"])
def test_a_disk_that_takes_no_more_loses_nothing(
    artifact: Path, source: Path, stopped: Stopped, whole: bytes, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The disk fails as a part, or the line about it, is put on it."""
    sync, module = os.fsync, {"parts": parts, "journal": journal}[name]

    def full(descriptor: int) -> None:
        if sys._getframe(1).f_globals["__name__"] == module.__name__:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(onnxpress.JobError, match="No space left on device"):
            onnxpress.score(artifact, source, stopped.output)
    assert not stopped.output.exists()
    assert not list(stopped.state.glob("parts-*/.*")), "no temporary file stays"
    assert onnxpress.score(artifact, source, stopped.output).resumed >= stopped.rows
    assert stopped.output.read_bytes() == whole


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_line_that_the_disk_does_not_take_is_not_believed(tmp_path: Path) -> None:
    path, layout = tmp_path / "journal", Layout(names=(), schema=None)
    begun = Journal(path, Header(job="1", facts={"on_bad_row": "error"}, layout=layout))
    records = [
        PartRecord(
            part=part,
            start=Position(),
            end=Position(),
            rows=1,
            scored=1,
            rejected=0,
            seen=Counts(),
            file=WrittenFile(name="x", bytes=1, crc32=0),
            rejects=None,
        )
        for part in range(3)
    ]
    begun.commit(records[0])
    begun._path = Path("/dev/full")
    with pytest.raises(OSError):
        begun.commit(records[1])
    assert begun.records() == records[:1]
    begun._path = path
    with path.open("ab") as file:
        file.write(b"what was written of the line")
    begun.commit(records[2])
    again = Journal.open(path)
    assert again is not None and again.records() == [records[0], records[2]]


@pytest.mark.skipif(os.name == "nt", reason="SIGINT of another process")
def test_ctrl_c_finishes_the_part_and_says_how_to_go_on(artifact: Path, tmp_path: Path) -> None:
    parquet.write_table(make_table(400_000, words=40), tmp_path / "in.parquet")
    command = score_command(artifact, tmp_path / "in.parquet", tmp_path / "out.parquet", "--threads", 1)
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not list(tmp_path.glob(".out.parquet.onnxpress/parts-*/part-*")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 130 and "finishing the part in hand" in told
    assert "rows committed; the same command continues" in told
    assert not list(tmp_path.glob(".out.parquet.onnxpress/parts-*/.*")), "the part was finished"
    assert not (tmp_path / "out.parquet").exists()
