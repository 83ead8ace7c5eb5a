"""Run benchmarks by name: `python -m benchmarks [--quick] [--full] [NAME ...]`; without a name, all of them."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from benchmarks import BASELINE_PARTS, ON_REQUEST, QUESTIONS, table
from benchmarks.harness import REPEATS, RESULTS, NothingMeasured, Options, Report

KNOWN = (*QUESTIONS, *ON_REQUEST)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named questions, print their answers, keep them, and put them into the page of results.

    Returns:
        0 when every question was answered (whether its goals were met or not), 1 when one measured nothing.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of: {', '.join(KNOWN)}")
    parser.add_argument("--quick", action="store_true", help="a smoke run: tiny counts, one turn, nothing is kept")
    parser.add_argument("--full", action="store_true", help="also a million sessions where that takes minutes (growth)")
    parser.add_argument("--plain", action="store_true", help="leave out ours with a compiled core (built first)")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="turns for each side (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=None, help="folder for the JSON (default: benchmarks/results)")
    parser.add_argument("--commit", default="HEAD", help="what baseline measures beside this tree (default: HEAD)")
    parser.add_argument("--control", action="store_true", help="let baseline tell its noise: that commit beside itself")
    parser.add_argument(
        "--parts", nargs="+", choices=BASELINE_PARTS, default=(), help="what of baseline (default: all)"
    )
    wanted = parser.parse_args(arguments)
    unknown = [name for name in wanted.names if name not in KNOWN]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(KNOWN)}")
    if wanted.repeats < 1:
        parser.error("--repeats must be 1 or more")
    options = Options(
        repeats=1 if wanted.quick else wanted.repeats,
        quick=wanted.quick,
        full=wanted.full,
        plain=wanted.plain,
        results=wanted.results or RESULTS,
        commit=wanted.commit,
        control=wanted.control,
        parts=tuple(wanted.parts),
    )
    failed = False
    for name in wanted.names or QUESTIONS:
        run = cast("Callable[[Options], Report]", importlib.import_module(f"benchmarks.{name}").run)
        try:
            report = run(options)
        except NothingMeasured as nothing:
            print(f"\n{name}: nothing measured\n{nothing}", file=sys.stderr)
            failed = True
            continue
        report.show()
        if wanted.results or not options.quick:
            report.keep(options)
        if not wanted.results and not options.quick:
            table.write()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
