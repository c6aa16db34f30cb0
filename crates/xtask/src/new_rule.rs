//! `new-rule`: a folder that lacks only its content, and the line that registers it.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::workspace::root;

/// The files of a rule; `{rule}` and `{version}` are filled in.
const FILES: [(&str, &str); 4] = [
    ("rule.toml", include_str!("../templates/rule/rule.toml")),
    ("rule.sql", include_str!("../templates/rule/rule.sql")),
    ("README.md", include_str!("../templates/rule/README.md")),
    ("cases.md", include_str!("../templates/rule/cases.md")),
];

/// Words that name a remedy or a tool instead of the pattern found.
const WORDS_REFUSED: [&str; 5] = ["avoid", "use", "no", "check", "detector"];

/// Writes `queries/rules/NAME` and says what comes next.
pub(crate) fn run(name: &str) -> Result<()> {
    check_name(name)?;
    let folder = root().join("queries/rules").join(name);
    if folder.exists() {
        bail!("`queries/rules/{name}` exists already");
    }
    fs::create_dir_all(&folder).with_context(|| format!("failed to make `{name}`"))?;
    for (file, template) in FILES {
        fs::write(folder.join(file), fill(template, name))?;
    }
    println!(
        "wrote queries/rules/{name}/{{rule.toml, rule.sql, README.md, cases.md}}\n\n\
         Register it in crates/rules/src/registry.rs, in alphabetical order:\n\n    \
         rule!(\"{name}\"),\n\n\
         Then fill in what the tests ask for: cargo test --workspace --test cases"
    );
    Ok(())
}

fn fill(template: &str, name: &str) -> String {
    template.replace("{rule}", name).replace("{version}", env!("CARGO_PKG_VERSION"))
}

/// Refuses a name that is not kebab-case, or that names a remedy.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    if !name.split('-').all(is_word) {
        bail!("`{name}` is not kebab-case: lower-case words joined by `-`");
    }
    let (first, last) = (name.split('-').next(), name.split('-').next_back());
    let refused = WORDS_REFUSED.into_iter().find(|w| first == Some(w) || last == Some(w));
    if let Some(word) = refused {
        bail!("`{name}`: a rule is named after the pattern it finds, not with `{word}`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use timesink_rules::Rule;

    use super::*;

    #[test]
    fn a_name_says_the_pattern_found() {
        for name in ["n-plus-one-query", "gc-pause", "missing-cache"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "N-plus", "a_b", "-a", "avoid-loop", "use-cache", "gc-check", "a--b"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_templates_are_filled() {
        for (file, template) in FILES {
            let text = fill(template, "gc-pause");
            assert!(!text.contains("{rule}") && !text.contains("{version}"), "{file}");
        }
    }

    #[test]
    fn a_new_rule_lacks_only_its_content() {
        let [manifest, sql, guide, _] = FILES.map(|(_, template)| fill(template, "gc-pause"));
        let rule = Rule::parse(Path::new("queries/rules/gc-pause"), &manifest, &sql, &guide)
            .expect("a rule");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let limits = timesink_query::Limits::default();
        let problems = runtime.block_on(timesink_rules::check(&rule, limits));
        let problems = problems.expect("empty tables");
        assert!(problems.is_empty(), "{problems:?}");
    }
}
