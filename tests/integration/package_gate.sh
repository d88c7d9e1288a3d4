#!/usr/bin/env bash
# The gate of scripts/package: this machine's own build needs a newer glibc and more libraries than a board has.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "package_gate: $1" >&2; exit 1; }
say() { printf '%s\n' "$*" >&2; }
# shellcheck source=/dev/null
source <(sed -n '/^check_needs()/,/^}/p' "$FINCH_SOURCE/scripts/package")

newest=$(readelf --version-info --wide "$FINCH_BIN/finch-agent" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
newest_glibc=2.17
if check_needs "$FINCH_BIN/finch-agent" readelf 2>"$folder/err"; then fail "glibc $newest passes for 2.17"; fi
grep -q "needs glibc $newest; the boards have 2.17" "$folder/err" || fail "it says: $(cat "$folder/err")"
grep -q "@GLIBC_$newest" "$folder/err" || fail "it names no symbol: $(cat "$folder/err")"
newest_glibc=$newest
if check_needs "$FINCH_BIN/finch-agent" readelf 2>"$folder/err"; then fail "libstdc++ and Protobuf as libraries pass"; fi
grep -q "libprotobuf" "$folder/err" || fail "it says: $(cat "$folder/err")"

for arguments in "mips" "amd64 riscv"; do
  status=0
  # shellcheck disable=SC2086
  "$FINCH_SOURCE/scripts/package" $arguments 2>"$folder/err" || status=$?
  [ $status -eq 2 ] || fail "scripts/package $arguments ended with $status, not 2"
done
for arguments in "" "--name" "--bogus x" "one two" "board --package /nowhere"; do
  status=0
  # shellcheck disable=SC2086
  "$FINCH_SOURCE/scripts/deploy-agent" $arguments 2>"$folder/err" || status=$?
  [ $status -eq 2 ] || fail "scripts/deploy-agent $arguments ended with $status, not 2"
done
echo "package_gate: good"
