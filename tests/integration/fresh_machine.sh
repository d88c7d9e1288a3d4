#!/usr/bin/env bash
# The README's first command on a Debian that holds nothing but its base system: fresh_machine.sh bookworm|trixie
# On trixie as root, on bookworm as a user with sudo. Takes about 20 minutes. Needs root, mmdebstrap and a network;
# exits with 77 (skipped) without them.
set -euo pipefail
suite=$1
source=${FINCH_SOURCE:-$(cd "$(dirname "$0")/../.." && pwd)}
[ "$(id -u)" = 0 ] || { echo "skipped: not root"; exit 77; }
command -v mmdebstrap >/dev/null || { echo "skipped: mmdebstrap is not installed"; exit 77; }

root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
fail() { echo "FAILED: $1" >&2; exit 1; }
mmdebstrap --quiet --variant=minbase --include=ca-certificates,git,sudo "$suite" "$root" >&2 || { echo "skipped: no Debian mirror"; exit 77; }

user=root home=/root
if [ "$suite" = bookworm ]; then
  user=somebody home=/home/somebody
  chroot "$root" useradd --create-home "$user"
  echo "$user ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$user"
fi
git -c safe.directory='*' clone --quiet "$source" "$root$home/finch"
chroot "$root" chown -R "$user" "$home/finch"

inside() { # COMMAND: as the user, in the clone, in namespaces of its own
  unshare --mount --pid --fork --kill-child bash -c '
    mount --bind "$1" "$1"
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    mount --rbind /sys "$1/sys"
    cat /etc/resolv.conf >"$1/etc/resolv.conf"
    exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$3" LANG=C.UTF-8 \
      chroot --userspec="$2" "$1" bash -c "cd $3/finch && $4"' _ "$root" "$user" "$home" "$1"
}

cp "$root/etc/os-release" "$root/os-release"
rm "$root/etc/os-release"
printf 'ID=fedora\nPRETTY_NAME="Fedora Linux 44"\n' >"$root/etc/os-release"
code=0
inside "scripts/finch doctor" >"$root/refused" 2>&1 || code=$?
[ $code = 2 ] || fail "another distribution gives exit code $code instead of 2"
grep -q "this is Fedora Linux 44" "$root/refused" || fail "another distribution is not named: $(cat "$root/refused")"
mv "$root/os-release" "$root/etc/os-release"

began=$(date +%s)
inside "scripts/finch run examples/quickstart.toml --output run" >"$root/out" 2>"$root/log" || fail "the quickstart: $(tail -n 30 "$root/log")"
grep -vE '^\[ ' "$root/log"
echo "the quickstart ended $(($(date +%s) - began)) s after its command"
cat "$root/out"
models=$(python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["models"]))' "$root$home/finch/run/front.json")
[ "$models" -ge 5 ] || fail "$models models on the front"
for word in Download: Disk: Time:; do grep -q "$word" "$root/log" || fail "it does not say before the download: $word"; done

# The packages of Debian 13 may have made a Debian 12 call itself trixie: what the tests need must still be found.
inside "scripts/setup test" >"$root/log" 2>&1 || fail "scripts/setup test: $(cat "$root/log")"
inside "scripts/setup test" >"$root/log" 2>&1 || fail "scripts/setup test, again: $(cat "$root/log")"
[ ! -s "$root/log" ] || fail "scripts/setup test has something left to do: $(cat "$root/log")"

began=$(date +%s)
inside "scripts/finch doctor" >"$root/out" || fail "finch doctor: $(cat "$root/out")"
echo "with nothing left to set up: $(($(date +%s) - began)) s"
echo "fresh_machine $suite: good"
