"""What a job refuses, keeps, tells and goes on with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pyarrow as pa
import pytest
from pyarrow import parquet

import onnxpress
from onnxpress.scoring import parts
from onnxpress.scoring.lock import hold_lock
from tests.conftest import MakeCheckpoint, edit_json
from tests.scoring.conftest import make_table, run_score, score_command

ROWS = 20_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    parquet.write_table(make_table(ROWS), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


@pytest.fixture
def stopped(artifact: Path, source: Path, tmp_path: Path) -> Path:
    """The output of a job that was stopped in its first part."""
    stop = Event()
    with pytest.raises(onnxpress.JobStoppedError, match="stopped with 8,192 rows committed"):
        onnxpress.score(artifact, source, tmp_path / "out.csv", on_progress=lambda progress: stop.set(), stop=stop)
    assert not (tmp_path / "out.csv").exists() and (tmp_path / ".out.csv.onnxpress/journal").exists()
    return tmp_path / "out.csv"


def test_a_stopped_job_goes_on(artifact: Path, source: Path, stopped: Path, tmp_path: Path) -> None:
    seen: list[onnxpress.Progress] = []
    summary = onnxpress.score(artifact, source, stopped, on_progress=seen.append)
    whole = onnxpress.score(artifact, source, tmp_path / "whole.csv")
    assert stopped.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (summary.rows, summary.resumed, summary.parts) == (ROWS, 8_192, 3)
    assert summary.labels == whole.labels and sum(summary.labels.values()) == ROWS
    assert [progress.rows for progress in seen] == [8_192 + 4_096, 16_384, ROWS]
    assert seen[-1].share == pytest.approx(1, abs=0.01) and seen[0].resumed == 8_192


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"columns": ["score"]}, r"columns was None, is \['score'\]"),
        ({"max_characters": 9_000}, "max_characters was 100000, is 9000"),
        ({"threads": 7}, "threads was [0-9]+, is 7"),
        ({"text_column": "label"}, "text_column was 'text', is 'label'"),
        ({"precision": "fp32", "device": "cpu"}, None),
        ({"on_bad_row": "skip"}, None),
    ],
)
def test_other_options_are_refused(
    artifact: Path, source: Path, stopped: Path, change: dict[str, object], says: str | None
) -> None:
    if says is None:  # the same thing in other words, or harmless: no part holds a bad row
        assert onnxpress.score(artifact, source, stopped, **change).rows == ROWS  # type: ignore[arg-type]
        return
    with pytest.raises(onnxpress.JobChangedError, match=f"made otherwise: {says}. Restore that, or pass --restart"):
        onnxpress.score(artifact, source, stopped, **change)  # type: ignore[arg-type]
    assert onnxpress.score(artifact, source, stopped, **change, restart=True).resumed == 0  # type: ignore[arg-type]


def test_another_input_is_refused(artifact: Path, source: Path, stopped: Path, tmp_path: Path) -> None:
    content = source.read_bytes()
    os.utime(source, ns=(1, 1))
    with pytest.raises(onnxpress.JobChangedError, match=r"in\.parquet changed \(time of modification\)"):
        onnxpress.score(artifact, source, stopped)
    source.write_bytes(content[:-8] + b"\0\0\0\0" + content[-4:])
    with pytest.raises(onnxpress.JobChangedError, match=r"in\.parquet changed \(content\)"):
        onnxpress.score(artifact, source, stopped)
    parquet.write_table(make_table(10), tmp_path / "other.parquet")
    with pytest.raises(onnxpress.JobChangedError, match=r"in\.parquet is gone"):
        onnxpress.score(artifact, tmp_path / "other.parquet", stopped)


def test_another_artifact_is_refused(artifact: Path, source: Path, stopped: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(artifact, tmp_path / "other"))
    edit_json(other / "onnxpress.json", lambda manifest: manifest.update(max_length=100))
    with pytest.raises(onnxpress.JobChangedError, match="artifact was '"):
        onnxpress.score(other, source, stopped)


def test_an_input_that_changes_meanwhile_is_refused(artifact: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(onnxpress.JobChangedError, match="changed while it was read"):
        onnxpress.score(artifact, source, tmp_path / "out.csv", on_progress=lambda progress: os.utime(source, (1, 1)))
    assert not (tmp_path / "out.csv").exists()


def test_a_finished_output_is_not_overwritten(artifact: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("precious")
    with pytest.raises(onnxpress.JobError, match=r"out\.csv: exists already.*--restart"):
        onnxpress.score(artifact, source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "precious" and not list(tmp_path.glob(".*"))
    onnxpress.score(artifact, source, tmp_path / "out.csv", restart=True)
    assert (tmp_path / "out.csv").read_bytes().count(b"\n") == ROWS + 1
    with pytest.raises(onnxpress.ConfigError, match="the output is part of the input"):
        onnxpress.score(artifact, source, source, restart=True)
    with pytest.raises(onnxpress.ConfigError, match="the output is part of the input"):
        onnxpress.score(artifact, source, f"{tmp_path}/", restart=True)


def test_two_runs_on_one_output_are_refused(artifact: Path, source: Path, stopped: Path) -> None:
    state = stopped.with_name(".out.csv.onnxpress")
    holder = (
        "from onnxpress.scoring.lock import hold_lock; from pathlib import Path\n"
        f"with hold_lock(Path({str(state)!r}, 'lock'), 'x'): print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(onnxpress.JobLockedError, match=f"another run works on it .process {process.pid}"):
            onnxpress.score(artifact, source, stopped)
        process.kill()
    assert onnxpress.score(artifact, source, stopped).rows == ROWS, "the lock died with its holder"


def test_the_lock_is_held_once_and_left_clean(tmp_path: Path) -> None:
    with hold_lock(tmp_path / "lock", "out"):
        with pytest.raises(onnxpress.JobLockedError), hold_lock(tmp_path / "lock", "out"):
            pass
    with hold_lock(tmp_path / "lock", "out"):
        assert (tmp_path / "lock").exists()
    assert os.name == "nt" or not list(tmp_path.iterdir())


def test_a_torn_journal_loses_its_last_line_alone(artifact: Path, source: Path, stopped: Path, tmp_path: Path) -> None:
    journal = tmp_path / ".out.csv.onnxpress/journal"
    with journal.open("ab") as file:
        file.write(b'deadbeef {"type":"part","pa')
    assert onnxpress.score(artifact, source, stopped).resumed == 8_192


def test_a_damaged_journal_or_part_is_refused(artifact: Path, source: Path, stopped: Path, tmp_path: Path) -> None:
    state = tmp_path / ".out.csv.onnxpress"
    journal = (state / "journal").read_bytes()
    (state / "journal").write_bytes(b"0" + journal[1:])
    with pytest.raises(onnxpress.JobError, match=r"damaged at line 1\. Pass --restart"):
        onnxpress.score(artifact, source, stopped)
    (state / "journal").write_bytes(journal)
    (part,) = state.glob("parts-*/part-000000.csv")
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(onnxpress.JobError, match="not as it was committed"):
        onnxpress.score(artifact, source, stopped)
    assert onnxpress.score(artifact, source, stopped, restart=True).rows == ROWS


BAD = [
    b'{"text": "good", "n": 1}',
    b'{"text": null, "n": 2}',
    b'{"n": 3}',
    b'{"text": 7, "n": 4}',
    b'{"text": "caf\xff", "n": 5}',
    b"[1]",
    b'{"text": "' + b"x" * 300 + b'"}',
    b'{"text": "bad"',
    b'{"text": "bad", "n": 9}',
]


@pytest.mark.parametrize("choice", ["null", "skip"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_bad_rows_are_kept_aside_with_the_reason(artifact: Path, tmp_path: Path, choice: str, suffix: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(BAD))
    output = tmp_path / f"out.{suffix}"
    summary = onnxpress.score(artifact, tmp_path / "in.jsonl", output, on_bad_row=choice, max_characters=100)  # type: ignore[arg-type]
    assert (summary.rows, summary.scored, summary.rejected) == (9, 2, 7)
    assert summary.rejected_file == f"{output}.rejected.jsonl"
    rejected = [json.loads(line) for line in Path(summary.rejected_file).read_bytes().splitlines()]
    assert [row["row"] for row in rejected] == [2, 3, 4, 5, 6, 7, 8]
    reasons = [row["reason"] for row in rejected]
    for part, reason in zip(
        (
            "null in column 'text'",
            "null in column",
            "of type int",
            "is not JSON",
            "list, not an object",
            "has 300 characters; the limit is 100",
            "is not JSON",
        ),
        reasons,
        strict=True,
    ):
        assert part in reason
    assert rejected[0]["values"]["n"] == 2 and rejected[4]["raw"] == "[1]"
    if suffix == "jsonl":
        found = [json.loads(line) for line in output.read_bytes().splitlines()]
    elif suffix == "parquet":
        found = parquet.read_table(output).to_pylist()
    else:
        return
    answered = [row for row in found if row["label"] is not None]
    assert len(answered) == 2 and answered[-1]["n"] == 9
    assert len(found) == (2 if choice == "skip" else 9)


def test_bad_csv_rows(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b'n,text\n1,good\n2,caf\xe9\n3\n4,"a"b"\n\n5,fine,6\n7,good\n8,"never closed\n')
    with pytest.raises(onnxpress.BadRowError, match=r"in\.csv: row 2 is not UTF-8\. Repair it") as caught:
        onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.csv")
    assert (caught.value.row, caught.value.reason) == (2, "is not UTF-8")
    summary = onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.csv", on_bad_row="null")
    assert (summary.rows, summary.scored) == (7, 2)
    assert (tmp_path / "out.csv").read_text().splitlines()[2:5] == ["2,caf\ufffd,,", ",,,", ",,,"]
    rejected = [json.loads(line) for line in (tmp_path / "out.csv.rejected.jsonl").read_bytes().splitlines()]
    assert [row["row"] for row in rejected] == [2, 3, 4, 5, 7]
    assert "has 1 fields, the header has 2" in rejected[1]["reason"] and rejected[1]["raw"] == "3"
    assert "has 3 fields" in rejected[3]["reason"] and "cannot be read" in rejected[4]["reason"]
    assert "never closed" in rejected[4]["raw"]


def test_bad_parquet_rows(artifact: Path, tmp_path: Path) -> None:
    raw = pa.array([b"good", None, b"caf\xff", b"bad"])
    text = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    for name, column in (("bytes", raw), ("text", text)):
        parquet.write_table(pa.table({"text": column}), tmp_path / f"{name}.parquet")
        summary = onnxpress.score(artifact, tmp_path / f"{name}.parquet", tmp_path / f"{name}.jsonl", on_bad_row="skip")
        assert (summary.rows, summary.scored) == (4, 2)
        rejected = [json.loads(x) for x in (tmp_path / f"{name}.jsonl.rejected.jsonl").read_bytes().splitlines()]
        assert [row["reason"] for row in rejected] == ["holds null in column 'text'", "is not UTF-8 in column 'text'"]


def test_a_bad_row_far_inside_can_be_let_pass_without_beginning_again(artifact: Path, tmp_path: Path) -> None:
    texts: list[str | None] = make_table(ROWS).column("text").to_pylist()
    texts[15_000] = None
    parquet.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    with pytest.raises(onnxpress.BadRowError, match="row 15,001 holds null"):
        onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.csv")
    summary = onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.csv", on_bad_row="skip")
    assert (summary.resumed, summary.rejected) == (8_192, 1)
    assert (tmp_path / "out.csv").read_bytes().count(b"\n") == ROWS


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


def test_a_full_disk_is_told_and_nothing_is_lost(
    artifact: Path, source: Path, tmp_path: Path, small_disk: Path
) -> None:
    with pytest.raises(
        onnxpress.JobError, match=r"out\.csv: cannot be written \(.*No space left.*the same call continues"
    ):
        onnxpress.score(artifact, source, small_disk / "out.csv")
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert onnxpress.score(artifact, source, small_disk / "out.csv").resumed > 0
    onnxpress.score(artifact, source, tmp_path / "whole.csv")
    assert (small_disk / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_an_output_that_is_read_only_is_told(artifact: Path, source: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(onnxpress.JobError, match=r"cannot be written \(.*Read-only file system"):
        onnxpress.score(artifact, source, small_disk / "out.csv")


def test_a_disk_that_fails_anywhere_loses_nothing(
    artifact: Path, source: Path, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(parts.os, "fsync", full)
        with pytest.raises(onnxpress.JobError, match="No space left on device"):
            onnxpress.score(artifact, source, stopped)
    assert not list(tmp_path.glob(".out.csv.onnxpress/parts-*/.*")), "no temporary file stays"
    assert onnxpress.score(artifact, source, stopped).resumed == 8_192


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
    assert "rows committed" in told and "Run the same command to continue" in told
    assert not list(tmp_path.glob(".out.parquet.onnxpress/parts-*/.*")), "the part was finished"


def test_the_command_sums_up(artifact: Path, source: Path, tmp_path: Path) -> None:
    done = run_score(
        artifact, source, tmp_path / "out.jsonl", "--columns", "score, top9", "--summary", tmp_path / "s.json"
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr.decode()
    summary = json.loads((tmp_path / "s.json").read_bytes())
    assert summary["rows"] == summary["scored"] == ROWS and sum(summary["labels"].values()) == ROWS
    assert f"{ROWS:,} rows in" in done.stderr.decode() and "rows/s" in done.stderr.decode()
    first = json.loads((tmp_path / "out.jsonl").read_bytes().splitlines()[0])
    assert [*first][3:] == ["score", "label_top1", "score_top1", "label_top2", "score_top2"]
    assert first["score"] == first["score_top1"] >= first["score_top2"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere.csv", "out.csv"), "nowhere.csv: no such file. Pass a file, a glob"),
        (("{source}", "out.xlsx"), "its name tells no format"),
        (("{source}", "out.csv", "--columns", "labels"), "columns must be of label, score"),
        (("{source}", "out.csv", "--columns", "accepted"), "ask for label instead of accepted"),
        (("{source}", "out.csv", "--on-bad-row", "drop"), "on_bad_row must be error or null or skip, got 'drop'"),
        (("{source}", "out.csv", "--threads", "0"), "threads must be at least 1, got 0"),
        (("{source}", "out.csv", "--engine", "spark"), "engine must be local or ray, got 'spark'"),
        (("{source}", "out.csv", "--workers", "2"), "are for engine='ray'"),
        (("{source}", "missing/deep/out.csv", "--text-column", "x"), "0 columns are named 'x'"),
    ],
)
def test_bad_input_is_one_line(
    artifact: Path, source: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = run_score(artifact, *(argument.format(source=source) for argument in arguments), cwd=tmp_path)
    assert done.returncode == 2 and says in done.stderr.decode().splitlines()[-1], done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert not list(tmp_path.glob(".*.onnxpress"))


def test_a_regression_has_values_and_no_labels(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    from onnxpress_export import export

    export(make_checkpoint(labels=("rating",), problem_type="regression"), tmp_path / "artifact")
    (tmp_path / "in.csv").write_text("text\ngood\nbad\n")
    summary = onnxpress.score(tmp_path / "artifact", tmp_path / "in.csv", tmp_path / "out.csv")
    assert summary.columns == {"score": "score"} and summary.labels == {}
    with onnxpress.load(tmp_path / "artifact") as classifier:
        wanted = classifier.logits(["good", "bad"])[:, 0].tolist()
    found = [float(line.split(",")[1]) for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert found == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(onnxpress.ConfigError, match="a regression has no column 'label'"):
        onnxpress.score(tmp_path / "artifact", tmp_path / "in.csv", tmp_path / "o.csv", columns=["label"])


def test_many_labels_are_accepted_by_their_thresholds(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    from onnxpress_export import export

    labels = ("calm", "glad", "sad")
    export(make_checkpoint(labels=labels, problem_type="multi_label_classification"), tmp_path / "artifact")
    texts = make_table(50).column("text").to_pylist()
    parquet.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    columns = ["label", "accepted", "probabilities"]
    onnxpress.score(tmp_path / "artifact", tmp_path / "in.parquet", tmp_path / "out.parquet", columns=columns)
    with onnxpress.load(tmp_path / "artifact") as classifier:
        accepted = [[prediction.label for prediction in row] for row in classifier.accepted(texts)]
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("accepted").to_pylist() == accepted and any(map(len, accepted))
    assert table.schema.names == ["text", "label", "accepted", *(f"probability_{label}" for label in labels)]
