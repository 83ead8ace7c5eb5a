"""What holds for every test: how far random tests go, and what happens when a program is not on the machine."""

import gc
import logging
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.effort import INSISTING, PROVING, QUICK
from tools.system_packages import SystemPackage, listed_packages

pytest_plugins = ["tests.helpers.fixtures", "tests.helpers.marks"]
# The checks of the shipped suite say what they compared, as tests do.
pytest.register_assert_rewrite("session_tokens.testing.checks", "session_tokens.testing.harness")

MARKERS = {package.marker for package in listed_packages()}
MISSING: dict[str, list[SystemPackage]] = {}
for package in listed_packages():
    if not package.is_present:
        MISSING.setdefault(package.marker, []).append(package)

# No deadline per example: on a shared machine it would measure the neighbours.
settings.register_profile(
    "test",
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("prove", settings.get_profile("test"), max_examples=3000, stateful_step_count=80)
settings.register_profile("quick", settings.get_profile("test"), max_examples=12, stateful_step_count=20)
settings.load_profile("prove" if PROVING else "quick" if QUICK else "test")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are loaded, nor among them later: a third of that time, and nothing is found."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def loggers() -> dict[str, logging.Logger]:
    """Find the loggers that a command line or a service sets up for its process."""
    names = {"session_tokens", "uvicorn", *logging.root.manager.loggerDict}
    return {name: logging.getLogger(name) for name in names if name.partition(".")[0] in ("session_tokens", "uvicorn")}


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """Put loggers back after each test: a command line that ran within one would silence those that follow."""
    before = {name: (logger.level, logger.propagate, list(logger.handlers)) for name, logger in loggers().items()}
    yield
    for name, logger in loggers().items():
        level, propagate, handlers = before.get(name, (logging.NOTSET, True, []))
        if logger.level != level:  # setting it clears what every logger knows of its level
            logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Stop a test whose program is not here, naming the package that brings it."""
    names = sorted(
        package.name for mark in item.iter_markers() if mark.name in MARKERS for package in MISSING.get(mark.name, [])
    )
    if not names:
        return
    words = f"missing Debian packages: {', '.join(names)} (apt-get install {' '.join(names)})"
    if INSISTING:
        pytest.fail(words, pytrace=False)
    pytest.skip(words)
