"""No two files need each other, not even for the types alone: each can be read, and moved, without the other."""

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

PACKAGE = "session_tokens"
TWO_HALVES = ("session_tokens.stores.memory.transaction", "session_tokens.stores.memory.store")
"""One object in two files: the transaction of a memory store reads its tables by name, and is compiled with it."""


def imports() -> dict[str, set[str]]:
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) - {module} for module in graph.modules}


def test_no_files_import_each_other_in_a_circle() -> None:
    needed = imports()
    importer, imported = TWO_HALVES
    needed[importer].remove(imported)

    TopologicalSorter(needed).prepare()


def test_a_circle_is_seen() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter(imports()).prepare()
