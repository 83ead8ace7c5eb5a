#!/bin/sh
# Prints the first Python on this machine that can make the environment, or says what to install.
# Each candidate is run, not only looked up: a version manager may leave names that lead nowhere.
suitable='import sys, venv, ensurepip, sqlite3; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
for candidate in python3 python3.13 python3.12 python3.11 python /usr/bin/python3; do
    if "$candidate" -c "$suitable" >/dev/null 2>&1; then
        "$candidate" -c 'import sys; print(sys.executable)'
        exit 0
    fi
done
cat >&2 <<'TEXT'
No suitable Python was found: session-tokens needs Python 3.11, 3.12 or 3.13 with the modules venv, ensurepip and sqlite3.
On Debian or Ubuntu: apt-get install python3 python3-venv
Or name one yourself:  make PYTHON=/path/to/python3.12 setup
TEXT
exit 1
