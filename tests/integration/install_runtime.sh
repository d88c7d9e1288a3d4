#!/usr/bin/env bash
# scripts/install-runtime with the real wheels: what is there is left, another architecture's files are what they should
# be, and what cannot be done is explained.
set -euo pipefail
script=$FINCH_SOURCE/scripts/install-runtime
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "install_runtime: $1" >&2; exit 1; }
refused() { # WORDS ARGUMENTS…
  local words=$1 status=0; shift
  "$script" "$@" 2>"$folder/err" || status=$?
  [ $status -eq 2 ] || fail "'$*' ended with $status, not 2"
  grep -q "$words" "$folder/err" || fail "'$*' says: $(cat "$folder/err")"
}
refused "name a runtime"
refused "unknown argument 'tensorrt'" tensorrt
refused "unknown architecture 'mips'" litert --architecture mips
refused "needs a folder" litert --prefix

if PIP_NO_INDEX=1 PIP_FIND_LINKS="$folder" "$script" litert --prefix "$folder/none" 2>"$folder/err"; then
  fail "without an index it should fail"
fi
grep -q "PIP_INDEX_URL" "$folder/err" || fail "without an index it says: $(cat "$folder/err")"
[ -z "$(ls -A "$folder/none")" ] || fail "a failure leaves something behind"

if ! "$script" litert --prefix "$folder/arm" --architecture arm64 2>"$folder/err"; then
  cat "$folder/err" >&2
  echo "install_runtime: skipped, the package index cannot be reached" >&2
  exit 77
fi
python3 - "$folder/arm/litert/libLiteRt.so" <<'CHECK'
import sys
head = open(sys.argv[1], "rb").read(20)
assert head[:4] == b"\x7fELF" and head[18] == 0xB7, "not for arm64"
CHECK
grep -q "^2\." "$folder/arm/litert/VERSION" || fail "no version beside the library"
# Again, with no index at all: it is there.
PIP_NO_INDEX=1 "$script" litert --prefix "$folder/arm" --architecture arm64 2>"$folder/err" || fail "it is not left as it is"
[ ! -s "$folder/err" ] || fail "it says: $(cat "$folder/err")"
# A library that went missing is fetched again.
rm "$folder/arm/litert/libLiteRt.so"
"$script" litert --prefix "$folder/arm" --architecture arm64 2>/dev/null
[ -s "$folder/arm/litert/libLiteRt.so" ] || fail "it is not fetched again"
