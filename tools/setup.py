#!/usr/bin/env python3
"""Set up this clone: python3 tools/setup.py (or: make setup).

This file only finds a Python that fits and hands over to parts.py. Its own syntax is that of Python 3.6, to tell
an old `python3` what is wrong instead of failing at an unknown word.
"""

import os
import shutil
import subprocess
import sys

FITTING = ((3, 11), (3, 12))
NAMES = ("python3.11", "python3.12", "python3", "python")
#: A virtual environment can only be made where ensurepip is: some distributions package it apart.
QUESTION = "import sys; print('%d.%d' % sys.version_info[:2]); import ensurepip, venv"


def find_python() -> "tuple[str, list[str]]":
    """Return the path of a fitting Python ("" if there is none) and what was wrong with each other one."""
    # In a virtual environment, the Python that it was made from: this one may be replaced in a moment.
    own = str(getattr(sys, "_base_executable", "") or sys.executable)
    tried = set()  # type: set[str]
    faults = []  # type: list[str]
    for candidate in [own] + [found for found in map(shutil.which, NAMES) if found]:
        if candidate in tried:
            continue
        tried.add(candidate)
        fault = what_is_wrong(candidate)
        if not fault:
            return candidate, faults
        faults.append("%s %s" % (candidate, fault))
    return "", faults


def what_is_wrong(python: str) -> str:
    """Return why this Python cannot be used; "" if it can."""
    process = subprocess.Popen([python, "-c", QUESTION], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    version = process.communicate()[0].decode("ascii", "replace").strip()
    if version not in ["%d.%d" % numbers for numbers in FITTING]:
        return ("is Python " + version) if version else "does not run"
    if process.returncode:
        return "is Python %s without `ensurepip`: install its venv package (Debian: python%s-venv)" % (
            version,
            version,
        )
    return ""


def main() -> int:
    """Hand over to parts.py under a fitting Python; return 1 if there is none."""
    python, faults = find_python()
    if python:
        parts = os.path.join(os.path.dirname(os.path.abspath(__file__)), "parts.py")
        os.execv(python, [python, parts] + sys.argv[1:])
    sys.stderr.write(
        "error[python-missing]: No Python 3.11 or 3.12 was found\n"
        "The locked dependencies are tested with these two. Looked at:\n"
        + "".join("    %s\n" % fault for fault in faults)
        + "hint: install one of them, and if it is not on PATH name it:\n"
        "    make setup PYTHON=/path/to/python3.12\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
