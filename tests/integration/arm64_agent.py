"""The packaged arm64 agent on an emulated processor, with real arm64 builds of ONNX Runtime: joins a controller over TLS,
measures a network, computes what the amd64 agent computes; refuses, on the cores of a Raspberry Pi 4, the build that would
crash there. Cross-builds first: minutes. Function, not speed: the emulation is a hundred times slower.

Needs an amd64 machine with mmdebstrap, user namespaces with binfmt_misc (Linux 6.7), a Debian mirror and a package index;
exits with 77 (skipped) without them.
"""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(os.environ["FINCH_SOURCE"])
BIN = pathlib.Path(os.environ["FINCH_BIN"])
CROSS = SOURCE / "build/cross"
BOOKWORM, TRIXIE, QEMU = CROSS / "arm64/sysroot", CROSS / "trixie-arm64", CROSS / "qemu-aarch64-static"
WHEEL = SOURCE / "build/runtimes-arm64"
AGENT = SOURCE / "build/package-arm64/bin/finch-agent"
REFERENCE = SOURCE / "agent/reference_network.onnx"
PORT = "7436"
# Programs that the kernel is to give to the emulator, by the first bytes of a 64-bit Arm ELF file; F: opened now.
BINFMT = (r":finch-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
          r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:" + f"{QEMU}:F")
SKIPPED = 77


def skip(why):
    print("skipped:", why)
    sys.exit(SKIPPED)


def prepare():
    """What the emulated board needs, each once: the agent, an emulator, two runtimes."""
    if os.uname().machine != "x86_64":
        skip("not an amd64 machine")
    if not shutil.which("mmdebstrap"):
        skip("mmdebstrap is not installed")
    probe = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc"
    if subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", probe], capture_output=True).returncode != 0:
        skip("this kernel has no binfmt_misc in user namespaces")
    subprocess.run([SOURCE / "scripts/package", "arm64"], check=True)
    for folder, suite, architecture, packages, members in (
            (CROSS, "bookworm", "amd64", "qemu-user-static", ["./usr/bin/qemu-aarch64-static"]),
            (TRIXIE, "trixie", "arm64", "libonnxruntime1.21,libssl3t64,libseccomp2", ["./usr"])):
        if (QEMU if folder == CROSS else folder / "lib").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        strip = "--strip-components=3" if folder == CROSS else "--strip-components=0"
        fetch = subprocess.Popen(["mmdebstrap", "--quiet", "--variant=extract", f"--architectures={architecture}",
                                  f"--include={packages}", suite, "-"], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", folder, strip, *members], stdin=fetch.stdout, check=True)
        fetch.stdout.close()
        if fetch.wait() != 0:
            skip("no Debian mirror")
    if not (TRIXIE / "lib").exists():
        (TRIXIE / "lib").symlink_to("usr/lib")
    fetched = subprocess.run([SOURCE / "scripts/install-runtime", "onnxruntime", "--architecture", "arm64", "--prefix", WHEEL])
    if fetched.returncode != 0:
        skip("no package index")


def emulated(processor, root):
    # Nothing of this machine's own runtimes: the emulator falls back to its files.
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "QEMU_CPU": processor, "QEMU_LD_PREFIX": str(root)}


def run(*command, environment=None, status=0):
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == status, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def wait_for(what, condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(0.3)


def check_outputs(work):
    values = [(i * 7919 % 1000) / 1000 for i in range(3 * 32 * 32)]
    (work / "image").write_bytes(struct.pack(f"<{len(values)}f", *values))
    outputs = {}
    for name, agent, environment in (("amd64", BIN / "finch-agent", None), ("arm64", AGENT, emulated("cortex-a76", BOOKWORM)),
                                     ("arm64, Cortex-A72", AGENT, emulated("cortex-a72", BOOKWORM))):
        runtime = ["--onnxruntime", WHEEL / "onnxruntime"] if environment else []
        run(agent, "infer", REFERENCE, "--input", work / "image", "--output", work / name, "--shape", "1,3,32,32", *runtime,
            environment=environment)
        outputs[name] = struct.unpack("<10f", (work / name).read_bytes())
    for name, output in outputs.items():
        difference = max(abs(a - b) for a, b in zip(output, outputs["amd64"]))
        print(f"{name}: the logits differ from amd64's by {difference:.1e} at most")
        assert difference <= 1e-5, outputs


def check_refusal():
    said = run(AGENT, "runtimes", "--json", environment=emulated("cortex-a76", TRIXIE))
    debian = next(r for r in json.loads(said)["runtimes"] if r["name"] == "onnxruntime")
    assert debian["found"] and debian["version"].startswith("1.21"), said
    with tempfile.TemporaryDirectory() as state:
        said = run(AGENT, "check", "--state", state, environment=emulated("cortex-a72", TRIXIE), status=1)
    print("on a Cortex-A72 with Debian's build:", said.splitlines()[0])
    for words in ("failed   runtime", "crashes on this processor", "FP16", "--onnxruntime PATH"):
        assert words in said, said


def check_farm(work):
    environment = os.environ | {"FINCH_HOME": str(work / "home"), "FINCH_PROFILES": str(SOURCE / "profiles")}

    def finch(*arguments):
        return run(BIN / "finch", *arguments, environment=environment)

    def start(log, *command, environment):
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=(work / log).open("w"))

    processes = [start("serve.log", BIN / "finch", "serve", "--port", PORT, environment=environment)]
    try:
        wait_for("finch serve", lambda: "Serving" in (work / "serve.log").read_text())
        invited = subprocess.run([BIN / "finch", "devices", "invite", "board", "--host", "127.0.0.1"], env=environment, check=True,
                                 capture_output=True, text=True).stdout.split()
        processes.append(start("agent.log", AGENT, *invited[1:], "--state", work / "state", "--onnxruntime", WHEEL / "onnxruntime",
                               environment=emulated("cortex-a76", BOOKWORM)))
        wait_for("the board", lambda: json.loads(finch("devices", "--json"))[0]["state"] == "connected")
        device = json.loads(finch("devices", "--json"))[0]
        assert device["runtimes"] == ["onnxruntime 1.22.1"] and "latency" in device["measures"], device
        bench = subprocess.run([BIN / "finch", "bench", REFERENCE, "--device", "board", "--tier", "quick", "--json"], env=environment,
                               capture_output=True, text=True)
        assert bench.returncode == 0, bench.stderr
        measured = json.loads(bench.stdout)
        print("measured on the emulated board:", json.dumps(measured)[:300])
        assert '"median"' in bench.stdout and '"onnxruntime' in bench.stdout, bench.stdout
    except BaseException:
        for log in sorted(work.glob("*.log")):
            print(f"== {log.name}", log.read_text()[-2000:], sep="\n")
        raise
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)


def main():
    if len(sys.argv) == 1:
        prepare()
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--mount", "--net", sys.executable, __file__, "inside"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc"], check=True)
    pathlib.Path("/proc/sys/fs/binfmt_misc/register").write_text(BINFMT)
    with tempfile.TemporaryDirectory() as folder:
        check_outputs(pathlib.Path(folder))
        check_refusal()
        check_farm(pathlib.Path(folder))
    print("arm64_agent: good")


main()
