//! One culprit, one finding: what explains another finding is its cause, and nothing else is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use timesink_model::Finding;
use timesink_query::{Database, Limits};
use timesink_rules::{Engine, RuleSet, RulesConfig};
use timesink_testkit::notation;
use tokio::runtime::Runtime;

fn findings(text: &str) -> Vec<Finding> {
    let engine = Engine::new(RuleSet::embedded().unwrap(), RulesConfig::default()).unwrap();
    let database = Database::open(notation::spans(text), Limits::default()).unwrap();
    Runtime::new().unwrap().block_on(engine.analyze(&database)).unwrap().findings
}

/// Returns of each finding its rule and its cause's, in the order of their rules.
fn causes(text: &str) -> Vec<(String, Option<String>)> {
    let all = findings(text);
    let rule_of = |id: &String| {
        all.iter().find(|finding| finding.finding_id == *id).map(|f| f.rule.clone()).unwrap()
    };
    let mut causes: Vec<_> =
        all.iter().map(|f| (f.rule.clone(), f.caused_by.as_ref().map(rule_of))).collect();
    causes.sort();
    causes
}

fn caused(pairs: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
    pairs.iter().map(|(rule, cause)| ((*rule).to_owned(), cause.map(str::to_owned))).collect()
}

/// Scenario: a service waits for another one, which sends a query a row.
/// Guarantee: the loop is the cause; where it takes little of the time, it is not.
#[test]
fn a_loop_makes_its_caller_slow() {
    // What covers the rest of the time, so that it is no work on the response.
    let requests = |query: &str, rest: &str| {
        format!(
            "gateway SERVER GET/checkout 0ms 220ms\n  \
               gateway CLIENT GET 2ms 214ms http.request.method=GET url.full=http://orders/o\n    \
                 orders SERVER GET/orders 4ms 210ms http.request.method=GET\n      \
                   orders CLIENT SELECT 8ms {query} db.system.name=mysql \
             db.query.text=\"SELECT a FROM t WHERE id = ?\"\n      \
                   orders INTERNAL step {rest}\n\
             --- x5 every 500ms\n"
        )
    };
    let loop_and = |cause| caused(&[("n-plus-one-query", None), ("slow-dependency", cause)]);
    let of_rules = |text: &str| {
        let named = ["n-plus-one-query", "slow-dependency"];
        let mut causes = causes(text);
        causes.retain(|(rule, _)| named.contains(&rule.as_str()));
        causes
    };
    assert_eq!(
        of_rules(&requests("9ms x20/10ms", "208ms 4ms")),
        loop_and(Some("n-plus-one-query"))
    );
    assert_eq!(of_rules(&requests("4ms x7/5ms", "43ms 170ms")), loop_and(None));
}

/// Every rule that another one names is there.
#[test]
fn causes_are_rules() {
    let rules = RuleSet::embedded().unwrap();
    for rule in rules.rules() {
        for name in rule.manifest.symptom_of.iter().flat_map(|of| &of.rules) {
            assert!(rules.get(name).is_ok(), "{} names `{name}`", rule.name());
        }
    }
}
