"""Fails on dead links and anchors in Markdown, and on a map of topics that is not whole.

- every relative link, and every `#anchor` of one, in the Markdown pages of the repository;
- docs/topics.md has each number from 1 to 88 once, each with a link or the reason for none;
- docs/symptoms.md links the guide of every rule.
"""

import re
import sys
import unicodedata
from functools import cache
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["*.md", "docs/**/*.md", "queries/**/*.md", "deploy/**/*.md", "examples/**/*.md"]
PAGES += ["crates/*/*.md", "tests/**/*.md"]
TOPICS = 88
# Folders that are made by tools: virtual environments, packages of theirs, build output.
MADE = {"target", "node_modules", "venv", ".venv", "site-packages", ".pytest_cache"}


def prose(path: Path) -> list[tuple[int, str]]:
    """Returns a page's lines outside of fenced blocks, with their numbers."""
    lines, fence = [], None
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        mark = re.match(r" *(```+|~~~+)", line)
        if fence is None and mark:
            fence = mark[1]
        elif fence is not None and line.strip() == fence:
            fence = None
        elif fence is None:
            lines.append((number, line))
    return lines


@cache
def anchors(path: Path) -> frozenset[str]:
    """Returns the anchors of a page as GitHub makes them from its headings."""
    found: set[str] = set()
    for _, line in prose(path):
        found.update(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", line))
        if not (heading := re.match(r" {0,3}#{1,6} +(.*?)(?: +#+)?$", line)):
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
        kept = [c for c in text.lower() if c in "-_ " or unicodedata.category(c)[0] in "LNM"]
        slug = base = "".join(kept).replace(" ", "-")
        number = 0
        while slug in found:
            number += 1
            slug = f"{base}-{number}"
        found.add(slug)
    return frozenset(found)


def links(line: str) -> list[str]:
    """Returns the targets of a line's links; what stands in backticks is no link."""
    line = re.sub(r"(`+).*?\1", lambda code: "`" * len(code[0]), line)
    inline = re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", line)
    return inline + re.findall(r"^ {0,3}\[[^\]]+\]: *(\S+)", line)


def check_target(page: Path, target: str) -> str | None:
    if re.match(r"[a-z][a-z0-9+.-]*:", target) or target.startswith("//"):
        return None
    name, _, anchor = unquote(target).partition("#")
    path = (page.parent / name).resolve() if name else page
    if not path.exists():
        return f"no file at `{target}`"
    if anchor and path.suffix == ".md" and anchor not in anchors(path):
        return f"no anchor `#{anchor}` in `{path.relative_to(ROOT)}`"
    return None


def check_pages() -> list[str]:
    problems = []
    for path in sorted({p for pattern in PAGES for p in ROOT.glob(pattern)}):
        if MADE & set(path.relative_to(ROOT).parts):
            continue
        for number, line in prose(path):
            for target in links(line):
                if problem := check_target(path, target):
                    problems.append(f"{path.relative_to(ROOT)}:{number}: {problem}")
    return problems


def check_topics() -> list[str]:
    """Each row of a table of docs/topics.md is `| number | title | place |`."""
    page = ROOT / "docs/topics.md"
    problems, seen = [], []
    for number, line in prose(page):
        if not (row := re.match(r"\| *(\d+) *\|(.*)\|(.*)\|$", line)):
            continue
        seen.append(int(row[1]))
        place = row[3].strip()
        reason = re.match(r"(out of scope|planned, not there yet): \S+ \S+", place)
        if not (links(place) or reason):
            problems.append(f"docs/topics.md:{number}: neither a link nor a reason")
        for target in links(place):
            if "#" not in target:
                problems.append(f"docs/topics.md:{number}: `{target}` names no section")
    wanted = list(range(1, TOPICS + 1))
    problems += [f"docs/topics.md: topic {n} is missing" for n in wanted if n not in seen]
    problems += [f"docs/topics.md: topic {n} is there twice" for n in wanted if seen.count(n) > 1]
    problems += [f"docs/topics.md: there is no topic {n}" for n in seen if n not in wanted]
    if seen != sorted(seen):
        problems.append("docs/topics.md: topics are not in order")
    return problems


def check_symptoms() -> list[str]:
    text = (ROOT / "docs/symptoms.md").read_text()
    rules = sorted(path.name for path in (ROOT / "queries/rules").iterdir() if path.is_dir())
    links_to = "../queries/rules/{}/README.md"
    lost = [rule for rule in rules if links_to.format(rule) not in text]
    return [f"docs/symptoms.md: no symptom leads to `{rule}`" for rule in lost]


def main() -> int:
    problems = check_pages() + check_topics() + check_symptoms()
    for problem in problems:
        print(problem)
    print(f"{len(problems)} dead links and other problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
