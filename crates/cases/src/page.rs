//! Markdown, as little of it as cases need: `##` sections and fenced blocks.

use std::ops::Range;
use std::path::Path;

use super::{Case, CaseError};

/// A `##` section and its fenced blocks.
#[derive(Debug)]
pub(super) struct Section<'a> {
    heading: &'a str,
    line: usize,
    blocks: Vec<Block<'a>>,
}

/// A fenced block: the word after its fence, and its lines as indexes into the page.
#[derive(Debug)]
struct Block<'a> {
    info: &'a str,
    lines: Range<usize>,
    text: Vec<&'a str>,
}

/// What is wrong at a line; [`PageError::at`] adds the path.
#[derive(Debug)]
pub(super) struct PageError {
    line: usize,
    what: String,
}

impl PageError {
    pub(super) fn at(self, path: &Path) -> CaseError {
        CaseError { path: path.to_owned(), line: self.line, what: self.what }
    }
}

/// Returns the page's `##` sections; headings inside blocks are text.
pub(super) fn sections(page: &str) -> Result<Vec<Section<'_>>, PageError> {
    let lines: Vec<&str> = page.lines().collect();
    let mut sections: Vec<Section> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if let Some(heading) = lines[at].strip_prefix("## ") {
            sections.push(Section { heading: heading.trim(), line: at + 1, blocks: Vec::new() });
        } else if let Some(fence) = fence(lines[at]) {
            let end = (at + 1..lines.len())
                .find(|end| lines[*end].trim_end() == fence)
                .ok_or_else(|| PageError { line: at + 1, what: "block never closes".to_owned() })?;
            let info = lines[at][fence.len()..].trim();
            let block = Block { info, lines: at + 1..end, text: lines[at + 1..end].to_vec() };
            if let Some(section) = sections.last_mut() {
                section.blocks.push(block);
            }
            at = end;
        }
        at += 1;
    }
    Ok(sections)
}

/// Returns the three or more backticks that a line opens a block with.
fn fence(line: &str) -> Option<&str> {
    let length = line.len() - line.trim_start_matches('`').len();
    (length >= 3).then(|| &line[..length])
}

/// Returns the page with the block `findings` of a section replaced.
pub(super) fn with_findings(page: &str, heading: &str, findings: &[String]) -> Option<String> {
    let sections = sections(page).ok()?;
    let section = sections.iter().find(|s| s.heading == heading)?;
    let block = *section.blocks_of("findings").first()?;
    let lines: Vec<&str> = page.lines().collect();
    let mut updated = lines[..block.lines.start].to_vec();
    updated.extend(findings.iter().map(String::as_str));
    updated.extend(&lines[block.lines.end..]);
    Some(updated.join("\n") + "\n")
}

impl<'a> Section<'a> {
    /// Returns whether the section holds spans.
    pub(super) fn is_case(&self) -> bool {
        !self.blocks_of("spans").is_empty()
    }

    fn blocks_of(&self, info: &str) -> Vec<&Block<'a>> {
        self.blocks.iter().filter(|block| block.info == info).collect()
    }

    /// Returns the section as a case of the page in `path`.
    pub(super) fn into_case(self, path: &Path) -> Result<Case, PageError> {
        let wrong =
            |what: &str| PageError { line: self.line, what: format!("`{}`: {what}", self.heading) };
        let joined = |block: &Block| block.text.join("\n");
        let config = match self.blocks_of("toml").as_slice() {
            [] => None,
            [block] => Some(joined(block)),
            _ => return Err(wrong("expected at most one block `toml`")),
        };
        let [findings] = self.blocks_of("findings")[..] else {
            return Err(wrong("expected exactly one block `findings`"));
        };
        Ok(Case {
            path: path.to_owned(),
            heading: self.heading.to_owned(),
            line: self.line,
            spans: self.blocks_of("spans").into_iter().map(joined).collect(),
            spans_at: self.blocks_of("spans").iter().map(|block| block.lines.start + 1).collect(),
            config,
            expected: findings.text.iter().map(|&line| line.to_owned()).collect(),
        })
    }
}
