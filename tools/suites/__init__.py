"""Other projects' own tests, run with our parts in the place of theirs: ``make suites``.

Each suite runs in an environment of its own; nothing of theirs is kept here, and they never meet our tests. A suite
passes if ours took part in it, and if the only tests that fail are those named here with the reason why they cannot
pass. One that is named and passes all the same is a fault of the list.
"""
