#!/usr/bin/env python3
"""Runs every command of docs/profiling.md on a program whose hot spots are known.

A fence of the page is `sh` (each command is run), `sh not-run` (the sentence before it says why,
after "Not run by the test:"), `python` (executed) or `text`. For each command CASES says what its output
or its files must name. A command without a case fails, as does a case without a command. What this
machine lacks is said, loudly, and counted. The commands of the rules' `next_step` that have a case
are run as well.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import glob
import gzip
import http.server
import os
import platform
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs/profiling.md"
CAPTURE = ROOT / "tests/data/django_fk_ok.jsonl.gz"
REASON = re.compile(r"Not run by the test: (.+?)[.:]?$", re.DOTALL)
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS_MAX = 120  # for one command, on a machine that does other things, too


@dataclasses.dataclass
class Case:
    """One kind of command: how it is run, and what must be found afterwards."""

    command: str  # a regular expression, matched from the start
    names: tuple = ()  # each is found in the output or in one of the files
    files: str = ""  # a pattern; at least one is there afterwards
    how: str = "ends"  # or "screen": until a key, "serves": until it has answered
    needs: tuple = ()  # probes, see below
    absent: str = ""  # is not found
    page: bool = True  # false: only a rule says it


CASES = [
    Case(r"py-spy dump --pid PID( \| .*)?$", (r"Thread \d+",)),
    Case(r"for i in 1 2 3; do py-spy dump", ("hot_loop", "blocking_wait"), page=False),
    Case(r"py-spy dump --subprocesses", ("blocking_wait",), page=False),
    Case(r"py-spy top", ("GIL: ", "hot_loop"), how="screen"),
    Case(r"py-spy record --format speedscope", ("hot_loop",), "*.json"),
    Case(r"py-spy record --native", ("hot_loop", "deflate|compress"), "*.svg"),
    Case(r"py-spy record --gil", ("hot_loop",), "*.svg", absent="deflate"),
    Case(r"py-spy record --idle --threads", ("blocking_wait", "wait_until"), "*.svg"),
    Case(r"py-spy record --idle", ("block_the_loop", "blocking_wait"), "*.svg"),
    Case(r"py-spy record (--subprocesses )?-o \S+ .*(PID|APP)", ("hot_loop",), "*.svg"),
    Case(r"pyinstrument -m APP", ("hot_loop", "serve_one", "Duration")),
    Case(r"PYTHONASYNCIODEBUG=1 python -m APP", (r"Executing <Task .*serve_until.* took \d+\.\d+ seconds",)),
    Case(r"top -b -H -n 1 -p PID", ("TIME",)),
    Case(r"kill -USR2 PID"),
    Case(r"perf trace -s -p PID", ("futex", "syscall"), needs=("perf",)),
    Case(r"(sudo )?offcputime-bpfcc", ("python",), "waits.folded", needs=("bcc",)),
    Case(r"memray run (-f )?-o app.bin -m APP", files="app.bin"),
    Case(r"memray summary", ("grow at",)),
    Case(r"memray flamegraph( -f)? app.bin", ("grow",), "memray-flamegraph-app.html"),
    Case(r"PYTHONMALLOC=malloc memray run", files="leak.bin"),
    Case(r"memray flamegraph --leaks leak.bin", ("grow",), "memray-flamegraph-leak.html"),
    Case(r"memray run --follow-fork -o workers.bin -m gunicorn", files="workers.bin.[0-9]*", how="serves"),
    Case(r"memray attach", files="live.bin", needs=("gdb",)),
    Case(r"python -m memory_profiler script.py", ("build_report", r"2\d\.\d+ MiB .*bytearray")),
    Case(r"mprof run", files="mem.dat"),
    Case(r"mprof peak", (r"\d+\.\d+ MiB",)),
    Case(r"python -X importtime", (r"\| +shop\b",)),
    Case(r"kernprof -lv script.py", ("Function: build_report", "hot_loop")),
    Case(r"LINE_PROFILER_CORE=legacy LINE_PROFILE=1", ("Function: hot_loop",), "profile_output.txt"),
    Case(r"perf record .* python -X perf -m APP", files="perf.data", needs=("perf", "python 3.12")),
    Case(r"perf record .* python -X perf_jit -m APP", files="jit.data", needs=("perf", "python 3.13")),
    Case(r"perf inject", files="named.data", needs=("perf", "python 3.13")),
    Case(r"perf report --stdio -i named.data", ("py::hot_loop",), needs=("perf", "python 3.13")),
    Case(r"perf report --stdio -i perf.data", ("py::hot_loop",), needs=("perf", "python 3.12", "frame pointers")),
    Case(r"perf record -F 99 -g -o pid.data -p PID", files="pid.data", needs=("perf",)),
    Case(r"perf report --stdio -i pid.data", ("_PyEval_EvalFrameDefault|python",), needs=("perf",)),
    Case(r"perf top", ("Samples|PerfTop",), how="screen", needs=("perf",)),
    Case(r"PYTHONPERFSUPPORT=1 gunicorn", how="serves", needs=("python 3.12",)),
    Case(r"(sudo )?bpftrace", (r"@\[",), needs=("bpftrace",)),
    Case(r"python -m cProfile -o app.prof", files="app.prof"),
    Case(r"printf .* python -m pstats", (r"tottime[^\n]*\n +\d+ +\S+ +\S+ +\S+ +\S+ +__init__.py:\d+\(hot_loop\)",)),
    Case(r"snakeviz", ("hot_loop",), how="serves"),
    Case(r"ps -o pid,ppid", ("gunicorn",)),
    Case(r"timesink (sql|analyze)", needs=("timesink",)),
    Case(r"python -m timeit", (r"loops?, best of 5",)),
    Case(r"python -m pyperf timeit", ("Mean",), "*.json"),
    Case(r"python -m pyperf compare_to", ("Benchmark|before",)),
    Case(r"python tests/profiling/costs.py", (r"cProfile +\d",)),
    Case(r"curl -s -o /dev/null -w ", (r"\d",), page=False),
    Case(r'python -c "import gc', ("elapsed",), page=False),
    Case(r'python -c "import APP, objgraph', (r"function +\d+",), page=False),
]

# Python of the page: what it finds already there, what asks it afterwards, and what must be printed.
BLOCKS = {
    "profile_request": (
        "import shop\nfrom fastapi import FastAPI\n\napp = FastAPI()\nPROFILING = True\n",
        "\n@app.get('/')\nasync def root():\n    shop.hot_loop(3_000_000)\n"
        "\nimport warnings; warnings.simplefilter('ignore')\n"
        "from fastapi.testclient import TestClient\nprint(TestClient(app).get('/?profile').text)\n",
        ("hot_loop",),
    ),
    "tracemalloc.start": (
        "from shop import serve_some_requests\n",
        "",
        (r"shop/__init__\.py:\d+: size=[\d.]+ [KM]iB \(\+[\d.]+ [KM]iB\)", r"Order +\d+ +\+100"),
    ),
    "yappi.set_clock_type": (
        "import asyncio\nimport shop\n\nasync def fetch():\n    await asyncio.sleep(0.2)\n\n"
        "async def serve():\n    shop.hot_loop()\n    await fetch()\n    await fetch()\n",
        "",
        (r"fetch +2 +\S+ +0\.[4-9]", r"hot_loop +1 "),
    ),
    "pyroscope.configure": (
        "",
        "\nimport shop, time\nend = time.monotonic() + 15\n"
        "while time.monotonic() < end:\n    shop.hot_loop()\n",
        ("PUSHED hot_loop",),
    ),
}


@functools.cache
def probe(name):
    """Returns why this machine cannot, or an empty text."""

    def tried(command):
        done = subprocess.run(command, shell=True, text=True, capture_output=True, timeout=30)
        return "" if done.returncode == 0 else (done.stderr.strip() or "it fails").splitlines()[-1]

    if name.startswith("python 3."):
        version = output("python", "-c", "import sys; print(sys.version_info[1])")
        return "" if int(name.split(".")[1]) <= int(version) else f"Python is 3.{version.strip()}"
    if name == "frame pointers":
        flags = output("python", "-m", "sysconfig")
        return "" if "no-omit-frame-pointer" in flags else "this Python is built without frame pointers"
    if name == "perf":
        paranoid = Path("/proc/sys/kernel/perf_event_paranoid")
        level = paranoid.read_text().strip() if paranoid.exists() else "unknown"
        error = tried("perf record -o /dev/null -- true") if shutil.which("perf") else "perf is not installed"
        return error and f"{error} (perf_event_paranoid is {level})"
    if name == "bpftrace":
        return tried("bpftrace -e 'BEGIN { exit(); }'") if shutil.which(name) else f"{name} is not installed"
    if name == "bcc":
        headers = Path(f"/lib/modules/{platform.release()}/build")
        if not shutil.which("offcputime-bpfcc"):
            return "bpfcc-tools is not installed"
        return "" if headers.exists() else f"bcc lacks the kernel headers {headers}"
    if name == "gdb":
        if not shutil.which("gdb"):
            return "gdb is not installed"
        sleeper = subprocess.Popen(["sleep", "30"], stderr=subprocess.DEVNULL)
        done = subprocess.run(
            ["gdb", "-batch", "-p", str(sleeper.pid), "-ex", "print ((int (*)(void)) getpid)()"],
            text=True, capture_output=True, timeout=30, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        sleeper.kill()
        sleeper.wait()
        error = re.search(r"Couldn't write .*", done.stdout + done.stderr)
        return f"gdb cannot call into a process here: {error[0]}" if error else ""
    if name == "timesink":
        return "" if shutil.which("timesink") else "no timesink: set TIMESINK to the binary"
    return "" if shutil.which(name) else f"{name} is not installed"


def output(*command):
    return subprocess.run(command, text=True, capture_output=True, check=True, timeout=30).stdout


def commands(block):
    """Splits a block into commands: a line each, or more while a quote is open."""
    kept = ""
    for line in block.splitlines():
        kept = f"{kept}\n{line}" if kept else line
        try:
            shlex.split(kept, comments=True)
        except ValueError:
            continue
        if shlex.split(kept, comments=True):
            yield kept.strip()
        kept = ""
    if kept:
        raise SystemExit(f"a quote stays open in: {kept}")


def bare(command):
    return re.sub(r"\s+", " ", re.sub(r" {2,}# .*|^# .*", "", command)).strip()


def case_of(command):
    return next((case for case in CASES if re.match(case.command, bare(command))), None)


class Place:
    """A folder with the program, where the commands of one block run, and what they run against."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="profiling-"))
        self.started = []
        self.pid = None
        self.port = None
        shutil.copytree(HERE / "shop", self.folder / "shop", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "script.py", self.folder)
        self.env = os.environ | {
            "BROWSER": "true",
            "COLUMNS": "200",
            "HOME": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SHOP_SECONDS": "2",
            "TERM": "xterm",
            "TRIES": "1",
            "PORTION": "0.1",
        }
        self.env.pop("PYTHONPATH", None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.started:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def program(self):
        """Returns the PID of the program, which is started when first asked for."""
        if self.pid is None or self.started_program.poll() is not None:
            self.started_program = subprocess.Popen(
                ["python", "-m", "shop"], cwd=self.folder, env=self.env | {"SHOP_SECONDS": "600"},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self.started.append(self.started_program)
            self.pid = self.started_program.pid
            time.sleep(1)
        return self.pid

    def gunicorn(self):
        if self.port is None:
            self.port = free_port()
            self.started.append(
                subprocess.Popen(
                    ["gunicorn", "shop.wsgi"], cwd=self.folder, env=self.served(self.port),
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
            )
            ask(f"http://127.0.0.1:{self.port}/")
        return self.port

    def served(self, port):
        return self.env | {"GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port} --workers 1"}

    def fill(self, command):
        """Puts the program's in for the placeholders, and one or two seconds for thirty."""
        # ITS_PID is the process of the service that was called.
        if re.search(r"\b(ITS_)?PID\b", command):
            command = re.sub(r"\b(ITS_)?PID\b", str(self.program()), command)
        if re.search(r"\bURL\b", command):
            command = re.sub(r"\bURL\b", f"http://127.0.0.1:{self.gunicorn()}/", command)
        if "gunicorn" in command and command.startswith("ps "):
            self.gunicorn()
        if "timesink" in command:
            text = gzip.decompress(CAPTURE.read_bytes())
            (self.folder / "after.jsonl").write_bytes(text)
            trace = re.search(rb'"traceId": ?"([0-9a-zA-Z+/=]+)"', text)
            command = command.replace("TRACE_ID", trace[1].decode()).replace("FILES", "after.jsonl")
        command = re.sub(r"\bAPP\b", "shop", command)
        command = re.sub(r"(--duration|-d|-f|-x|sleep|interval:s:)( ?)(30|60)\b", r"\g<1>\g<2>2", command)
        command = command.replace("pyperf timeit", "pyperf timeit --fast -p 3")
        command = command.replace("tests/profiling/costs.py", str(HERE / "costs.py"))
        return command if shutil.which("sudo") else command.replace("sudo ", "")

    def run(self, command, case):
        """Runs one command; returns an error, or an empty text."""
        filled = self.fill(command)
        how = {"ends": self.to_its_end, "screen": self.on_a_screen, "serves": self.as_a_server}
        code, text = how[case.how](filled)
        if code != 0:
            return f"exit code {code}: {text[-600:]}"
        made = [Path(name) for name in glob.glob(str(self.folder / case.files))] if case.files else []
        if case.files and not any(path.stat().st_size for path in made):
            return f"it made no file {case.files}: {text[-600:]}"
        said = text + "".join(path.read_bytes().decode(errors="replace") for path in made)
        said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
        for name in case.names:
            if not re.search(name, said):
                return f"it does not name `{name}`: {said[-600:]}"
        if case.absent and re.search(case.absent, said):
            return f"it names `{case.absent}`, which it should leave out"
        return ""

    def to_its_end(self, command):
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.env, text=True, timeout=SECONDS_MAX,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
        )  # fmt: skip
        if "memray attach" in command:
            time.sleep(3)  # it returns at once, and records on
        return done.returncode, done.stdout

    def on_a_screen(self, command):
        """Runs it in a terminal for some seconds, then presses what ends it."""
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.folder)
            os.execvpe("bash", ["bash", "-c", f"stty rows 50 cols 200; exec {command}"], self.env)
        seen, end = b"", time.monotonic() + 4
        pressed = 0
        while time.monotonic() < end + 4:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    seen += os.read(terminal, 65536)
                except OSError:
                    break
            if end < time.monotonic() and pressed == 0:
                os.write(terminal, b"q")
                pressed = 1
            if end + 1 < time.monotonic() and pressed == 1:
                os.write(terminal, b"\x03")
                pressed = 2
        else:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
        return 0, seen.decode(errors="replace")  # ended by a key: its exit code says nothing

    def as_a_server(self, command):
        port = free_port()
        # `env` takes the variables in front, and `exec` makes the signal the server's own.
        command = f"exec env {command}"
        with open(self.folder / "server.out", "w+") as log:
            server = subprocess.Popen(
                ["bash", "-c", command], cwd=self.folder, env=self.served(port),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                url = f"http://127.0.0.1:{port}/"
                for _ in range(100 if "snakeviz" in command else 0):
                    found = re.search(r"http://127\S+", Path(log.name).read_text())
                    if found:
                        url = found[0]
                        break
                    time.sleep(0.1)
                answer = ask(url)
            finally:
                server.send_signal(signal.SIGINT if "snakeviz" in command else signal.SIGTERM)
                try:
                    server.wait(15)
                except subprocess.TimeoutExpired:
                    server.kill()
            return (0 if answer else 1), Path(log.name).read_text() + answer


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def ask(url):
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read().decode(errors="replace")
        except OSError:
            time.sleep(0.1)
    return ""


class Pushed(http.server.BaseHTTPRequestHandler):
    """Stands in for a Pyroscope server: says on its error stream which function was pushed."""

    found = threading.Event()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        for begin in (0, *(found.start() for found in re.finditer(rb"\x1f\x8b", body))):
            try:
                part = gzip.decompress(body[begin:])
            except (OSError, EOFError):
                part = body
            if b"hot_loop" in part:
                self.found.set()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def run_python(text):
    """Executes a block of Python; returns an error, or an empty text."""
    found = next((mark for mark in BLOCKS if mark in text), None)
    if found is None:
        return "no test executes this block: give it an entry in BLOCKS"
    before, after, names = BLOCKS[found]
    with Place() as place:
        pushes = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pushed)
        threading.Thread(target=pushes.serve_forever, daemon=True).start()
        text = text.replace("http://pyroscope:4040", f"http://127.0.0.1:{pushes.server_port}")
        (place.folder / "block.py").write_text(before + text + after)
        code, said = place.to_its_end("python block.py")
        pushes.shutdown()
    said += "PUSHED hot_loop" if Pushed.found.is_set() else ""
    if code != 0:
        return f"exit code {code}: {said[-800:]}"
    missing = [name for name in names if not re.search(name, said)]
    return f"it does not print {missing}: {said[-800:]}" if missing else ""


def run_block(todo):
    """Runs the commands of one block in one place; returns (command, error, reason not run) of each."""
    kind, _, text = todo
    if kind == "python":
        return [(f"python: {text.strip().splitlines()[0]}", run_python(text), "")]
    results = []
    with Place() as place:
        for command in commands(text):
            case = case_of(command)
            if case is None:
                results.append((command, "no test runs this command: give it an entry in CASES", ""))
                continue
            lacks = next((why for why in map(probe, case.needs) if why), "")
            try:
                error = "" if lacks else place.run(command, case)
            except Exception as failed:
                error = f"{type(failed).__name__}: {failed}"
            results.append((command, error, lacks))
    return results


def blocks(page):
    for fence in FENCE.finditer(page):
        info, text = fence[1].strip(), fence[2]
        line = page[: fence.start()].count("\n") + 1
        if info in ("sh", "python"):
            yield info, line, text
        elif info == "sh not-run":
            before = page[: fence.start()].rstrip().split("\n\n")[-1]
            reason = REASON.search(before)
            if reason is None:
                raise SystemExit(f"docs/profiling.md:{line}: no sentence `Not run by the test: ...` before it")
            yield info, line, (text, " ".join(reason[1].split()))
        elif info != "text":
            raise SystemExit(f"docs/profiling.md:{line}: a fence is sh, sh not-run, python or text")


def next_steps():
    """Returns each next step of the rules, with the first rule that has it."""
    found = collections.OrderedDict()
    for file in sorted((ROOT / "queries/rules").glob("*/rule.toml")):
        for remediation in tomllib.loads(file.read_text()).get("remediation", []):
            if "next_step" in remediation:
                found.setdefault(remediation["next_step"], file.parent.name)
    return found


def split_steps(text):
    """Splits at `; ` outside of quotes and loops."""
    if text.startswith("for "):
        loop, done, rest = text.partition("; done")
        return [loop + done] + ([part for part in split_steps(rest[2:])] if rest else [])
    parts = re.split(r"; (?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)(?=(?:[^']*'[^']*')*[^']*$)", text)
    return [part for part in parts if part]


def main():
    scratch = Path(tempfile.mkdtemp(prefix="profiling-bin-"))
    binary = os.environ.get("TIMESINK") or shutil.which("timesink")
    if binary:
        (scratch / "timesink").symlink_to(Path(binary).resolve())
    os.environ["PATH"] = f"{scratch}{os.pathsep}{Path(sys.argv[1]).resolve()}/bin{os.pathsep}{os.environ['PATH']}"
    litter = "/tmp/perf-*.map", "/tmp/jit-*.dump", "/tmp/jitted-*.so"
    before = {name for pattern in litter for name in glob.glob(pattern)}

    page = PAGE.read_text()
    todo = list(blocks(page))
    said = [command for kind, _, text in todo if kind == "sh" for command in commands(text)]
    failures, skipped, ran, steps_ran, prose = [], [], 0, 0, 0
    for case in CASES:
        if case.page and not any(case_of(command) is case for command in said):
            failures.append(f"case without a command of the page: {case.command}")
    table = page.split("## From a finding to a command")[1].split("\n\n#")[0]
    for command in re.findall(r"`([a-z][^`]*\b(?:PID|APP)\b[^`]*)`", table):
        if command.replace("\\|", "|") not in map(bare, said):
            failures.append(f"the table's command is in no block: {command}")
    steps = []
    for text, rule in next_steps().items():
        parts = split_steps(text)
        known = parts if all(map(case_of, parts)) else []
        prose += not known
        if known:
            steps.append(("sh", rule, "\n".join(known)))
    runnable = [entry for entry in todo if entry[0] != "sh not-run"]
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", "3"))) as pool:
        for entry, results in zip(runnable + steps, pool.map(run_block, runnable + steps)):
            for command, error, lacks in results:
                of_page = isinstance(entry[1], int)
                where = f"docs/profiling.md:{entry[1]}" if of_page else f"next_step of {entry[1]}"
                state = "FAILED" if error else "NOT RUN HERE" if lacks else "ok"
                print(f"{state:12} {where}: {bare(command)}", flush=True)
                if error:
                    failures.append(f"{where}: {command}\n    {error}")
                elif lacks:
                    print(f"{'':13}because {lacks}")
                    if of_page:
                        skipped.append(lacks)
                elif of_page:
                    ran += 1
                else:
                    steps_ran += 1
    for kind, line, entry in todo:
        if kind == "sh not-run":
            for command in commands(entry[0]):
                print(f"{'not run':12} docs/profiling.md:{line}: {bare(command)}\n{'':13}because {entry[1]}")
                skipped.append(entry[1])
    for name in {name for pattern in litter for name in glob.glob(pattern)} - before:
        Path(name).unlink(missing_ok=True)
    shutil.rmtree(scratch)
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{steps_ran} commands of the rules' next_step run; {prose} next_steps are for a database or a person")
    reasons = "; ".join(f"{count}: {why}" for why, count in collections.Counter(skipped).items())
    print(f"{ran} commands of docs/profiling.md run, {len(skipped)} not run here ({reasons})")
    if failures:
        sys.exit(f"{len(failures)} failed")


if __name__ == "__main__":
    main()
