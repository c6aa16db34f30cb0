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

/// Returns the causes of what is found of slow dependencies.
fn causes_of_dependencies(text: &str) -> Vec<Option<String>> {
    let causes = causes(text).into_iter();
    causes.filter(|(rule, _)| rule == "slow-dependency").map(|(_, cause)| cause).collect()
}

const LOOP: &str = "db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = ?\"";

/// Scenario: a request waits for one service, and then calls another, which sends a query a row.
/// Guarantee: that is no cause of the first one's slowness.
#[test]
fn a_loop_beside_a_slow_service_is_not_its_cause() {
    let text = format!(
        "gateway SERVER GET/page 0ms 595ms\n  \
           gateway CLIENT GET 2ms 352ms http.request.method=GET url.full=http://inventory/i\n    \
             inventory SERVER GET/i 4ms 348ms http.request.method=GET\n  \
           gateway CLIENT GET 360ms 230ms http.request.method=GET url.full=http://orders/o\n    \
             orders SERVER GET/o 362ms 226ms http.request.method=GET\n      \
               orders CLIENT SELECT 366ms 9ms x20/10ms {LOOP}\n\
         --- x5 every 1s\n"
    );
    assert_eq!(causes_of_dependencies(&text), [None]);
}

/// Scenario: a request sends a query a row, and then calls a service that waits for one which
/// records no spans.
/// Guarantee: the loop above explains nothing of that.
#[test]
fn a_loop_in_the_caller_is_not_the_cause() {
    let text = format!(
        "gateway SERVER GET/page 0ms 500ms\n  \
           gateway CLIENT SELECT 2ms 9ms x25/10ms {LOOP}\n  \
           gateway CLIENT GET 255ms 243ms http.request.method=GET url.full=http://orders/o\n    \
             orders SERVER GET/o 256ms 241ms http.request.method=GET\n      \
               orders CLIENT POST 257ms 239ms http.request.method=POST \
         url.full=https://api.payment.example/pay\n\
         --- x5 every 1s\n"
    );
    let causes = causes_of_dependencies(&text);
    assert!(!causes.is_empty());
    assert!(causes.iter().all(Option::is_none), "{causes:?}");
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
