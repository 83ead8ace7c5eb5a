#!/bin/sh
# Prints the Python that shall make the environment: the one that is named as argument, else the first on this machine
# that can. Says what to install where there is none, and what is wrong with a named one before anything is installed.
# Each candidate is run, not only looked up: a version manager may leave names that lead nowhere.
look='import sys, venv, ensurepip, sqlite3
version = ".".join(str(part) for part in sys.version_info[:3])
print(version, sys.executable)
sys.exit(0 if sys.version_info >= (3, 14) else 10 if sys.version_info >= (3, 11) else 20)'
needs="session-tokens needs Python 3.11 or later with the modules venv, ensurepip and sqlite3."

take() {
    echo "${1#* }"
    exit 0
}

take_untested() {
    echo "Python ${1%% *} is newer than those that session-tokens is tested with (3.11 to 3.13); it is taken all the same." >&2
    take "$1"
}

if [ -n "${1:-}" ]; then
    found=$("$1" -c "$look" 2>/dev/null)
    case "$?${found:+ said}" in
        "0 said") take_untested "$found" ;;
        "10 said") take "$found" ;;
        "20 said") echo "$1 is Python ${found%% *}: $needs" >&2 ;;
        *)
            version=$("$1" -c 'import sys; print(".".join(map(str, sys.version_info[:3])))' 2>/dev/null)
            [ -n "$version" ] &&
                echo "$1 is Python $version and lacks one of these modules: $needs" >&2 ||
                echo "$1 cannot be run as a Python: $needs" >&2
            ;;
    esac
    exit 1
fi

untested="" seen=""
for candidate in python3 python3.13 python3.12 python3.11 python /usr/bin/python3; do
    found=$("$candidate" -c "$look" 2>/dev/null)
    case "$?${found:+ said}" in
        "0 said") untested=${untested:-$found} ;;
        "10 said") take "$found" ;;
        "20 said") seen="$seen $candidate is ${found%% *}," ;;
    esac
done
[ -z "$untested" ] || take_untested "$untested"
cat >&2 <<TEXT
No suitable Python was found${seen:+ (}${seen#" "}${seen:+ too old)}: $needs
On Debian or Ubuntu: apt-get install python3 python3-venv
Or name one yourself:  make PYTHON=/path/to/python3.12 setup
TEXT
exit 1
