"""Another process on a store, asked line by line."""

from __future__ import annotations

import subprocess
import sys

OTHER_PROCESS = """
import sys
from session_tokens import SessionTokens, SessionTokensError
tokens = SessionTokens.open(sys.argv[1], pepper=bytes(range(32)), sweep=False)
print("ready", flush=True)
for line in sys.stdin:
    command, *words = line.split()
    try:
        if command == "verify":
            print(tokens.verify_session(words[0]) is not None, flush=True)
        elif command == "end":
            print(tokens.destroy_session(words[0]) is not None, flush=True)
        else:
            tokens.transfer_token(words[0], giver=words[1], receiver=words[2])
            print("transferred", flush=True)
    except SessionTokensError as error:
        print(type(error).__name__, flush=True)
tokens.close()
"""


class OtherProcess:
    """Another process on the same store, asked line by line."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", OTHER_PROCESS, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.answer() == "ready"

    def tell(self, *words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self, *words: str) -> str:
        self.tell(*words)
        return self.answer()

    def end(self) -> None:
        self._process.communicate(timeout=60)
