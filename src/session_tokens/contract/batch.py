"""A batch of questions for one round trip, and the fallback of stores for threads that answer one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from ..errors import StoreUnavailable
from .queries import Answered, Result, Snapshot

Q = TypeVar("Q")
A = TypeVar("A")


class Batch(NamedTuple):
    """The answers of one round trip: an error in place of an answer is one for who asked that query.

    Attributes:
        now: the instant at which they held, in milliseconds.
        found: an answer or an error for each query, in order.
    """

    now: int
    found: Sequence[Answered]


def snapshot_of(now: int, found: Sequence[Answered]) -> Snapshot | Exception:
    """Return the answers as one caller gets them: the first error among them in their place."""
    answers: list[Result] = []
    for answer in found:
        if isinstance(answer, Exception):
            return answer
        answers.append(answer)
    return Snapshot(now, answers)


class Direct(Generic[Q, A]):
    """Carries each question by itself, at once: what a ``Coalescer`` is for threads, each of which has a connection.

    Args:
        carry, alone: as for ``Coalescer``.
    """

    def __init__(
        self, carry: Callable[[Sequence[Q]], Sequence[A | Exception]], *, alone: Callable[[Q], A] | None = None
    ) -> None:
        self._carry = carry
        self._alone = alone
        self._closed = False

    def ask(self, question: Q) -> A:
        """Return the answer to one question.

        Raises:
            StoreUnavailable: it was closed; or whatever the store raised for this question.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed; open it again")
        if self._alone is not None:
            return self._alone(question)
        (answer,) = self._carry((question,))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Refuse further questions."""
        self._closed = True
