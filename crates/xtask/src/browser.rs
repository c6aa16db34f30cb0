//! `browser`: the report in real Chromium, on recordings and on hostile text.
//!
//! `tests/browser/check.mjs` looks: an error, a request, a page wider than its window or text that
//! is hard to read fails it. Needs `node` and `chromium`; without them it fails, never passes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use timesink_rules::RuleSet;

use crate::workspace::{cargo, root, run as run_command, target};

/// A page to look at: its name and the recordings it reports on.
struct Page {
    name: &'static str,
    recordings: &'static [&'static str],
}

const PAGES: &[Page] = &[
    Page {
        name: "report",
        recordings: &[
            "django_fk_n1.pb.gz",
            "mesh_net_http.jsonl.gz",
            "fa_requests_bad_c8.jsonl.gz",
        ],
    },
    Page { name: "gaps", recordings: &["flask_json_slow_ser.jsonl.gz", "mesh_skew.jsonl.gz"] },
    Page { name: "clean", recordings: &["flask_json_ok.jsonl.gz"] },
];

/// The page whose screenshots the documentation shows.
const SHOWN: &str = "report";

/// Where they are kept, and how large one may be.
const SCREENSHOTS: &str = "docs/screenshots";
const SCREENSHOT_BYTES_MAX: u64 = 300 * 1024;

/// Text in the place of a service's name that tries to run, load and widen.
const HOSTILE: &str = "<script>console.error(1)</script><img src=x onerror=alert(1)>\
    <style>@import 'http://127.0.0.1:9/'</style>{{ 7 * 7 }}</td></table>";

/// Checks the pages; with `--update` keeps the screenshots in `docs/screenshots`.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let is_update = match options {
        [] => false,
        ["--update"] => true,
        _ => bail!("unknown options `{}`: expected `--update` or none", options.join(" ")),
    };
    run_command(&mut cargo(&["build", "--bin", "timesink"]))?;
    let folder = target()?.join("browser");
    fs::create_dir_all(&folder)?;
    let mut pages = Vec::new();
    for page in PAGES {
        let recordings = page.recordings.iter().map(|name| root().join("tests/data").join(name));
        pages.push((page.name, write_page(page.name, &recordings.collect::<Vec<_>>(), &folder)?));
    }
    let hostile = write_hostile(&folder)?;
    pages.push(("hostile", write_page("hostile", &[hostile], &folder)?));
    pages.push(("guide", write_guide(&folder)?));
    check(&pages, &folder)?;
    if is_update { keep_screenshots(&folder) } else { Ok(()) }
}

/// Writes the report on recordings and returns its path.
fn write_page(name: &str, recordings: &[PathBuf], folder: &Path) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.html"));
    let mut command = Command::new(target()?.join("debug/timesink"));
    command.args(["analyze", "--format", "html", "--output"]).arg(&path).args(recordings);
    run_command(command.current_dir(folder))?;
    Ok(path)
}

/// Writes a recording whose names and statements are hostile, and long.
fn write_hostile(folder: &Path) -> Result<PathBuf> {
    let bytes = fs::read(root().join("tests/data/django_fk_n1.jsonl.gz"))?;
    let mut text = String::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(&bytes[..]);
    std::io::Read::read_to_string(&mut decoder, &mut text)?;
    let long = format!("{HOSTILE}{}", "W".repeat(2_000));
    let text = text.replace("shop-web", &long).replace("api/orders/recent", &long);
    let path = folder.join("hostile.jsonl");
    fs::write(&path, text.replace("customers", HOSTILE))?;
    Ok(path)
}

/// Writes the longest guide as the server shows it, and returns its path.
fn write_guide(folder: &Path) -> Result<PathBuf> {
    let rules = RuleSet::embedded()?;
    let longest = rules.rules().iter().max_by_key(|rule| rule.guide.len()).context("a rule")?;
    let path = folder.join("guide.html");
    fs::write(&path, timesink_output::guide_html(longest, env!("CARGO_PKG_VERSION"))?)?;
    Ok(path)
}

fn check(pages: &[(&str, PathBuf)], folder: &Path) -> Result<()> {
    let mut command = Command::new("node");
    command.arg(root().join("tests/browser/check.mjs")).arg(folder);
    for (name, path) in pages {
        command.arg(format!("{name}={}", path.display()));
    }
    run_command(&mut command).context("the report failed in the browser")
}

fn keep_screenshots(folder: &Path) -> Result<()> {
    fs::create_dir_all(root().join(SCREENSHOTS))?;
    for kind in ["1280-light", "1280-dark", "400-light", "400-dark"] {
        let name = format!("{SHOWN}-{kind}.png");
        let size = fs::metadata(folder.join(&name))?.len();
        if size > SCREENSHOT_BYTES_MAX {
            bail!("`{name}` takes {size} bytes: at most {SCREENSHOT_BYTES_MAX} are kept");
        }
        fs::copy(folder.join(&name), root().join(SCREENSHOTS).join(&name))?;
        println!("wrote {SCREENSHOTS}/{name}");
    }
    Ok(())
}
