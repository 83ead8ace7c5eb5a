"""Count the machine instructions of a stretch of a program: valgrind runs it all, and tells those between two marks.

To run a program twice, with the stretch and without it, and to take the difference says less: what comes before takes
far more, and varies by a hundredth of itself. A program under valgrind is so slow that a clock that goes on is read
anew in most calls, and in others each time.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks.harness import ROOT

mark = os.ctermid
"""Called before and after what is counted: as nothing else calls that function of C, valgrind knows it by its name."""


def counted_between_marks(command: list[str], environment: dict[str, str]) -> int:
    """Run a program from the root of this tree, and return the instructions between its marks, in all its threads.

    Raises:
        SystemExit: it failed, or made no marks.
    """
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        result = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}", f"--dump-before={mark.__name__}",
             *command],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0", **environment}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        between = Path(f"{counts}.2")  # the first tells what came before the marks
        found = re.search(r"^totals: (\d+)$", between.read_text(), re.MULTILINE) if between.exists() else None
    if result.returncode or found is None:
        raise SystemExit(f"{' '.join(command)}: nothing counted\n{result.stderr}")
    return int(found[1])
