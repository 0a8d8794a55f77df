"""The Triton repository: what the server reads, and that its graph answers as the engine does."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort
import pytest

import onnxpress
from onnxpress_export import ExportReport, export
from onnxpress_export.triton import write_repository
from tests.conftest import make_tokenizer


@pytest.fixture(scope="module")
def repository(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("triton")
    export(checkpoint, directory / "film.reviews", layout="triton")
    return directory / "film.reviews-triton"


def test_it_is_laid_out_as_the_server_wants_it(repository: Path) -> None:
    assert [path.name for path in repository.iterdir()] == ["film_reviews"]
    files = sorted(str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file())
    assert files == [
        "film_reviews/1/model.onnx",
        "film_reviews/1/model.onnx_data",
        "film_reviews/config.pbtxt",
        "film_reviews/labels.txt",
    ]
    assert (repository / "film_reviews/labels.txt").read_text() == "negative\npositive\n"


def test_its_graph_takes_a_padded_batch_and_answers_as_the_engine_does(repository: Path) -> None:
    texts = ["good film", "bad plot and a dull end"]
    rows = make_tokenizer()(texts, padding=True, return_tensors="np")
    session = ort.InferenceSession(repository / "film_reviews/1/model.onnx", providers=["CPUExecutionProvider"])
    found = session.run(["logits"], {name: rows[name] for name in rows})[0]
    with onnxpress.load(repository.with_name("film.reviews")) as classifier:
        # One graph with padding and its mask, one without: fp32 sums in another order.
        np.testing.assert_allclose(found, classifier.logits(texts), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("traced_once")
def test_what_is_there_is_replaced_by_force_only(repository: Path, checkpoint: Path) -> None:
    target = repository.with_name("film.reviews")
    with pytest.raises(onnxpress.OutputExistsError):
        export(checkpoint, target, layout="triton")
    export(checkpoint, target, layout="triton", force=True)
    assert (repository / "film_reviews/config.pbtxt").is_file()


def test_a_foreign_directory_beside_it_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a-triton").mkdir()
    (tmp_path / "a-triton/notes").write_text("mine")
    with pytest.raises(onnxpress.OutputExistsError, match="a-triton"):
        export(checkpoint, tmp_path / "a", layout="triton", force=True)
    assert (tmp_path / "a-triton/notes").read_text() == "mine" and not (tmp_path / "a").exists()


def test_each_precision_is_a_model_of_its_own(artifact: Path, report: ExportReport, tmp_path: Path) -> None:
    fp32 = report.manifest.variants[0]
    half = msgspec.structs.replace(fp32, precision="fp16")
    write_repository(artifact, "a.b", msgspec.structs.replace(report.manifest, variants=(fp32, half)), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_b", "a_b_fp16"]
    for name in ("a_b", "a_b_fp16"):
        assert f'name: "{name}"' in (tmp_path / name / "config.pbtxt").read_text()
        assert (tmp_path / name / "1/model.onnx_data").is_file()


@pytest.mark.slow
@pytest.mark.network
def test_tritons_own_schema_reads_the_configuration(repository: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "tritonclient[grpc]"], check=True, timeout=300)
    code = (
        "import sys; from google.protobuf import text_format as t; from tritonclient.grpc import model_config_pb2 as m;"
        "c = t.Parse(open(sys.argv[1]).read(), m.ModelConfig());"
        "print(c.name, c.backend, [i.name for i in c.input], [list(o.dims) for o in c.output], c.max_batch_size)"
    )
    config = repository / "film_reviews/config.pbtxt"
    done = subprocess.run([python, "-c", code, config], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    assert done.stdout.strip() == f"film_reviews onnxruntime {inputs} [[2]] 64"
