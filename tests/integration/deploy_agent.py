"""scripts/deploy-agent onto a Debian 12 that boots its own systemd, sshd, sudo and dpkg in a container with a network of
its own: deploy_agent.py. Then: a measurement under the service's sandbox, a killed and a hung agent, an update, removal.

Needs root, mmdebstrap, ssh and a Debian mirror, and takes some minutes; exits with 77 (skipped) without them.
"""
import json
import os
import pathlib
import pty
import shutil
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(os.environ["FINCH_SOURCE"])
FINCH = os.environ["FINCH_BIN"] + "/finch"
HERE = pathlib.Path(__file__).parent
CONTROLLER, BOARD, PORT = "10.78.0.1", "10.78.0.2", "7434"
STATE = "/var/lib/finch-agent"
SKIPPED = 77


def shell(*command, **options):
    return subprocess.run(command, check=True, text=True, **options)


def wait_for(what, condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(0.3)


def make_board(work):
    """A Debian 12 with the user pi, who may log in with work/key and use sudo."""
    root = work / "board"
    packages = "systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,ca-certificates,libssl3,libseccomp2"
    if subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", "bookworm", root]).returncode != 0:
        skip("no Debian mirror")
    (root / "etc/hostname").write_text("board\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost board\n")
    shell("chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", "pi")
    (root / "etc/sudoers.d/pi").write_text("pi ALL=(ALL) NOPASSWD: ALL\n")
    shell("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / "key")
    (root / "home/pi/.ssh").mkdir()
    shutil.copy(work / "key.pub", root / "home/pi/.ssh/authorized_keys")
    shell("chroot", root, "chown", "-R", "pi:pi", "/home/pi/.ssh")
    host_key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    (work / "known_hosts").write_text(f"{BOARD} {host_key}")
    (work / "ssh_config").write_text(f"Host board\n  HostName {BOARD}\n  IdentityFile {work}/key\n  IdentitiesOnly yes\n"
                                     f"  UserKnownHostsFile {work}/known_hosts\n  StrictHostKeyChecking yes\n")


class Board:
    """A booted container, with a shell as root in it and one as a user over ssh."""

    def __init__(self, work):
        self.work, self.root, self.ssh_config = work, work / "board", work / "ssh_config"

    def boot(self):
        unshare = ["unshare", "--net", "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--fork", "--kill-child"]
        self.process = subprocess.Popen([*unshare, HERE / "board_container.sh", self.root], stdin=subprocess.DEVNULL,
                                        stdout=(self.work / "boot.log").open("w"), stderr=subprocess.STDOUT)
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        wait_for("the container's first process", lambda: children.read_text().strip())
        self.init = children.read_text().split()[0]
        wait_for("systemd", lambda: pathlib.Path(f"/proc/{self.init}/comm").read_text() == "systemd\n")
        network = f"--net=/proc/{self.init}/ns/net"
        shell("ip", "link", "add", "name", "finch0", "type", "veth", "peer", "name", "board0", "netns", self.init)
        shell("ip", "address", "add", f"{CONTROLLER}/24", "dev", "finch0")
        shell("ip", "link", "set", "finch0", "up")
        for command in (["address", "add", f"{BOARD}/24", "dev", "board0"], ["link", "set", "board0", "up"], ["link", "set", "lo", "up"]):
            shell("nsenter", network, "ip", *command)
        wait_for("sshd", lambda: self.over_ssh("true").returncode == 0)

    def run(self, command, check=True):
        done = subprocess.run(["nsenter", "-t", self.init, "-a", "--root", "bash", "-c", "cd /; " + command], capture_output=True, text=True)
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def over_ssh(self, command):
        return subprocess.run(["ssh", "-F", self.ssh_config, "pi@board", command], capture_output=True, text=True)

    def service(self, key):
        return self.run(f"systemctl show finch-agent --value -p {key}")

    def end(self):
        if hasattr(self, "process"):
            self.process.kill()
            self.process.wait()


def skip(why):
    print("skipped:", why)
    sys.exit(SKIPPED)


def check(work, board, package):
    environment = os.environ | {"FINCH_HOME": str(work / "home"), "FINCH_PROFILES": str(SOURCE / "profiles")}

    def finch(*arguments):
        return shell(FINCH, *arguments, env=environment, capture_output=True).stdout

    def connected():
        return [d["name"] for d in json.loads(finch("devices", "--json")) if d["state"] == "connected"]

    def deploy(*arguments, stdin=subprocess.DEVNULL):
        return subprocess.run([SOURCE / "scripts/deploy-agent", "pi@board", "--ssh-config", board.ssh_config, "--package", package,
                               *arguments], env=environment, capture_output=True, text=True, stdin=stdin)

    # By itself the package starts nothing.
    shutil.copy(package, board.root / "root/agent.deb")
    told = board.run("dpkg -i /root/agent.deb")
    assert "has not joined" in told, told
    board.run("systemctl start finch-agent")
    assert board.service("ActiveState") == "inactive", "an agent that has not joined was started"
    assert board.run("systemctl is-enabled finch-agent") == "enabled"
    assert board.run(f"stat -c '%U %a' {STATE}") == "finch-agent 700"
    problems = board.run("systemd-analyze verify --man=no finch-agent.service 2>&1")
    assert "finch-agent" not in problems, problems
    security = board.run("systemd-analyze security finch-agent.service --no-pager | tail -n 1")
    print("systemd-analyze security:", security)
    assert float(security.split(": ")[1].split()[0]) < 3.0, security

    refused = deploy("--name", "shelf")
    assert refused.returncode != 0 and "finch serve" in refused.stderr, f"without a farm: {refused.stderr}"
    with (work / "serve.log").open("w") as log:
        server = subprocess.Popen([FINCH, "serve", "--port", PORT], env=environment, stdout=log, stderr=log)
    try:
        wait_for("finch serve", lambda: "Serving" in (work / "serve.log").read_text())
        done = deploy("--name", "shelf")
        print(done.stderr, done.stdout)
        assert done.returncode == 0, "the deployment failed"
        assert "shelf" in connected()
        assert board.service("ActiveState") == "active"
        agent = board.service("MainPID")
        assert board.run(f"ps -o user= -p {agent}", check=False) in ("finch-agent", "finch-a+") or \
            board.run(f"stat -c %U /proc/{agent}") == "finch-agent"
        status = board.run(f"cat /proc/{agent}/status")
        assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status and "CapEff:\t0000000000000000" in status, status
        assert board.service("StatusText").endswith("connected; the controller is Finch 0.1.0"), board.service("StatusText")

        # The measuring process with its own sandbox, inside the service's.
        record = json.loads(finch("bench", str(SOURCE / "agent/reference_network.onnx"), "--device", "shelf", "--tier", "quick", "--json"))
        print("measured:", json.dumps(record)[:400])
        assert "median" in json.dumps(record), record
        # The service's filter of system calls lets it restrict itself further, where the kernel can.
        warnings = board.run("journalctl -u finch-agent --no-pager -o cat")
        assert "no temperature sensor" in warnings or "cannot measure" in warnings, warnings
        if "sandbox: a measuring process can" in shell(FINCH + "-agent", "check", "--state", work / "home", stdout=subprocess.PIPE).stdout:
            assert "no Landlock" not in warnings, warnings

        # Killed, it comes back at once; hung, the watchdog ends it.
        board.run("mkdir -p /run/systemd/system/finch-agent.service.d")
        board.run("printf '[Service]\\nRestartSec=1s\\nWatchdogSec=4s\\n' >/run/systemd/system/finch-agent.service.d/quick.conf")
        board.run("systemctl daemon-reload && systemctl restart finch-agent")
        for signal in ("KILL", "STOP"):
            before = int(board.service("NRestarts"))
            board.run(f"systemctl kill --kill-whom=main --signal={signal} finch-agent")
            wait_for(f"a new start after SIG{signal}", lambda: int(board.service("NRestarts")) > before)
            wait_for("the agent", lambda: "connected" in board.service("StatusText") and board.service("ActiveState") == "active")
        assert "Watchdog timeout" in board.run("journalctl -u finch-agent --no-pager"), "the watchdog did not end it"
        before = board.service("NRestarts")
        time.sleep(10)  # twice the watchdog's patience: it is content with what the agent says
        assert board.service("NRestarts") == before, "the watchdog ends a healthy agent"

        # Now sudo wants a password, which is typed on a terminal.
        board.run("echo pi:secret | chpasswd && echo 'pi ALL=(ALL) ALL' >/etc/sudoers.d/pi")
        refused = deploy()
        assert refused.returncode == 1 and "asks for a password" in refused.stderr, refused.stderr
        keyboard, terminal = pty.openpty()
        os.write(keyboard, b"secret\n")
        again = deploy("--name", "other", stdin=terminal)
        assert again.returncode == 0 and "joined before as shelf" in again.stderr, again.stderr
        assert "shelf" in connected()
        board.run("apt-get remove -y finch-agent")
        assert board.run("systemctl is-active finch-agent", check=False) == "inactive"
        assert board.run(f"test -f {STATE}/cert.pem && echo kept") == "kept", "removal keeps the identity"
        board.run("dpkg -i /root/agent.deb")
        wait_for("the agent after a new installation", lambda: board.service("ActiveState") == "active")
        board.run("apt-get purge -y finch-agent")
        assert board.run(f"test -e {STATE} || echo gone") == "gone", "purging leaves the identity"
    finally:
        server.terminate()
        server.wait(20)


def main():
    if os.geteuid() != 0:
        skip("not root")
    for program in ("mmdebstrap", "ssh", "unshare", "ip"):
        if not shutil.which(program):
            skip(f"{program} is not installed")
    if len(sys.argv) == 1:
        # With the network that the test's own will not have.
        package = shell(SOURCE / "scripts/package", "amd64", stdout=subprocess.PIPE).stdout.strip()
        shell(SOURCE / "scripts/install-runtime", "onnxruntime", "--architecture", "amd64", "--prefix", SOURCE / "build/runtimes-amd64")
        with tempfile.TemporaryDirectory() as folder:
            make_board(pathlib.Path(folder))
            sys.exit(subprocess.run(["unshare", "--net", sys.executable, __file__, folder, package]).returncode)
    work = pathlib.Path(sys.argv[1])
    shell("ip", "link", "set", "lo", "up")
    board = Board(work)
    try:
        board.boot()
        check(work, board, sys.argv[2])
    except BaseException:
        for log in sorted(work.glob("*.log")):
            print(f"== {log.name}", *log.read_text().splitlines()[-15:], sep="\n")
        if hasattr(board, "init"):
            print(board.run("journalctl -n 40 --no-pager -o cat", check=False))
        raise
    finally:
        board.end()
    print("deploy_agent: good")


main()
