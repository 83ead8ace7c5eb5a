"""A compiled core is built when it is asked for, never otherwise, and what cannot be done is said.

`make compiled`, which `make prove` runs too, builds it whole and runs the tests of the core against it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from session_tokens.compiled_core import COMPILED
from tests.helpers.project import ROOT, SOURCE
from tools.build_hook import CORE, REQUIREMENTS, VARIABLE, Uncompilable, docstrings_of, in_c, is_asked_for

WRITE_C = """
import sys
from pathlib import Path
from tools.build_hook import write_c
write_c(Path.cwd(), Path(sys.argv[1]))
"""


def build(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Try to build a wheel as a user would, with the tools that are here."""
    command = [sys.executable, *(arguments or ("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)))]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.process
def test_without_a_compiler_a_compiled_core_is_refused_and_not_replaced_by_another(tmp_path: Path) -> None:
    result = build(tmp_path, **{VARIABLE: "1", "CC": "no-such-compiler"})

    assert result.returncode != 0
    assert "no compiled core: there is no C compiler (no-such-compiler)" in result.stdout + result.stderr
    assert [] == list(tmp_path.iterdir())


@pytest.mark.process
def test_an_editable_install_is_never_compiled() -> None:
    ask = "import hatchling.build; hatchling.build.build_editable('.')"

    result = build(ROOT, "-c", ask, **{VARIABLE: "1"})

    assert result.returncode != 0
    assert "an editable install runs the files as they are" in result.stdout + result.stderr


@pytest.mark.parametrize(("said", "asked"), [("1", True), ("0", False), ("", False)])
def test_one_asks_for_a_compiled_core_and_nothing_or_zero_does_not(
    said: str, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, said)

    assert asked is is_asked_for()


def test_what_is_neither_yes_nor_no_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "yes")

    with pytest.raises(Uncompilable, match="'yes'; 1 compiles"):
        is_asked_for()


@pytest.mark.proof
@pytest.mark.process
def test_the_core_is_written_as_c_with_its_docstrings(tmp_path: Path) -> None:
    """No compiler is needed to see that mypyc takes the files as they are."""
    written = tmp_path / "written"
    written.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    result = subprocess.run(
        [sys.executable, "-c", WRITE_C, str(written)],
        cwd=SOURCE, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert result.returncode == 0, result.stdout + result.stderr
    text = "".join(path.read_text() for path in written.rglob("*.c"))
    for name in ("_sync/tables_commands", "records/token", "stores/memory/store", "rules/tokens"):
        docstrings = [docstring for _, docstring in docstrings_of(SOURCE / "session_tokens" / f"{name}.py")]
        # What is private, special or a property may go without; what callers ask help for may not.
        assert sum(in_c(docstring) in text for docstring in docstrings if docstring) >= 3, name


@pytest.mark.needs_gcc
@pytest.mark.process
def test_text_between_the_quotes_of_c_is_the_text_that_was_given(tmp_path: Path) -> None:
    text = "“Why?”\n\ta \\ 'b' \"c\" %d ??/ 0123 – ünïcödé"
    source = tmp_path / "text.c"
    source.write_text(f'#include <stdio.h>\nint main(void) {{ fputs("{in_c(text)}", stdout); return 0; }}\n')
    compiler = shutil.which("gcc")
    assert compiler is not None

    subprocess.run([compiler, str(source), "-o", str(tmp_path / "text")], check=True)

    assert text.encode() == subprocess.run([tmp_path / "text"], capture_output=True, check=True).stdout


def test_every_module_of_the_core_is_a_file_and_is_named_once() -> None:
    assert [] == [name for name in CORE if not (SOURCE / "session_tokens" / f"{name}.py").is_file()]
    assert len(set(CORE)) == len(CORE)


def test_what_a_build_asks_for_is_pinned_for_those_who_build_without_isolation() -> None:
    names = [line.partition(">")[0].partition("[")[0] for line in REQUIREMENTS]
    pinned = (ROOT / "requirements" / "compile.txt").read_text()

    assert all(f"\n{name}==" in f"\n{pinned}" for name in [*names, "setuptools", "hatchling"])


def test_an_editable_install_says_that_it_is_not_compiled() -> None:
    assert COMPILED is False
