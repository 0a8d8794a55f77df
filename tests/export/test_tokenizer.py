"""Whatever library classes make of a checkpoint, the ids are those of its own tokenizer.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

import onnxpress
from onnxpress.inputs.encoder import Encoder
from onnxpress_export import export
from onnxpress_export.artifact import write_tokenizer
from onnxpress_export.checkpoint import Checkpoint, load_checkpoint
from onnxpress_export.token_corpus import corpus
from onnxpress_export.token_ids import same_ids
from onnxpress_export.token_proof import TokensError, check_tokens
from onnxpress_export.tokenizer import OwnTokenizer, load_tokenizer
from tests.conftest import WORDS, edit_json, make_tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def framed(tokenizer: Tokenizer, first: str, last: str) -> Tokenizer:
    ids = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=f"{first} $A {last} $B:1 {last}:1", special_tokens=ids
    )
    return tokenizer


def word_pieces(*, lowercase: bool, strip_accents: bool | None = None) -> Tokenizer:
    vocabulary = dict.fromkeys([*SPECIAL, *WORDS, *map(chr, range(33, 127)), "##s", "##ing", "##ed", "Good", "é"])
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    return framed(tokenizer, "[CLS]", "[SEP]")


def byte_level(*, prefix_space: bool, special: bool = True) -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "g"), ("o", "o"), ("oo", "d"), ("Ġg", "ood"), ("f", "i"), ("l", "m"), ("fi", "lm"), ("Ġ", "film")]
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = dict.fromkeys([*names, *letters, *("".join(merge) for merge in merges)])
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.add_special_tokens([*names[:4], AddedToken("<mask>", lstrip=True, special=True)])
    return framed(tokenizer, "<s>", "</s>") if special else tokenizer


def unigram(*, lowercase: bool = False, scheme: str = "always") -> Tokenizer:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *map(chr, range(97, 123)), *(f"▁{word}" for word in WORDS), "▁Good"]
    vocabulary = [(piece, -float(i % 17) - 1) for i, piece in enumerate(dict.fromkeys(pieces))]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    steps = [normalizers.NFKC(), normalizers.Replace(" {2,}", " ")]
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Lowercase()] if lowercase else steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def sentencepiece_bpe() -> Tokenizer:
    """As Llama's and Gemma's: a prefix in the normalizer, and bytes for what it has no piece for."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(97, 123))]
    merges = [("g", "o"), ("go", "o"), ("goo", "d"), ("▁", "good")]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, *("".join(merge) for merge in merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def words_alone() -> Tokenizer:
    vocabulary = {word: i for i, word in enumerate(["[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


BERT = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
ROBERTA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}

KINDS: dict[str, tuple[Callable[[], Tokenizer], dict[str, str]]] = {
    "WordPiece, lower-casing": (lambda: word_pieces(lowercase=True), BERT),
    "WordPiece, cased": (lambda: word_pieces(lowercase=False), BERT),
    "WordPiece, cased without accents": (lambda: word_pieces(lowercase=False, strip_accents=True), BERT),
    "byte-level BPE": (lambda: byte_level(prefix_space=False), ROBERTA),
    "byte-level BPE, prefix space": (lambda: byte_level(prefix_space=True), ROBERTA),
    "byte-level BPE, no special tokens": (
        lambda: byte_level(prefix_space=False, special=False),
        {"eos_token": "</s>", "pad_token": "<pad>"},
    ),
    "SentencePiece Unigram": (unigram, {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}),
    "SentencePiece Unigram, lower-casing": (
        lambda: unigram(lowercase=True),
        {"pad_token": "<pad>", "eos_token": "</s>"},
    ),
    "SentencePiece Unigram, no prefix": (lambda: unigram(scheme="never"), {"pad_token": "<pad>", "eos_token": "</s>"}),
    "SentencePiece BPE, byte fallback": (sentencepiece_bpe, {"bos_token": "<s>", "unk_token": "<unk>"}),
    "words, no special tokens": (words_alone, {"unk_token": "[UNK]"}),
}
CLASSES = [
    "PreTrainedTokenizerFast",
    "BertTokenizer",
    "RobertaTokenizer",
    "Qwen2Tokenizer",
    "LlamaTokenizerFast",
    "T5Tokenizer",
    "NoSuchTokenizer",
]


def save(tokenizer: Tokenizer, folder: Path, *, model_type: str = "bert", **settings: object) -> Path:
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 140, **settings}))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


def found(own: OwnTokenizer) -> Tokenizer:
    return Tokenizer.from_str(own.tokenizer.backend_tokenizer.to_str())


@pytest.mark.parametrize("named", CLASSES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_ids_are_those_of_tokenizer_json_whatever_class_is_named(kind: str, named: str, tmp_path: Path) -> None:
    make, names = KINDS[kind]
    tokenizer = make()
    own = load_tokenizer(str(save(tokenizer, tmp_path / "c", tokenizer_class=named, **names)), {})
    held = {str(token.content) for token in tokenizer.get_added_tokens_decoder().values()}
    tokenizer.add_special_tokens([name for name in names.values() if name not in held])  # as the settings add them
    assert same_ids(found(own), tokenizer, corpus(tokenizer))
    own.tokenizer.save_pretrained(tmp_path / "saved")
    assert same_ids(Tokenizer.from_file(str(tmp_path / "saved/tokenizer.json")), tokenizer, corpus(tokenizer))


def test_a_class_that_gives_other_ids_is_named_and_one_that_gives_the_same_is_not(tmp_path: Path) -> None:
    tokenizer = word_pieces(lowercase=True)
    assert load_tokenizer(str(save(tokenizer, tmp_path, tokenizer_class="BertTokenizer", **BERT)), {}).rebuilt is None
    wrong = save(tokenizer, tmp_path, tokenizer_class="RobertaTokenizer", model_type="roberta", **BERT)
    assert load_tokenizer(str(wrong), {}).rebuilt == "RobertaTokenizer"


def tokens(own: OwnTokenizer, text: str) -> list[str]:
    return list(found(own).encode(text).tokens)


def test_settings_that_the_class_heeds_are_followed(tmp_path: Path) -> None:
    def load(tokenizer: Tokenizer, **settings: object) -> OwnTokenizer:
        return load_tokenizer(str(save(tokenizer, tmp_path, **settings)), {})

    cased, lower = word_pieces(lowercase=False), word_pieces(lowercase=True)
    own = load(cased, tokenizer_class="BertTokenizer", do_lower_case=True, **BERT)
    assert tokens(own, "GOOD film") == ["[CLS]", "good", "film", "[SEP]"]
    own = load(lower, tokenizer_class="BertTokenizer", do_lower_case=False, **BERT)
    assert tokens(own, "Good") == ["[CLS]", "Good", "[SEP]"]
    own = load(cased, tokenizer_class="PreTrainedTokenizerFast", do_lower_case=True, **BERT)
    assert tokens(own, "Good") == ["[CLS]", "Good", "[SEP]"]  # the general class heeds no casing
    own = load(byte_level(prefix_space=False), tokenizer_class="RobertaTokenizer", add_prefix_space=True, **ROBERTA)
    assert tokens(own, "good") == ["<s>", "Ġgood", "</s>"]
    added = {"115": {"content": "[ORDER]", "special": True, "lstrip": False, "rstrip": False, "normalized": False,
                     "single_word": False}}  # fmt: skip
    size = str(lower.get_vocab_size())
    own = load(lower, tokenizer_class="BertTokenizer", added_tokens_decoder={size: added["115"]}, **BERT)
    assert tokens(own, "good [ORDER]") == ["[CLS]", "good", "[ORDER]", "[SEP]"]


def test_an_unstated_setting_changes_nothing(tmp_path: Path) -> None:
    """A class's default of lower-casing is not the checkpoint's word."""
    own = load_tokenizer(str(save(word_pieces(lowercase=False), tmp_path, tokenizer_class="BertTokenizer", **BERT)), {})
    assert tokens(own, "Good") == ["[CLS]", "Good", "[SEP]"]


def test_what_frames_a_text_is_kept_where_only_a_first_token_is_ruled_out(tmp_path: Path) -> None:
    tokenizer = byte_level(prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)]
    )
    folder = save(tokenizer, tmp_path, tokenizer_class="Qwen2Tokenizer", add_bos_token=False, eos_token="</s>",
                  pad_token="</s>", model_type="qwen2")  # fmt: skip
    assert tokens(load_tokenizer(str(folder), {}), "good") == ["g", "ood", "</s>"]


def test_wordpiece_files_alone_are_converted_and_compared(tmp_path: Path) -> None:
    vocabulary = [*SPECIAL, *WORDS, *map(chr, range(33, 127))]
    (tmp_path / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)) + "\n")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    own = load_tokenizer(str(tmp_path), {})
    assert own.form == "slow" and tokens(own, "GOOD film") == ["[CLS]", "good", "film", "[SEP]"]


def test_what_is_converted_wrongly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(dict.fromkeys([*SPECIAL, *WORDS])) + "\n")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    wrong = make_tokenizer()
    monkeypatch.setattr("onnxpress_export.tokenizer.AutoTokenizer.from_pretrained", lambda *_, **__: wrong)
    with pytest.raises(onnxpress.CheckpointError, match="otherwise than its vocabulary files say"):
        load_tokenizer(str(tmp_path), {})


@pytest.mark.parametrize(
    "content", ["{", "[]", "null", '{"model": {}}', '{"version": "1.0", "model": {"type": "New"}}']
)
def test_a_tokenizer_json_that_cannot_be_read(content: str, tmp_path: Path) -> None:
    folder = save(word_pieces(lowercase=True), tmp_path, **BERT)
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(onnxpress.CheckpointError) as caught:
        load_tokenizer(str(folder), {})
    assert "\n" not in str(caught.value) and "tokenizer.json" in str(caught.value)


def test_a_tokenizer_that_takes_special_tokens_apart_is_refused(tmp_path: Path) -> None:
    folder = save(word_pieces(lowercase=True), tmp_path, split_special_tokens=True, **BERT)
    with pytest.raises(onnxpress.CheckpointError, match="split_special_tokens"):
        load_tokenizer(str(folder), {})


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> Checkpoint:
    return load_checkpoint(str(checkpoint))


def test_a_written_tokenizer_that_differs_ends_the_export(loaded: Checkpoint, tmp_path: Path) -> None:
    write_tokenizer(loaded, tmp_path)
    assert check_tokens(loaded, tmp_path, ["good film", ("a", "b")]).texts > 100

    def capitals(tokenizer: dict[str, object]) -> None:
        tokenizer["normalizer"]["lowercase"] = False  # type: ignore[index]

    edit_json(tmp_path / "tokenizer.json", capitals)
    with pytest.raises(TokensError, match="gives other ids than the checkpoint's own"):
        check_tokens(loaded, tmp_path, [])


def test_tokens_that_stand_elsewhere_end_the_export(tmp_path: Path) -> None:
    """The ids are the same; but spaces would belong to words, and every entity begin too early."""
    tokenizer = byte_level(prefix_space=True)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    folder = save(tokenizer, tmp_path / "c", tokenizer_class="RobertaTokenizer", model_type="roberta", **ROBERTA)
    own = load_tokenizer(str(folder), {})
    own.tokenizer.save_pretrained(tmp_path / "saved")
    loaded = SimpleNamespace(tokenizer_source=own, max_length=64)
    assert check_tokens(loaded, tmp_path / "saved", ["good film"]).texts > 100  # type: ignore[arg-type]

    def spread(tokenizer: dict[str, object]) -> None:
        tokenizer["post_processor"]["trim_offsets"] = False  # type: ignore[index]

    edit_json(tmp_path / "saved/tokenizer.json", spread)
    with pytest.raises(TokensError, match="gives other places of tokens than the checkpoint's own"):
        check_tokens(loaded, tmp_path / "saved", [])  # type: ignore[arg-type]


def test_truncation_is_compared_on_both_sides(
    loaded: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class RightOnly(Encoder):
        """Forgets the side."""

        def __init__(self, tokenizer: Tokenizer, **settings: Any) -> None:
            super().__init__(tokenizer, **{**settings, "truncation_side": "right"})

    write_tokenizer(loaded, tmp_path)
    monkeypatch.setattr("onnxpress_export.token_proof.Encoder", RightOnly)
    with pytest.raises(TokensError, match="on the left"):
        check_tokens(loaded, tmp_path, [])


def test_the_manifest_tells_how_many_texts_were_compared(artifact: Path, report: object) -> None:
    compared = json.loads((artifact / "onnxpress.json").read_text())["tokens"]
    assert compared["texts"] > 100 and compared["reference"] == "tokenizer.json" and compared["rebuilt"] is None


def test_an_artifact_of_the_former_schema_still_loads(artifact: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(artifact, tmp_path / "copy"))

    def former(manifest: dict[str, object]) -> None:
        manifest["schema_version"] = 1
        del manifest["tokens"]

    edit_json(copy / "onnxpress.json", former)
    with onnxpress.load(copy) as classifier:
        assert classifier("good film").label


@pytest.mark.usefixtures("traced_once")
def test_an_export_follows_tokenizer_json(checkpoint: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    edit_json(copy / "tokenizer_config.json", lambda c: c.update(tokenizer_class="RobertaTokenizer"))
    steps: list[str] = []
    manifest = export(copy, tmp_path / "artifact", on_step=steps.append).manifest
    assert manifest.tokens is not None and manifest.tokens.rebuilt == "RobertaTokenizer"
    assert any("following tokenizer.json" in step for step in steps)
    with onnxpress.load(tmp_path / "artifact") as classifier:
        assert classifier.count_tokens(["good film"]).tolist() == [4]
