"""Runs the examples of the pages in docs/: `run.py --bin TIMESINK [PAGE...]`.

A fenced block's info string says what becomes of it:

- `python`: the blocks of one section are one program, run as a script of its own. It may assert
  results, never times: what is measured is printed, and shown here.
- `python file=NAME`: written to NAME in the page's folder, for the `console` blocks of the page.
- `console`: each line behind `$ ` is run by bash, on to the end of an open quote or backslash. It
  has to succeed, unless its next line is `(exit CODE)`. Other lines are what it prints: each has
  to be found in its output, in this order, blanks apart; `...` stands for any text, and alone
  for any lines.
- `json`, `toml`: has to parse.
- `text`: not an example.
- anything with `not-run`, and any other language only so: left out, with the reason in the
  sentence before it.

`timesink` is the binary of `--bin`. FILE and FILES stand for a recording of `examples/`, TRACE for
one of its traces, RULE for a rule, so that pages can speak of a reader's own. Nothing leaves the
machine.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["choosing", "symptoms", "interpreter", "memory", "asyncio", "benchmarks", "containers"]
PAGES = [f"docs/{name}.md" for name in [*PAGES, "practice", "topics"]]
RECORDING = "examples/django-shop/recordings/before.jsonl.gz"
SECONDS_MAX = 60
WORDS = {"FILES": RECORDING, "FILE": RECORDING, "RULE": "n-plus-one-query"}


@dataclass
class Block:
    page: str
    line: int  # of its first line of code, from 1
    language: str
    words: list[str]
    lines: list[str]
    section: int
    before: str  # the paragraph before it

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def file(self) -> str | None:
        named = [word.removeprefix("file=") for word in self.words if word.startswith("file=")]
        return named[0] if named else None


class Failed(Exception):
    """An example that does not do what its page says."""


def blocks_of(page: str) -> list[Block]:
    """Returns the fenced blocks of a page, in order."""
    blocks, section, fence, before, current = [], 0, None, "", []
    for number, line in enumerate((ROOT / page).read_text().splitlines(), start=1):
        opened = re.match(r"( *)(```+)(.*)$", line)
        if fence is None and opened:
            indent, fence, info = len(opened[1]), opened[2], opened[3].split()
            blocks.append(Block(page, number + 1, (info or [""])[0], info[1:], [], section, before))
        elif fence is not None and line.strip() == fence:
            fence = None
        elif fence is not None:
            blocks[-1].lines.append(line[indent:])
        else:
            section += line.startswith("#")
            # Two blocks may share the sentence before the first.
            current = [*current, line] if line.strip() else []
            before = " ".join(current) or before
    return blocks


class Runner:
    def __init__(self, binary: Path, work: Path):
        self.binary, self.work = binary.resolve(), work
        tools = work / "bin"
        tools.mkdir()
        (tools / "timesink").symlink_to(self.binary)
        # The interpreter that runs this, under the name `python`: with its environment's packages.
        paths = [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "TIMESINK_"))}
        self.environment = kept | {"PATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
        self.words = WORDS | {"TRACE": self.a_trace()}

    def a_trace(self) -> str:
        query = "SELECT trace_id FROM entries ORDER BY duration_nanos DESC, trace_id LIMIT 1"
        command = [self.binary, "sql", "--format", "json", query, ROOT / RECORDING]
        return json.loads(subprocess.check_output(command, text=True))[0]["trace_id"]

    def folder(self, page: str) -> Path:
        folder = self.work / Path(page).stem
        if not folder.exists():
            folder.mkdir()
            for shared in ("examples", "tests"):
                (folder / shared).symlink_to(ROOT / shared)
        return folder

    def run(self, command: list[str], page: str) -> tuple[int, str]:
        """Runs a command in the page's folder; returns its exit code and all that it prints."""
        try:
            done = subprocess.run(
                command,
                cwd=self.folder(page),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SECONDS_MAX,
            )
        except subprocess.TimeoutExpired as expired:
            raise Failed(f"longer than {SECONDS_MAX} s\n{expired.output or b''!r}") from None
        return done.returncode, done.stdout

    def python(self, blocks: list[Block]) -> str:
        """Runs the blocks of a section as one script, whose lines have the page's numbers."""
        lines = []
        for block in blocks:
            lines += [""] * (block.line - 1 - len(lines)) + block.lines
        name = f"{Path(blocks[0].page).stem}_{blocks[0].line}.py"
        (self.folder(blocks[0].page) / name).write_text("\n".join(lines) + "\n")
        code, output = self.run(["python", name], blocks[0].page)
        if code != 0:
            raise Failed(f"exit code {code}\n{output}")
        return output

    def console(self, block: Block) -> str:
        shown = []
        for command, expected in commands_of(block):
            for word, value in self.words.items():
                command = re.sub(rf"(?<![\w-]){word}(?![\w-])", value, command)
            code, output = self.run(["bash", "-o", "pipefail", "-c", command], block.page)
            wanted = 0
            if expected and (stated := re.fullmatch(r"\(exit (\d+)\)", expected[0])):
                wanted, expected = int(stated[1]), expected[1:]
            if code != wanted:
                raise Failed(f"`{command}`: exit code {code}, not {wanted}\n{output}")
            check_output(command, expected, output)
            shown.append(f"$ {command}\n{output}")
        if not shown:
            raise Failed("no line begins with `$ `")
        return "".join(shown)


def commands_of(block: Block) -> list[tuple[str, list[str]]]:
    """Splits a console block into commands, each with the lines that it is to print."""
    commands: list[tuple[str, list[str]]] = []
    for line in block.lines:
        if commands and is_open(commands[-1][0]):
            commands[-1] = (f"{commands[-1][0]}\n{line}", [])
        elif line.startswith("$ "):
            commands.append((line[2:], []))
        elif commands and line.strip():
            commands[-1][1].append(line)
        elif line.strip():
            raise Failed(f"`{line}` is before the first command")
    return commands


def is_open(command: str) -> bool:
    code = re.sub(r"(?m)(?<=\s)#.*$", "", command)
    return code.endswith("\\") or code.count('"') % 2 == 1 or code.count("'") % 2 == 1


def check_output(command: str, expected: list[str], output: str) -> None:
    printed = [" ".join(line.split()) for line in output.splitlines()]
    at, may_skip = 0, True
    for line in (" ".join(line.split()) for line in expected):
        if line == "...":
            may_skip = True
            continue
        pattern = re.compile(".*".join(map(re.escape, line.split("..."))))
        found = next((n for n in range(at, len(printed)) if pattern.search(printed[n])), None)
        if found is None or not (may_skip or found == at):
            raise Failed(f"`{command}` does not print `{line}`, but\n{output}")
        at, may_skip = found + 1, False


def check_reason(block: Block) -> None:
    """A block that is not run has its reason in a sentence before it."""
    if block.before.startswith("#") or len(block.before.split()) < 4:
        raise Failed("is not run, and the sentence before it does not say why")


def check_rest(block: Block) -> None:
    text = "\n".join(block.lines)
    if block.language == "json":
        json.loads(text)
    elif block.language == "toml":
        tomllib.loads(text)
    elif block.language != "text":
        raise Failed(f"cannot run `{block.language}`: mark the block `not-run`")


def jobs_of(page: str, runner: Runner) -> list[tuple[str, list[Block]]]:
    """Returns what is to be done for a page: a kind of work, and the blocks that it is about."""
    jobs: list[tuple[str, list[Block]]] = []
    sections: dict[int, list[Block]] = {}
    for block in blocks_of(page):
        if "not-run" in block.words:
            jobs.append(("left", [block]))
        elif block.language == "python" and (name := block.file()):
            (runner.folder(page) / name).write_text("\n".join(block.lines) + "\n")
            jobs.append(("file", [block]))
        elif block.language == "python":
            if block.section not in sections:
                jobs.append(("python", sections.setdefault(block.section, [])))
            sections[block.section].append(block)
        elif block.language == "console":
            jobs.append(("console", [block]))
        else:
            jobs.append(("parsed", [block]))
    return jobs


def do(kind: str, blocks: list[Block], runner: Runner) -> str:
    """Does one job; returns what is to be shown."""
    if kind == "python":
        return runner.python(blocks)
    if kind == "console":
        return runner.console(blocks[0])
    if kind == "left":
        check_reason(blocks[0])
    elif kind == "file":
        compile("\n".join(blocks[0].lines), blocks[0].place, "exec")
    else:
        check_rest(blocks[0])
    return ""


def run_page(page: str, runner: Runner) -> tuple[Counter, list[str]]:
    """Runs a page's blocks in order; returns what became of how many, and what to print."""
    count, shown = Counter(), []
    for kind, blocks in jobs_of(page, runner):
        try:
            output = do(kind, blocks, runner)
        except (Failed, SyntaxError, ValueError) as error:
            count["failed"] += len(blocks)
            shown.append(f"FAILED {blocks[0].place}: {error}")
            continue
        count[kind] += len(blocks)
        if output:
            shown.append("\n  ".join([blocks[0].place, *output.splitlines()]) + "\n")
    return count, shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, required=True, help="the timesink binary")
    parser.add_argument("--jobs", type=int, default=2, help="pages at a time")
    parser.add_argument("--quiet", action="store_true", help="print failures and the count only")
    parser.add_argument("pages", nargs="*", default=PAGES)
    options = parser.parse_args()

    count: Counter = Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="timesink-docs-") as work:
        runner = Runner(options.bin, Path(work))
        with ThreadPoolExecutor(options.jobs) as pool:
            for page_count, shown in pool.map(lambda page: run_page(page, runner), options.pages):
                count += page_count
                for text in shown:
                    if text.startswith("FAILED") or not options.quiet:
                        print(text, flush=True)
    python, console = count["python"] + count["file"], count["console"]
    print(
        f"{python + console} blocks run ({python} python, {console} console), {count['left']}"
        f" not run, {count['failed']} failed, in {time.monotonic() - began:.0f} s"
    )
    return 1 if count["failed"] or not python + console else 0


if __name__ == "__main__":
    sys.exit(main())
