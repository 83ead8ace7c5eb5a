"""Compile the core of a wheel when SESSION_TOKENS_COMPILE=1 asks for it; without that, a wheel stays pure Python.

Theory of operation. Hatchling calls `initialize` before it packs a wheel. Asked to compile, it has mypyc turn the typed
files of `CORE`, unchanged, into one shared library and a small loader for each module, and packs them beside the `.py`
files: Python prefers a loader where there is one, and readers and type checkers still find the source.
What is asked for and cannot be done ends the build; a wheel is never quietly another than it was asked to be.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shlex
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "SESSION_TOKENS_COMPILE"
REQUIREMENTS = ["mypy[mypyc]>=2.4"]
PACKAGE = "session_tokens"
CORE = """
    compiled_core settings clock records/record records/traits records/token_details records/session_details
    records/session records/token contract/changes contract/transaction contract/store crypto/minting crypto/secret_form
    validation json_values rules/audit rules/caps rules/expiry rules/idempotency rules/lookup
    rules/listing rules/token_tables rules/loans rules/offers rules/receiving rules/owners rules/service_keys
    rules/sessions rules/settings rules/tokens stores/memory/indexes stores/memory/commit stores/memory/transaction
    stores/memory/store tables/strings tables/given _sync/tables_core _sync/tables_commands
""".split()
"""Floors 0 to 2, the memory store, and the tables for threads: what a command in memory passes through."""
MYPY_OPTIONS = ["--config-file=", "--python-version", "3.11", "--follow-imports=silent", "--ignore-missing-imports"]


DOCUMENTED = re.compile(
    r"""((?:\(PyCFunction\)CPyPy_(\w+),[\sA-Z_|,]+|CPyType_(\w+)_template_ = \{[^}]*?\.tp_doc = )"""
    r"""PyDoc_STR\("(?:[^"\\]|\\.)*)("\))"""
)
"""A signature in the C of mypyc, and whose it is: a function's or method's, or a class's."""


class Uncompilable(Exception):
    """A compiled core was asked for and cannot be made."""


def is_asked_for() -> bool:
    """Tell whether the environment asks for a compiled core.

    Raises:
        Uncompilable: what it says is neither yes nor no.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", "0", "1"):
        raise Uncompilable(f"{VARIABLE} is {asked!r}; 1 compiles the core, 0 or nothing leaves it pure Python")
    return asked == "1"


def check_compiler() -> None:
    """Say in one sentence what is missing, before a compiler says it in many.

    Raises:
        Uncompilable: there is no C compiler, or no headers of this Python.
    """
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(command) is None:
        raise Uncompilable(f"there is no C compiler ({command}); install gcc, or leave {VARIABLE} away")
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if not headers.is_file():
        raise Uncompilable(f"{headers} is missing; install the headers of this Python (python3-dev), or its source")


def write_c(source: Path, work: Path) -> list[Any]:
    """Have the core written as C, which takes no C compiler.

    Args:
        source: the folder that holds the package; the working folder, so that tracebacks name files from there on.
        work: an empty folder for everything that is made.

    Returns:
        What setuptools needs to compile it.
    """
    from mypyc.build import mypycify

    paths = [f"{PACKAGE}/{name}.py" for name in CORE]
    extensions: list[Any] = mypycify(
        [*MYPY_OPTIONS, "--cache-dir", str(work / "cache"), *paths],
        opt_level="2",
        debug_level="0",
        target_dir=str(work / "c"),
        group_name=PACKAGE,
    )
    put_docstrings(work / "c", [source / path for path in paths])
    return extensions


def compile_core(source: Path, work: Path) -> dict[str, str]:
    """Compile the core; see ``write_c``.

    Returns:
        Each file that was made, and its place in a wheel.
    """
    setuptools = import_module("setuptools")  # brings no types along
    with contextlib.chdir(source):
        distribution = setuptools.Distribution({"name": PACKAGE, "ext_modules": write_c(source, work)})
        command = distribution.get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(work / "lib"), str(work / "temp")
        command.ensure_finalized()
        command.run()
    made = [path for path in (work / "lib").rglob("*") if path.is_file()]
    return {str(path): path.relative_to(work / "lib").as_posix() for path in made}


def put_docstrings(written: Path, sources: Sequence[Path]) -> None:
    """Put the docstrings, which mypyc leaves out, behind the signatures that it writes, so that help() goes on helping.

    Raises:
        Uncompilable: a signature was not found where mypyc is known to write it.
    """
    docstrings: dict[str, str] = {}
    for path in sources:
        for name, docstring in docstrings_of(path):
            docstrings[f"{path.stem}___{name}"] = docstrings[f"{path.parent.name}___{path.stem}___{name}"] = docstring
    count = 0
    for path in written.rglob("*.c"):
        text, more = DOCUMENTED.subn(
            lambda found: found[1] + in_c(docstrings.get(found[2] or found[3], "")) + found[4], path.read_text()
        )
        path.write_text(text)
        count += more
    if not count:
        raise Uncompilable("this mypyc writes signatures elsewhere; take the version in requirements/dev.txt")


def docstrings_of(source: Path) -> Iterator[tuple[str, str]]:
    """Return the functions, classes and methods of a file by the names that mypyc gives them, with their docstrings."""
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else []
        for prefix, one in [("", node), *((f"{getattr(node, 'name', '')}___", member) for member in inner)]:
            if isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + one.name, ast.get_docstring(one) or ""


def in_c(text: str) -> str:
    """Return a text as it stands between the quotes of C."""
    return "".join(
        chr(byte) if byte == 32 or (byte < 128 and chr(byte).isalnum()) else f"\\{byte:03o}" for byte in text.encode()
    )


class CompiledCoreHook(BuildHookInterface[Any]):
    """What hatchling calls; named in pyproject.toml."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what a build needs beside hatchling: a pure one nothing."""
        return REQUIREMENTS if os.environ.get(VARIABLE) == "1" else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile if that is asked for, and have the results packed."""
        try:
            if not is_asked_for():
                return
            if version == "editable":
                raise Uncompilable(f"an editable install runs the files as they are; leave {VARIABLE} away")
            check_compiler()
            self._work = tempfile.TemporaryDirectory(prefix="session-tokens-core-")
            build_data["force_include"].update(compile_core(Path(self.root, "src"), Path(self._work.name)))
        except Uncompilable as reason:
            self.app.abort(f"no compiled core: {reason}")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Take away what was made on the way."""
        if hasattr(self, "_work"):
            self._work.cleanup()
