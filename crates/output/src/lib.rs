//! Findings as files: JSON, Markdown, SARIF, HTML, annotations.
