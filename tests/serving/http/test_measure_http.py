"""The load generator runs, and loses nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_both_sides_are_measured_and_nothing_is_lost(artifact: Path, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(texts[:50]))
    code = (
        "import sys; from pathlib import Path; script, artifact, texts = sys.argv[1:]; sys.path.insert(0, script);"
        "import measure_http as m; m.ROUNDS, m.SINGLES = 1, 12;"
        "m.main(artifact, m.read_texts(Path(texts)), 'fp32', 0.3)"
    )
    command = [sys.executable, "-c", code, EXAMPLES, artifact, tmp_path / "texts.txt"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [re.match(r"1 (\w+)", line).group(1) for line in lines[:6]] == ["service"] * 3 + ["http"] * 3  # type: ignore[union-attr]
    assert len(re.findall(r"lost 0$", done.stdout, re.MULTILINE)) == 4
    assert re.fullmatch(r"throughput over HTTP: [\d.]+% of the service's", lines[6])
