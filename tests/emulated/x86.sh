#!/usr/bin/env bash
# Runs a program on an emulated x86-64 processor: x86.sh PROCESSOR PROGRAM [ARG...]; `qemu-x86_64-static -cpu help` has their names.
set -euo pipefail
# On every start the emulator says what it leaves out of a processor. The rest of what comes that way is the program's.
exec qemu-x86_64-static -cpu "$@" 2> >(grep -v "TCG doesn't support requested feature" >&2)
