//! [`Format`]: how a report can be written.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// One document, for programs.
    Json,
    /// One finding a line, for programs.
    Jsonl,
    /// For a comment on a pull request.
    Markdown,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// One page that needs nothing else, for people.
    Html,
    /// Workflow commands, for annotations in GitHub Actions.
    Github,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] =
        [Self::Json, Self::Jsonl, Self::Markdown, Self::Sarif, Self::Html, Self::Github];

    /// Returns the name, as options and addresses spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Markdown => "markdown",
            Self::Sarif => "sarif",
            Self::Html => "html",
            Self::Github => "github",
        }
    }

    /// Returns the media type, as HTTP names it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Jsonl => "application/x-ndjson",
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Sarif => "application/sarif+json",
            Self::Html => "text/html; charset=utf-8",
            Self::Github => "text/plain; charset=utf-8",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let name = if name == "md" { Self::Markdown.as_str() } else { name };
        Self::ALL.into_iter().find(|format| format.as_str() == name).ok_or_else(|| {
            let known = Self::ALL.map(|format| format!("`{format}`")).join(", ");
            Error::UnknownFormat { name: name.to_owned(), known }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse::<Format>().unwrap(), format);
        }
        assert_eq!("md".parse::<Format>().unwrap(), Format::Markdown);
        let error = "pdf".parse::<Format>().unwrap_err().to_string();
        assert!(error.starts_with("no format is named `pdf`: expected `json`, "), "{error}");
    }
}
