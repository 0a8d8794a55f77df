"""What a job refuses, tells and writes."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

import onnxpress
from tests.conftest import MANY_LABELS
from tests.scoring.conftest import ROWS, make_table, run_score


def test_an_input_that_changes_meanwhile_is_refused(artifact: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(onnxpress.JobChangedError, match="changed while it was read"):
        onnxpress.score(artifact, source, tmp_path / "out.csv", on_progress=lambda progress: os.utime(source, (1, 1)))
    assert not (tmp_path / "out.csv").exists()


def test_a_finished_output_is_not_overwritten(artifact: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("precious")
    with pytest.raises(onnxpress.OutputExistsError, match=r"out\.csv exists already.*--restart"):
        onnxpress.score(artifact, source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "precious" and not list(tmp_path.glob(".*"))
    onnxpress.score(artifact, source, tmp_path / "out.csv", restart=True)
    assert (tmp_path / "out.csv").read_bytes().count(b"\n") == ROWS + 1
    with pytest.raises(onnxpress.ConfigError, match="the output is part of the input"):
        onnxpress.score(artifact, source, source, restart=True)
    with pytest.raises(onnxpress.ConfigError, match="the output is part of the input"):
        onnxpress.score(artifact, source, f"{tmp_path}/", restart=True)


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


def test_a_folder_is_replaced_when_jobs_alone_have_written_it(artifact: Path, source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    onnxpress.score(artifact, source, folder, output_format="csv")
    assert len(list(folder.iterdir())) == 3
    onnxpress.score(artifact, source, folder, restart=True)
    assert {path.suffix for path in folder.iterdir()} == {".parquet"}
    (folder / "thesis.doc").touch()
    with pytest.raises(onnxpress.JobError, match=r"holds thesis\.doc, which no job has written"):
        onnxpress.score(artifact, source, folder, restart=True)
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    for name, kind in (("file", "file"), ("folder.csv", "folder")):
        with pytest.raises(onnxpress.JobError, match=f"is a {kind}. Choose another output"):
            onnxpress.score(artifact, source, tmp_path / name, restart=True)
    assert not list(tmp_path.glob(".*"))


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


def test_a_regression_has_values_and_no_labels(ranker: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\ngood\nbad\n")
    summary = onnxpress.score(ranker, tmp_path / "in.csv", tmp_path / "out.csv")
    assert summary.columns == {"score": "score"} and summary.labels == {}
    with onnxpress.load(ranker) as classifier:
        wanted = classifier.logits(["good", "bad"])[:, 0].tolist()
    found = [float(line.split(",")[1]) for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert found == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(onnxpress.ConfigError, match="a regression has no column 'label'"):
        onnxpress.score(ranker, tmp_path / "in.csv", tmp_path / "o.csv", columns=["label"])


def test_many_labels_are_accepted_by_their_thresholds(many_labels: Path, tmp_path: Path) -> None:
    texts = make_table(50).column("text").to_pylist()
    parquet.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    columns = ["label", "accepted", "probabilities"]
    onnxpress.score(many_labels, tmp_path / "in.parquet", tmp_path / "out.parquet", columns=columns)
    with onnxpress.load(many_labels) as classifier:
        accepted = [[prediction.label for prediction in row] for row in classifier.accepted(texts)]
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("accepted").to_pylist() == accepted and any(map(len, accepted))
    assert table.schema.names == ["text", "label", "accepted", *(f"probability_{label}" for label in MANY_LABELS)]


@pytest.mark.parametrize(("missing", "extra"), [("pyarrow", "score"), ("fsspec", "score"), ("ray", "ray")])
def test_an_extra_that_is_not_there_is_named_at_once(
    artifact: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, extra: str
) -> None:
    from onnxpress import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(onnxpress.MissingDependencyError, match=rf"{missing} is not installed.*onnxpress\[{extra}\]"):
        onnxpress.score(artifact, source, tmp_path / "out.csv", engine="ray")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"device": "cuda:1"}, "device must be auto, cpu or cuda on Ray"),
        ({"device": "cuda"}, "needs gpus_per_worker above 0"),
        ({"gpus_per_worker": float("nan")}, "gpus_per_worker must be at least 0, got nan"),
    ],
)
def test_what_ray_cannot_give_is_refused(
    artifact: Path, source: Path, tmp_path: Path, settings: dict[str, object], says: str
) -> None:
    with pytest.raises(onnxpress.ConfigError, match=says):
        onnxpress.score(artifact, source, tmp_path / "out.csv", engine="ray", **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.glob(".*"))


def test_errors_survive_pickling() -> None:
    """Ray's workers send theirs to the calling process."""
    errors = [
        onnxpress.BadRowError("in.csv", 7, "is bad"),
        onnxpress.JobChangedError("out.csv", "changed"),
        onnxpress.JobStoppedError("out.csv", 8_192),
        onnxpress.OutputExistsError("out.csv", "--restart"),
    ]
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
