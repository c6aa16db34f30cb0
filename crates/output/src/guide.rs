//! A rule's guide, its `README.md`, as HTML and as Markdown that stands elsewhere.
//!
//! A guide may be a user's own. Raw HTML in it is shown, not taken; pictures are left out, so that
//! a page loads nothing; only links to pages on the web and to other guides stay links.

use hashbrown::HashMap;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

use crate::safe;

/// Where a link in a guide leads, on the page that shows it.
pub(crate) enum Target<'a> {
    /// A heading of the same guide, by its anchor.
    Here(&'a str),
    /// Another rule's guide, and a heading of it.
    Guide(&'a str, &'a str),
}

/// How a guide becomes a part of a page.
pub(crate) struct Page<'a> {
    /// Before the anchor of each heading, so that several guides fit on one page.
    pub(crate) anchor_prefix: &'a str,
    /// How many levels its headings move down.
    pub(crate) levels_down: usize,
    /// Returns the address of a link; without one its text alone is kept.
    pub(crate) address: &'a dyn Fn(Target<'_>) -> Option<String>,
}

/// Returns a guide as HTML that is safe on any page.
pub(crate) fn to_html(guide: &str, page: &Page<'_>) -> String {
    let guide = safe::lines(guide);
    let events: Vec<Event<'_>> = Parser::new_ext(&guide, Options::ENABLE_TABLES).collect();
    let mut kept = Vec::with_capacity(events.len());
    let mut link_is_kept = true;
    let mut anchors: HashMap<String, usize> = HashMap::new();
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Start(Tag::Heading { level, classes, .. }) => {
                let anchor = unlike(anchor(&events[at..]), &mut anchors);
                let anchor = format!("{}{anchor}", page.anchor_prefix);
                kept.push(Event::Start(Tag::Heading {
                    level: lower(*level as usize, page),
                    id: Some(anchor.into()),
                    classes: classes.clone(),
                    attrs: Vec::new(),
                }));
            }
            Event::End(TagEnd::Heading(level)) => {
                kept.push(Event::End(TagEnd::Heading(lower(*level as usize, page))));
            }
            Event::Start(Tag::Link { link_type, dest_url, .. }) => {
                let address = address(dest_url, page);
                link_is_kept = address.is_some();
                kept.extend(address.map(|address| {
                    Event::Start(Tag::Link {
                        link_type: *link_type,
                        dest_url: address.into(),
                        title: CowStr::Borrowed(""),
                        id: CowStr::Borrowed(""),
                    })
                }));
            }
            Event::End(TagEnd::Link) if !link_is_kept => {}
            Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => {}
            Event::Html(text) | Event::InlineHtml(text) => kept.push(Event::Text(text.clone())),
            event => kept.push(event.clone()),
        }
    }
    let mut text = String::with_capacity(guide.len() * 2);
    html::push_html(&mut text, kept.into_iter());
    text
}

/// Returns an anchor that no heading before has, as GitHub makes it.
fn unlike(anchor: String, known: &mut HashMap<String, usize>) -> String {
    let times = known.entry_ref(anchor.as_str()).or_insert(0);
    *times += 1;
    if *times == 1 { anchor } else { format!("{anchor}-{}", *times - 1) }
}

fn lower(level: usize, page: &Page<'_>) -> pulldown_cmark::HeadingLevel {
    let level = (level + page.levels_down).min(6);
    level.try_into().unwrap_or(pulldown_cmark::HeadingLevel::H6)
}

/// Returns the anchor of the heading that events begin with, as GitHub makes it.
fn anchor(events: &[Event<'_>]) -> String {
    let inside = events.iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let mut anchor = String::new();
    for event in inside {
        if let Event::Text(text) | Event::Code(text) = event {
            for c in text.chars() {
                match c {
                    ' ' => anchor.push('-'),
                    c if c.is_alphanumeric() || c == '-' || c == '_' => {
                        anchor.extend(c.to_lowercase());
                    }
                    _ => {}
                }
            }
        }
    }
    anchor
}

fn address(link: &str, page: &Page<'_>) -> Option<String> {
    if is_web(link) {
        return Some(link.to_owned());
    }
    if let Some(anchor) = link.strip_prefix('#') {
        return (page.address)(Target::Here(anchor));
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let rule = path.strip_prefix("../")?.strip_suffix("/README.md")?;
    let is_name = rule.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if is_name { (page.address)(Target::Guide(rule, anchor)) } else { None }
}

/// Returns whether a link leads to a page on the web.
pub(crate) fn is_web(link: &str) -> bool {
    link.starts_with("https://") || link.starts_with("http://")
}

/// Returns a guide as Markdown without the links that lead nowhere outside of its folder.
pub(crate) fn portable(guide: &str) -> String {
    let guide = safe::lines(guide);
    let mut text = String::with_capacity(guide.len());
    let mut at = 0;
    for (event, range) in Parser::new_ext(&guide, Options::ENABLE_TABLES).into_offset_iter() {
        if let Event::Start(Tag::Link { dest_url, .. }) = event
            && !is_web(&dest_url)
            && range.start >= at
            && let Some(label) = label(&guide[range.clone()])
        {
            text.push_str(&guide[at..range.start]);
            text.push_str(label);
            at = range.end;
        }
    }
    text.push_str(&guide[at..]);
    text
}

/// Returns the text of a link, `[text](target)`.
fn label(link: &str) -> Option<&str> {
    let (label, _) = link.strip_prefix('[')?.rsplit_once("](")?;
    Some(label)
}

/// Returns the paragraph under a guide's first heading, on one line.
pub(crate) fn introduction(guide: &str) -> String {
    let lines = guide.lines().skip_while(|line| line.starts_with('#') || line.trim().is_empty());
    let paragraph: Vec<&str> = lines.take_while(|line| !line.trim().is_empty()).collect();
    paragraph.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(guide: &str) -> String {
        let address = |target: Target<'_>| match target {
            Target::Here(anchor) => Some(format!("#p-{anchor}")),
            Target::Guide("b-rule", anchor) => Some(format!("b-rule#{anchor}")),
            Target::Guide(..) => None,
        };
        to_html(guide, &Page { anchor_prefix: "p-", levels_down: 2, address: &address })
    }

    #[test]
    fn headings_move_down_and_have_anchors() {
        assert_eq!(
            html("# How to *fix* `it`, now\n"),
            "<h3 id=\"p-how-to-fix-it-now\">How to <em>fix</em> <code>it</code>, now</h3>\n"
        );
        assert!(html("##### five\n").starts_with("<h6 "));
        assert!(html("# a\n\n# a\n").ends_with("<h3 id=\"p-a-1\">a</h3>\n"));
    }

    #[test]
    fn only_links_that_lead_somewhere_stay() {
        let guide = "[a](https://e.org/) [b](../b-rule/README.md#c) [d](#e) [f](../g/README.md) \
                     [h](javascript:alert(1)) [i](../../j.md) <https://k.org>";
        assert_eq!(
            html(guide),
            "<p><a href=\"https://e.org/\">a</a> <a href=\"b-rule#c\">b</a> <a href=\"#p-e\">d</a> \
             f h i <a href=\"https://k.org\">https://k.org</a></p>\n"
        );
    }

    #[test]
    fn html_is_shown_and_pictures_are_not_loaded() {
        let page = html("a <script>alert(1)</script> ![alt](https://e.org/i.png)\n\n<iframe>\n");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; alt"), "{page}");
        assert!(page.contains("&lt;iframe&gt;"), "{page}");
        assert!(!page.contains("<img") && !page.contains("i.png"), "{page}");
    }

    #[test]
    fn portable_guides_keep_only_links_to_the_web() {
        assert_eq!(
            portable("a [b](../b-rule/README.md) and [c](https://e.org), [`d`](#e)\n"),
            "a b and [c](https://e.org), `d`\n"
        );
    }

    #[test]
    fn the_introduction_is_one_line() {
        assert_eq!(introduction("# a\n\nOne\ntwo.\n\nThree.\n"), "One two.");
    }
}
