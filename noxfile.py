"""Runs the tests on every Python that the package says it works with."""

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Install the pinned requirements and this package, then run pytest: `nox -s tests-3.13 -- -k transfer`."""
    session.install("--require-hashes", "--no-deps", "-r", "requirements/dev.txt")
    session.install("--no-deps", "--no-build-isolation", "--no-index", "--editable", ".")
    session.run("pytest", "-n", "2", *session.posargs)
