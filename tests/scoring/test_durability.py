"""Killed, out of space, torn: nothing is lost, nothing is done twice, and the bytes are those of one quiet run."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import onnxpress
from onnxpress.errors import ConfigError
from onnxpress.scoring import assemble as assembling
from onnxpress.scoring.journal import Journal, state_directory
from onnxpress.scoring.prefetch import prefetch

ROWS, PART = 6_000, 100


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    path = tmp_path_factory.mktemp("input") / "in.parquet"
    rows = [f"{texts[number % len(texts)][:60]} {number}" for number in range(ROWS)]
    pq.write_table(pa.table({"id": range(ROWS), "text": rows}), path)
    return path


def start(artifact: Path, source: Path, target: Path) -> subprocess.Popen[bytes]:
    script = f"import onnxpress; onnxpress.score({str(artifact)!r}, {str(source)!r}, {str(target)!r}, part_rows={PART})"
    return subprocess.Popen([sys.executable, "-c", script])


def kill_at_random(process: subprocess.Popen[bytes], target: Path, generator: random.Random) -> bool:
    """Kill once some part is there, or a moment later. Whether that came before the process's own end."""
    part = state_directory(target) / f"part-{generator.randrange(ROWS // PART):08d}"
    while process.poll() is None and not part.exists():
        time.sleep(0.0005)
    time.sleep(generator.uniform(0, 0.02))
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def kill_and_resume(artifact: Path, source: Path, folder: Path, kills: int, seed: int) -> None:
    """Kill at random moments, again and again, until each output is whole; every output must be the quiet one."""
    generator = random.Random(seed)
    quiet = folder / "quiet.parquet"
    assert start(artifact, source, quiet).wait() == 0
    hits = outputs = resumed = 0
    while hits < kills:
        target = folder / f"out-{outputs}.parquet"
        while hits < kills and not target.exists():
            hits += kill_at_random(start(artifact, source, target), target, generator)
            resumed += state_directory(target).exists()
        if not target.exists() or (state_directory(target) / "done").exists():
            assert start(artifact, source, target).wait() == 0
        assert target.read_bytes() == quiet.read_bytes() and not (state_directory(target) / "journal").exists()
        outputs += 1
    assert resumed >= kills // 2, "the kills came too early or too late"
    found = pq.read_table(quiet)
    assert found.column("id").to_pylist() == list(range(ROWS)) and found.column("label").null_count == 0


def test_killed_it_goes_on(artifact: Path, source: Path, tmp_path: Path) -> None:
    kill_and_resume(artifact, source, tmp_path, kills=5, seed=1)


@pytest.mark.slow
def test_killed_fifty_times_it_goes_on(artifact: Path, source: Path, tmp_path: Path) -> None:
    kill_and_resume(artifact, source, tmp_path, kills=50, seed=2)


@pytest.fixture
def stopped(artifact: Path, source: Path, tmp_path: Path) -> Path:
    """An output of which some parts are done."""
    target, asked = tmp_path / "out.parquet", list[int]()
    summary = onnxpress.score(
        artifact,
        source,
        target,
        part_rows=PART,
        stop=lambda: len(asked) > 7 or bool(asked.append(1)),  # type: ignore[func-returns-value]
    )
    assert not summary.finished and not target.exists() and summary.rows >= 5 * PART
    return target


def resume(artifact: Path, source: Path, target: Path, folder: Path) -> int:
    """Go on; the rows that were scored. The output must be that of one quiet run."""
    quiet = folder / "quiet.parquet"
    onnxpress.score(artifact, source, quiet, part_rows=PART)
    summary = onnxpress.score(artifact, source, target, part_rows=PART)
    assert summary.finished and summary.rows == ROWS and target.read_bytes() == quiet.read_bytes()
    return summary.scored


def test_only_what_is_missing_is_scored(artifact: Path, source: Path, stopped: Path, tmp_path: Path) -> None:
    assert resume(artifact, source, stopped, tmp_path) <= ROWS - 5 * PART


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_line_is_dropped(artifact: Path, source: Path, stopped: Path, tmp_path: Path, cut: int) -> None:
    journal = state_directory(stopped) / "journal"
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert resume(artifact, source, stopped, tmp_path) <= ROWS - 4 * PART


def test_a_flipped_bit_in_the_journal_ends_what_is_believed(
    artifact: Path, source: Path, stopped: Path, tmp_path: Path
) -> None:
    journal = state_directory(stopped) / "journal"
    content = bytearray(journal.read_bytes())
    content[-10] ^= 1
    journal.write_bytes(content)
    assert resume(artifact, source, stopped, tmp_path) <= ROWS - 4 * PART


def test_a_missing_or_short_part_is_scored_again(artifact: Path, source: Path, stopped: Path, tmp_path: Path) -> None:
    part = state_directory(stopped) / "part-00000002"
    part.write_bytes(part.read_bytes()[:-1])
    assert resume(artifact, source, stopped, tmp_path) == ROWS - 2 * PART


def test_a_part_of_other_bytes_is_refused(artifact: Path, source: Path, stopped: Path) -> None:
    part = state_directory(stopped) / "part-00000002"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    with pytest.raises(ConfigError, match=r"is not the part that was written\. Pass --restart"):
        onnxpress.score(artifact, source, stopped, part_rows=PART)
    assert not stopped.exists()


def test_killed_between_the_last_steps_the_next_call_ends_them(
    artifact: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.parquet"
    for number in (1, 2):  # before the renaming, and behind it
        with monkeypatch.context() as patch:
            calls: list[int] = []

            def failing(*arguments: object, calls: list[int] = calls, number: int = number) -> None:
                calls.append(1)
                if len(calls) == number:
                    raise KeyboardInterrupt

            patch.setattr(assembling, "sync_directory", failing)
            with pytest.raises(KeyboardInterrupt):
                onnxpress.score(artifact, source, target, part_rows=PART, force=True, restart=number > 1)
        summary = onnxpress.score(artifact, source, target, part_rows=PART)
        assert summary.finished and summary.rows == ROWS and not state_directory(target).exists()
        assert pq.read_table(target).column("id").to_pylist() == list(range(ROWS))


def test_a_full_disk_loses_nothing(
    artifact: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes three parts, and no more."""
    target = tmp_path / "out.parquet"
    commit = Journal.commit

    def full(self: Journal, record: object, content: bytes) -> None:
        if len(self.parts) == 3:
            raise OSError(28, "No space left on device")
        commit(self, record, content)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "commit", full)
        with pytest.raises(OSError, match="No space left"):
            onnxpress.score(artifact, source, target, part_rows=PART)
    assert not target.exists()
    assert resume(artifact, source, target, tmp_path) == ROWS - 3 * PART


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_journal_that_cannot_be_written_says_nothing(tmp_path: Path) -> None:
    from onnxpress.scoring.journal import Header, PartRecord

    journal = Journal(tmp_path / "out.csv", Header(facts={"a": "b"}), restart=False)
    journal._file.close()
    journal._file = open("/dev/full", "r+b", buffering=0)  # type: ignore[assignment]
    record = PartRecord(number=0, rows=1, written=1, bytes=1, crc=0, labels={}, bad=[])
    with pytest.raises(OSError):
        journal.commit(record, b"x")
    assert journal.parts == []
    journal.close()


def test_interrupted_from_the_keyboard_it_says_how_to_go_on(artifact: Path, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    command = [sys.executable, "-m", "onnxpress", "score", str(artifact), str(source), str(target)]
    large = tmp_path / "large.parquet"
    pq.write_table(pa.concat_tables([pq.read_table(source)] * 40), large)
    command[5] = str(large)
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while not (state_directory(target) / "part-00000000").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130 and b"the same command goes on from there" in words
    assert not target.exists() and state_directory(target).is_dir()


def test_prefetch_raises_behind_what_came_before_and_ends_when_closed() -> None:
    def failing() -> object:
        yield from (1, 2)
        raise ValueError("three")

    items = prefetch(failing(), 1)  # type: ignore[arg-type, var-annotated]
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(items)

    def endless() -> object:
        number = 0
        while True:
            yield (number := number + 1)

    items = prefetch(endless(), 2)  # type: ignore[arg-type, var-annotated]
    assert next(items) == 1
    items.close()
