"""What a profile holds, and which files are refused."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tokenizers import Tokenizer, models

import onnxpress
from onnxpress.answers.answered import Answered
from onnxpress.answers.fidelity import Decision
from onnxpress.artifacts.artifact import open_artifact, record_of
from onnxpress.artifacts.manifest import encode_manifest
from onnxpress.inputs.encoder import Encoder, TokenIds, TokenRows
from onnxpress.tasks.text_classification import TextClassification
from onnxpress.watching.bounds import LENGTHS, MARGINS, UNKNOWN_SHARES, score_bounds
from onnxpress.watching.counts import Counts, summed
from onnxpress.watching.observe import Observer, observer_of
from onnxpress.watching.profile import Profile, is_replaceable, model_of, profile_of, read_profile, write_profile
from tests.watching.conftest import Profiled, draw_texts


def test_a_profile_is_what_the_classifier_answers(bulk: onnxpress.Classifier, profiled: Profiled) -> None:
    texts = [*draw_texts("posts", 300, 1), *["good film"] * 50, "good film " * 100]
    found, answers, logits = profiled(texts), bulk(texts), bulk.logits(texts)
    scores, margins = np.array([answer.score for answer in answers]), np.abs(np.subtract(*logits.T))
    tokens = np.minimum(bulk.count_tokens(texts), 140)
    assert found.texts == len(texts) and found.tokens == tokens.sum() and (found.cut, found.in_windows) == (1, 0)
    assert found.label_counts == tuple(sum(answer.label == label for answer in answers) for label in bulk.labels)
    assert found.unknown_tokens == sum(text.count("§") for text in texts)
    for histogram, values in ((found.scores[0], scores), (found.margins, margins), (found.lengths, tokens)):
        assert histogram is not None
        reached = np.cumsum(histogram.counts)[:-1]
        assert reached.tolist() == [(values <= bound).sum() for bound in histogram.bounds]
    assert found.answered == {"fp32": len(texts)}


def test_counts_of_parts_add_up_in_any_order(bulk: onnxpress.Classifier) -> None:
    texts, observer = draw_texts("posts", 700, 2), observer_of(bulk)
    (whole,) = bulk.stream_answered([texts])
    parts = [observer.counts(part) for part in bulk.stream_answered([texts[:100], texts[100:101], texts[101:], []])]
    random.Random(1).shuffle(parts)
    assert summed(parts) == observer.counts(whole) and sum(summed(parts).labels.values()) == 700
    assert msgspec.json.decode(msgspec.json.encode(summed(parts)), type=Counts) == summed(parts)


def test_equal_texts_count_each(bulk: onnxpress.Classifier) -> None:
    (parts,) = bulk.stream_answered([["good film", "good § film", "good § film"] * 10])
    found = observer_of(bulk).counts(parts)
    assert (found.texts, found.unknown_tokens, sum(found.lengths.values())) == (30, 20, 30)


def test_windows_count_as_their_text() -> None:
    rows = TokenRows(
        [TokenIds(np.array(ids)) for ids in ([1, 5], [1, 1, 1], [7])], np.array([2, 3, 1]), np.array([0, 2])
    )
    answered = Answered(np.array([[0, 1], [2, 0]], dtype=np.float32), np.array([0, 1], dtype=np.uint8), rows)
    observer = Observer(task=TextClassification(Decision("softmax"), 2), stages=("int8", "fp32"), unknown_token=1)
    found = observer.counts([answered])
    assert (found.tokens, found.unknown_tokens, found.in_windows, found.texts) == (6, 4, 1, 2)
    assert found.answered == {"int8": 1, "fp32": 1}


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_every_score_and_margin_has_a_bin(activation: str) -> None:
    logits = np.array([[0, 0], [1e30, -1e30], [-50, -50], [1e38, -1e38]], dtype=np.float32)
    answered = Answered(logits, np.zeros(4, dtype=np.uint8), TokenRows([], np.full(4, 20_000)))
    decision = Decision(activation, (0.0, 1.0) if activation == "sigmoid" else None)  # type: ignore[arg-type]
    found = Observer(task=TextClassification(decision, 2), stages=("fp32",), unknown_token=None).counts([answered])
    for bins, bounds in (
        (found.scores[0], score_bounds("softmax")),
        (found.margins, MARGINS),
        (found.lengths, LENGTHS),
    ):
        assert sum(bins.values()) == 4 and all(0 <= place <= len(bounds) for place in bins)


def test_a_regression_has_a_histogram_for_each_output() -> None:
    logits = np.array([[0.5, -3], [4.5, 1e9]], dtype=np.float32)
    answered = Answered(logits, np.zeros(2, dtype=np.uint8), TokenRows([], np.full(2, 5)))
    found = Observer(task=TextClassification(Decision("identity"), 2), stages=("fp32",), unknown_token=None).counts(
        [answered]
    )
    assert (found.labels, found.margins, len(found.scores)) == ({}, {}, 2)
    assert found + found == summed([found, Counts(), found])


def test_bounds_ascend() -> None:
    for bounds in (LENGTHS, MARGINS, UNKNOWN_SHARES, score_bounds("softmax"), score_bounds("identity")):
        assert list(bounds) == sorted(set(bounds))


@pytest.mark.parametrize(
    ("model", "unknown"),
    [
        (models.WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]"), 1),
        (models.WordLevel({"a": 0, "b": 1}, unk_token="b"), 1),
        (models.BPE({"a": 0}, []), None),
        (models.BPE({"a": 0, "<unk>": 1}, [], unk_token="<unk>"), 1),
        (models.Unigram([("a", 0.0), ("<unk>", -1.0)], 1), 1),
        (models.Unigram([("a", 0.0)]), None),
        (models.WordLevel({"a": 0}, unk_token="absent"), None),
    ],
)
def test_the_unknown_token_is_the_tokenizers(model: object, unknown: int | None) -> None:
    encoder = Encoder(
        Tokenizer(model), max_length=8, truncation_side="right", max_characters=100, long_text="truncate", stride=None
    )
    assert encoder.unknown_token == unknown


def test_written_and_read_it_is_the_same(profiled: Profiled, tmp_path: Path) -> None:
    profile, path = profiled(draw_texts("posts", 100, 3)), tmp_path / "profile.json"
    write_profile(path, profile)
    assert read_profile(path) == profile and [*tmp_path.iterdir()] == [path]
    before = path.read_bytes()
    write_profile(path, profile)
    assert path.read_bytes() == before


def test_an_artifact_may_hold_one(profiled: Profiled, artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(onnxpress.ConfigError, match=r"holds no profile\. Export with --sample, or make one with"):
        read_profile(artifact)
    folder = shutil.copytree(artifact, tmp_path / "artifact")
    profile = profiled(draw_texts("posts", 100, 3))
    for model, says in ((profile.model, None), ("0" * 64, "another model than this artifact")):
        write_profile(folder / "profile.json", msgspec.structs.replace(profile, model=model))
        manifest = open_artifact(artifact).manifest
        files = manifest.files | {"profile.json": record_of(folder / "profile.json")}
        changed = msgspec.structs.replace(manifest, files=files)
        (folder / "onnxpress.json").write_bytes(encode_manifest(changed))
        assert model_of(changed) == model_of(manifest)
        if says is None:
            assert read_profile(folder) == profile
        else:
            with pytest.raises(onnxpress.ConfigError, match=says):
                read_profile(folder)


def changed(profile: Profile, **fields: object) -> bytes:
    return json.dumps(msgspec.to_builtins(profile) | fields).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a profile"),
        (b"[]", "not a profile"),
        (b"\xff\xfe", "not a profile"),
        (b"[" * 100_000, "not a profile"),
        (b'{"kind": "other", "schema_version": 1}', "not a profile"),
        ({"schema_version": 2}, "a profile of schema 2; this version compares schema 1"),
        ({"schema_version": "1"}, "not a profile"),
        ({"texts": 0}, "not a profile"),
        ({"label_counts": [-1, 101]}, "not a profile"),
        ({"label_counts": [100]}, "1 counts for 2 labels"),
        ({"label_counts": [10**20, 1]}, "not a profile"),
        ({"label_counts": None}, "a regression alone has neither"),
        ({"lengths": {"bounds": [1.0, 2.0], "counts": [50, 50, 0]}}, "bins of other bounds"),
        ({"answered": {"fp32": 7}}, "counts of 7 texts in a profile of 100"),
        ({"unexpected": 1}, "unknown field"),
    ],
)
def test_what_is_no_profile_is_told_in_one_line(
    profiled: Profiled, tmp_path: Path, content: bytes | dict[str, object], says: str
) -> None:
    path = tmp_path / "profile.json"
    profile = profiled(draw_texts("posts", 100, 3))
    path.write_bytes(content if isinstance(content, bytes) else changed(profile, **content))
    with pytest.raises(onnxpress.ConfigError, match=says) as caught:
        read_profile(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_profile_of_no_texts_is_refused(artifact: Path, tmp_path: Path) -> None:
    write_profile(tmp_path / "p.json", profile_of(open_artifact(artifact).manifest, Counts()))
    with pytest.raises(onnxpress.ConfigError, match="a profile of no texts"):
        read_profile(tmp_path / "p.json")
    with pytest.raises(onnxpress.ConfigError, match="no such file"):
        read_profile(tmp_path / "absent.json")


def test_only_a_profile_is_replaced(profiled: Profiled, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    assert is_replaceable(path)
    for content in (b"precious", b"", b"{}", b'{"kind": "x", "schema_version": 1}'):
        path.write_bytes(content)
        assert not is_replaceable(path)
    path.write_bytes(changed(profiled(["good film"]), schema_version=99))
    assert is_replaceable(path) and not is_replaceable(tmp_path)
