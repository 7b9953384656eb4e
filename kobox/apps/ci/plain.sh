#!/bin/sh
# Builds, loads and checks this module on several kernels, without root. Written by `kobox ci init plain`.
#
#   ./kobox-ci.sh             exit status 0: it builds, loads and is clean on each kernel
#
# Results: kobox-ci/summary.md, junit.xml, and for each kernel SARIF, lcov and what was printed.
set -u
cd "$(dirname "$0")" || exit 1
command -v kobox >/dev/null || { echo "kobox is missing: pip install kobox" >&2; exit 1; }
exec kobox ci run @SOURCE@ @KERNELS_OPTIONS@ -o kobox-ci @OPTIONS@
