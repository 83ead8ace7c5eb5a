"""Another process whose borrowers borrow one token, each with a log-in of its own, until it is killed.

Usage: ``python -m tests.helpers.races.borrowing TOKEN NAME``; a line for each loan that was given (the owner, the
session and the secret), and one for each borrower that logged out. Two such processes have as many loans at once as
there can be: one more that is counted, although it does not live, refuses the next.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from session_tokens import SessionTokens
from session_tokens.settings import LOANS_MAX
from session_tokens.stores.connect import open_store_now
from tests.helpers.races.field import ALL, PEPPER

LENT_MAX = LOANS_MAX // 2


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    token, name = sys.argv[1:]
    st = SessionTokens(open_store_now(os.environ["RACE_URL"], pepper=PEPPER), ALL)
    lent, number = list[str](), 0
    while True:
        number += 1
        if len(lent) == LENT_MAX:
            over = lent.pop(0)
            st.destroy_session(over)
            tell(ended=over)
        owner = f"{name} {number}"
        session = st.open_session(owner)
        loan = st.lend_token(token, borrower=owner)
        lent.append(session.id)
        tell(owner=owner, session=session.id, secret=loan.secret)


if __name__ == "__main__":
    main()
