"""`onnxpress drift`: its page, its exit status, and one line for what it cannot compare."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import onnxpress
from onnxpress.watching.compare import compare_profiles
from onnxpress.watching.page import page
from onnxpress.watching.profile import read_profile
from onnxpress.watching.report import markdown
from tests.watching.conftest import draw_texts


@pytest.fixture(scope="module")
def folder(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Profiles, by `onnxpress score`."""
    made = tmp_path_factory.mktemp("profiles")
    for name, kind, count in (
        ("before", "reviews", 3_000),
        ("same", "reviews", 2_900),
        ("few", "reviews", 40),
        ("posts", "posts", 500),
    ):
        lines = (json.dumps({"text": text}) + "\n" for text in draw_texts(kind, count, count))
        (made / f"{name}.jsonl").write_text("".join(lines))
        onnxpress.score(artifact, made / f"{name}.jsonl", made / f"{name}.out.jsonl", profile=made / f"{name}.json")
    return made


def drift(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onnxpress", "drift", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("name", "status", "title"), [("same", 0, "No drift"), ("posts", 1, "Drift"), ("few", 3, "Not to be told")]
)
def test_the_exit_status_and_the_page_say_the_same(folder: Path, name: str, status: int, title: str) -> None:
    done = drift(folder, "before.json", f"{name}.json")
    assert (done.returncode, done.stderr) == (status, ""), done.stderr
    assert done.stdout.startswith(f"# {title}\n") and "| figure | population stability index |" in done.stdout


def test_what_cannot_be_compared_is_one_line(folder: Path, artifact: Path) -> None:
    (folder / "broken.json").write_text("{")
    profile = json.loads((folder / "same.json").read_bytes())
    (folder / "other.json").write_text(json.dumps(profile | {"labels": ["no", "yes"]}))
    (folder / "newer.json").write_text(json.dumps(profile | {"schema_version": 2}))
    for arguments, says in (
        (("before.json", "absent.json"), "absent.json: no such file"),
        (("before.json", "broken.json"), "broken.json: not a profile"),
        (("before.json", "other.json"), "the profiles are of different models"),
        (("newer.json", "before.json"), "newer.json: a profile of schema 2"),
        ((str(artifact), "before.json"), "the artifact holds no profile"),
        ((".", "before.json"), "not an onnxpress artifact"),
        (("before.json", "same.json", "--limit", "0"), "--limit must be above 0"),
        (("before.json", "same.json", "--html", "absent/page.html"), "No such file or directory"),
    ):
        done = drift(folder, *arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert done.stderr.startswith("error: ") and says in done.stderr and done.stderr.count("\n") == 1


def test_the_page_is_whole_and_asks_for_nothing(folder: Path) -> None:
    assert drift(folder, "before.json", "posts.json", "--html", "page.html").returncode == 1
    text = (folder / "page.html").read_text(encoding="utf-8")
    opened: list[str] = []

    class Checked(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            assert all(
                name not in ("src", "onclick") and (name != "href" or value == "data:,") for name, value in attributes
            )
            if tag not in ("meta", "link"):
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Checked().feed(text)
    assert not opened and len(re.findall("<section>", text)) == 5 and "http" not in text


def test_names_of_labels_are_text_in_both_pages(folder: Path) -> None:
    import msgspec

    labels = ("<script>alert(1)</script>", "a|b\nc")
    one, two = (
        msgspec.structs.replace(read_profile(folder / name), labels=labels) for name in ("before.json", "posts.json")
    )
    found = compare_profiles(one, two, limit=0.0001, confidence=0.9)
    assert "<script>" not in page(found)
    one, two = (
        msgspec.structs.replace(profile, label_counts=counts)
        for profile, counts in ((one, (one.texts, 0)), (two, (0, two.texts)))
    )
    assert "| a\\|b c | 0.0% | 100.0% |" in markdown(compare_profiles(one, two, limit=0.1, confidence=0.9))


def test_without_scipy_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxpress.cli.drift import drift as command

    monkeypatch.setattr("onnxpress.extras.find_spec", lambda name: None)
    with pytest.raises(onnxpress.MissingDependencyError, match=r"onnxpress\[drift\]"):
        command(folder / "before.json", folder / "same.json")
