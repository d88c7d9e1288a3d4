#!/usr/bin/env bash
# scripts/install-libtorch with the real wheels, in a clone of its own: the trainer is built with LibTorch for CUDA, still
# learns, and goes back to the system's LibTorch.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "install_libtorch: $1" >&2; exit 1; }
git clone -q "$FINCH_SOURCE" "$folder/finch"
cd "$folder/finch"
for arguments in "" "rocm" "cuda --prefix"; do
  status=0
  # shellcheck disable=SC2086
  scripts/install-libtorch $arguments 2>/dev/null || status=$?
  [ $status -eq 2 ] || fail "'$arguments' ended with $status, not 2"
done
if PIP_NO_INDEX=1 scripts/install-libtorch cuda --prefix "$folder/none" 2>"$folder/err"; then
  fail "without an index it should fail"
fi
grep -q "PIP_INDEX_URL" "$folder/err" || fail "without an index it says: $(cat "$folder/err")"
[ ! -e "$folder/none" ] || fail "a failure leaves something behind"

if ! scripts/install-libtorch cuda --prefix "$folder/libtorch" 2>"$folder/err"; then
  cat "$folder/err" >&2
  grep -q "could not be fetched" "$folder/err" || fail "see above"
  echo "install_libtorch: skipped, the package index cannot be reached" >&2
  exit 77
fi
trainer=build/release/bin/finch-trainer
readelf -d $trainer | grep -q libtorch_cuda.so || fail "the trainer is not linked with CUDA's LibTorch"
$trainer devices | grep -qx cpu || fail "the trainer does not run"
if nvidia-smi >/dev/null 2>&1; then $trainer devices | grep -qx cuda:0 || fail "the trainer cannot use the GPU"; fi
# Quick where nothing is left to do, also without an index.
PIP_NO_INDEX=1 scripts/install-libtorch cuda --prefix "$folder/libtorch" 2>"$folder/err" || fail "it is not left as it is"

# A campaign with it, on whatever device there is.
scripts/setup test
scripts/build finch finch-agent finch-trainer
FINCH_BIN=$PWD/build/release/bin FINCH_SOURCE=$PWD tests/integration/campaign_end_to_end.sh

scripts/install-libtorch cpu
readelf -d $trainer | grep -q libtorch_cuda.so && fail "the way back leads nowhere"
$trainer devices | grep -qx cpu || fail "the trainer does not run any more"
echo "install_libtorch: good"
