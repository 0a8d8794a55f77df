"""How often does the gate catch a slowdown that was put in, and how often does it cry wolf?

    python examples/measure_gate.py ARTIFACT TEXTS [SLOWED_RUNS [SAME_RUNS]]

Makes an environment whose engine takes 8 % longer for every call, runs `onnxpress bench compare` there against this
one, and then this engine against itself. Prints every verdict and the time it took.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections import Counter
from pathlib import Path

import onnxpress
import onnxpress_bench
import onnxpress_export

SLOWDOWN = 0.08
PATCH = f"""

from time import perf_counter as _now

_logits = Classifier.logits


def _slowed(self, texts):
    begin = _now()
    found = _logits(self, texts)
    end = _now() + {SLOWDOWN} * (_now() - begin)
    while _now() < end:
        pass
    return found


Classifier.logits = _slowed
"""


def slowed_environment(folder: Path) -> str:
    """Make an environment like this one, but for an engine that takes longer; returns its interpreter."""
    venv.create(folder)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    packages = Path(paths["purelib"])
    engine = packages / "onnxpress"
    shutil.copytree(Path(onnxpress.__file__).parent, engine)
    with (engine / "classifier.py").open("a") as module:
        module.write(PATCH)
    others = [Path(str(package.__file__)).parents[1] for package in (onnxpress_bench, onnxpress_export)]
    here = [sysconfig.get_paths()["purelib"], *map(str, others)]
    (packages / "others.pth").write_text("\n".join(here) + "\n")
    return str(Path(paths["scripts"]) / Path(sys.executable).name)


def verdicts(python: str, artifact: str, texts: str, runs: int) -> Counter[int]:
    """Exit statuses of `runs` comparisons of the engine of `python` against this one."""
    found: Counter[int] = Counter()
    for _ in range(runs):
        begin = time.monotonic()
        command = [python, "-m", "onnxpress", "bench", "compare", artifact, artifact, "--texts", texts]
        done = subprocess.run([*command, "--baseline-env", sys.executable], capture_output=True, text=True, check=False)
        if not done.stdout:
            sys.exit(f"no verdict: {done.stderr}")
        found[done.returncode] += 1
        print(
            f"{done.returncode} after {time.monotonic() - begin:.0f} s",
            *done.stdout.splitlines(),
            sep="\n  ",
            flush=True,
        )
    return found


def main() -> None:
    """Print the verdicts of both."""
    artifact, texts, *counts = sys.argv[1:]
    slowed, same = (int(count) for count in [*counts, "10", "20"][:2])
    with tempfile.TemporaryDirectory() as folder:
        caught = verdicts(slowed_environment(Path(folder)), artifact, texts, slowed)
    print(f"{SLOWDOWN:.0%} slower: {caught[1]} of {slowed} caught, {caught[3]} inconclusive, {caught[0]} passed")
    alarms = verdicts(sys.executable, artifact, texts, same)
    print(f"the same: {alarms[1]} of {same} alarms, {alarms[3]} inconclusive, {alarms[0]} passed")


if __name__ == "__main__":
    main()
