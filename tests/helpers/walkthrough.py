"""The README's blocks for a shell, run as a reader pastes them, and whether their promises were kept."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.helpers.project import ROOT

BASH = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)

SECRET = re.compile(r"stk_[0-9A-Za-z]{51}")


def section(title: str) -> list[str]:
    text = (ROOT / "README.md").read_text()
    body = text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    return [match.group(1) for match in BASH.finditer(body)]


def paste(blocks: list[str], folder: Path) -> list[tuple[str, str]]:
    """Run blocks in one shell that keeps its variables; answer each line with a promise and what it printed."""
    state = folder / "shell-state"
    script = ["set -eu", f"if [ -f {state} ]; then . {state}; fi"]
    for line in "".join(blocks).splitlines():
        command, promise = line.split("  # ", 1) if "  # " in line else (line, "")
        script.append(command.rstrip())
        script.append(f"printf '\\n@@%s\\n' {quoted(promise)}")
    script.append(
        f"set | grep -E '^[A-Z_]+=' | grep -vE '^(BASH|SHELLOPTS|EUID|PPID|UID|_)' > {state}; declare -f >> {state}\n"
        f"echo 'export SESSION_TOKENS_STORE PATH' >> {state}"
    )
    bare = {name: value for name, value in os.environ.items() if name != "SESSION_TOKENS_STORE"}
    bare["PATH"] = ":".join(part for part in os.environ["PATH"].split(":") if ".venv" not in part)
    run = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=bare, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr
    parts = re.split(r"\n@@(.*)\n", run.stdout)
    return [(parts[at + 1], parts[at]) for at in range(0, len(parts) - 1, 2)]


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def promised(answers: list[tuple[str, str]]) -> list[str]:
    """Return the promises that were not kept: each piece of JSON in a comment is in what was printed."""
    broken = []
    promises = 0
    for promise, printed in answers:
        for piece in re.findall(r'\{"active":false\}|"\w+":(?:\{[^}]*\}|"[^"]*"|\w+)', promise):
            promises += 1
            if piece.replace(" ", "") not in printed.replace(" ", ""):
                broken.append(f"{piece} is not in {printed!r}")
    assert promises > 0
    return broken
