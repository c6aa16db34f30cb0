//! What holds of any history: how a finding goes from status to status, what its rows say, and that
//! neither order nor repetition nor a restart changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;

use proptest::prelude::*;
use timesink_model::{
    Confidence, Evidence, Finding, History, Period, Remediation, Severity, Status, Traffic,
};

const ENDPOINTS: [&str; 2] = ["GET /cart", "GET /item"];
const FINDINGS: usize = 5;

/// One period: what was found, and the traces of each endpoint.
#[derive(Debug, Clone)]
struct Step {
    findings: Vec<Finding>,
    traces: [u64; 2],
    is_rule_run: bool,
}

fn any_finding() -> impl Strategy<Value = Finding> {
    let counts = (0..30_i64, 0..30_i64);
    let times = (-1000..1000_i64, -1000..1000_i64);
    (0..FINDINGS, counts, times, prop::bool::weighted(0.1)).prop_map(
        |(number, (affected, more), (first, last), is_muted)| Finding {
            finding_id: number.to_string(),
            rule: "a-rule".to_owned(),
            severity: Severity::Warning,
            service_name: "checkout".to_owned(),
            endpoint: ENDPOINTS[number % 2].to_owned(),
            subject: format!("subject {number}"),
            title: format!("title {number} {affected}"),
            message: String::new(),
            window_start_unix_nano: 0,
            window_end_unix_nano: 0,
            traces_affected: affected,
            traces_seen: affected + more,
            occurrences: affected * 2,
            wasted_nanos: affected * 3,
            wasted_nanos_estimated: (more > 10).then_some(affected * 4),
            wasted_share: (more > 20).then_some(0.5),
            confidence: Confidence::Certain,
            confidence_reason: String::new(),
            evidence: Evidence::default(),
            remediation: Remediation::default(),
            caused_by: None,
            first_seen_unix_nano: first,
            last_seen_unix_nano: last,
            service_versions: Vec::new(),
            status: if is_muted { Status::Muted } else { Status::New },
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let traces =
        || prop_oneof![3 => Just(0_u64), 3 => 1..5_u64, 2 => 5..100_u64, 1 => any::<u64>()];
    let findings = prop::collection::vec(any_finding(), 0..4).prop_map(|mut findings| {
        findings.sort_by(|a, b| a.finding_id.cmp(&b.finding_id));
        findings.dedup_by(|a, b| a.finding_id == b.finding_id);
        findings
    });
    (findings, traces(), traces(), prop::bool::weighted(0.9)).prop_map(
        |(findings, cart, item, is_rule_run)| Step { findings, traces: [cart, item], is_rule_run },
    )
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any_step(), 1..25)
}

fn period(number: usize) -> Period {
    let quarter = NonZeroU32::new(900).expect("it is not zero");
    Period::containing(number as i64 * 900_000_000_000, quarter)
}

impl Step {
    fn traffic(&self) -> Traffic {
        let of = |at: usize| ("checkout".to_owned(), ENDPOINTS[at].to_owned());
        Traffic {
            traces: (0..2).map(|at| (of(at), self.traces[at])).collect(),
            rules: self.is_rule_run.then(|| "a-rule".to_owned()).into_iter().collect(),
            undecided: [].into(),
        }
    }

    fn judged(&self, finding: &Finding) -> u64 {
        let at = usize::from(finding.endpoint == ENDPOINTS[1]);
        if self.is_rule_run { self.traces[at] } else { 0 }
    }

    fn close(&self, history: &mut History, number: usize) -> Vec<Finding> {
        history.close(period(number), &self.findings, &self.traffic())
    }
}

/// Tells a history; returns the rows of each period.
fn told(steps: &[Step]) -> Vec<Vec<Finding>> {
    let mut history = History::default();
    steps.iter().enumerate().map(|(number, step)| step.close(&mut history, number)).collect()
}

/// Returns whether a row of the second status may follow one of the first.
fn may_follow(before: Option<Status>, after: Status) -> bool {
    use Status::{Muted, New, NotSeen, Ongoing, Regressed, Resolved};
    match before {
        None => matches!(after, New | Muted),
        Some(New | Ongoing | Regressed | Muted) => {
            matches!(after, Ongoing | Resolved | NotSeen | Muted)
        }
        Some(NotSeen) => matches!(after, Ongoing | Resolved | Muted),
        Some(Resolved) => matches!(after, Regressed | Muted),
    }
}

proptest! {
    #[test]
    fn statuses_follow_each_other_as_allowed(steps in any_steps()) {
        let mut before: BTreeMap<String, Status> = BTreeMap::new();
        for (step, rows) in steps.iter().zip(told(&steps)) {
            let found: BTreeSet<&str> = step.findings.iter().map(|f| &*f.finding_id).collect();
            let seen = rows.iter().filter(|row| row.status.is_seen());
            let seen: BTreeSet<&str> = seen.map(|row| &*row.finding_id).collect();
            prop_assert_eq!(found, seen, "what is found is told, and nothing else is seen");
            prop_assert!(rows.is_sorted_by(|a, b| a.finding_id < b.finding_id));
            for row in rows {
                let last = before.insert(row.finding_id, row.status);
                prop_assert!(may_follow(last, row.status), "{last:?}, then {:?}", row.status);
            }
        }
    }

    /// Guarantee: rows without a finding carry no numbers but the traces that lack it, and no
    /// finding is resolved without any.
    #[test]
    fn unseen_rows_count_the_traces_since_it_was_seen(steps in any_steps()) {
        let mut seen: BTreeMap<String, (Finding, u64)> = BTreeMap::new();
        for (number, (step, rows)) in steps.iter().zip(told(&steps)).enumerate() {
            for (row, traces) in seen.values_mut() {
                *traces = traces.saturating_add(step.judged(row));
            }
            for row in rows {
                prop_assert_eq!(row.window_start_unix_nano, period(number).start_unix_nano);
                prop_assert_eq!(row.window_end_unix_nano, period(number).end_unix_nano);
                if row.status.is_seen() {
                    seen.insert(row.finding_id.clone(), (row, 0));
                    continue;
                }
                let (last, traces) = &seen[&row.finding_id];
                let traces_seen = i64::try_from(*traces).unwrap_or(i64::MAX);
                let expected = Finding {
                    window_start_unix_nano: row.window_start_unix_nano,
                    window_end_unix_nano: row.window_end_unix_nano,
                    traces_affected: 0,
                    traces_seen,
                    occurrences: 0,
                    wasted_nanos: 0,
                    wasted_nanos_estimated: last.wasted_nanos_estimated.map(|_| 0),
                    wasted_share: last.wasted_share.map(|_| 0.0),
                    status: row.status,
                    ..last.clone()
                };
                prop_assert!(row.status != Status::Resolved || *traces > 0);
                prop_assert_eq!(row, expected);
            }
        }
    }

    #[test]
    fn a_finding_is_seen_ever_longer(steps in any_steps()) {
        let mut times: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for row in told(&steps).into_iter().flatten() {
            let (first, last) = (row.first_seen_unix_nano, row.last_seen_unix_nano);
            prop_assert!(first <= last);
            if let Some(before) = times.insert(row.finding_id, (first, last)) {
                prop_assert!(first <= before.0 && before.1 <= last);
            }
        }
    }

    #[test]
    fn the_order_of_findings_does_not_matter(
        (steps, shuffled) in any_steps().prop_flat_map(|steps| {
            let shuffled: Vec<_> = steps.iter().cloned().map(|step| {
                let findings = Just(step.findings.clone()).prop_shuffle();
                findings.prop_map(move |findings| Step { findings, ..step.clone() })
            }).collect();
            (Just(steps), shuffled)
        }),
    ) {
        prop_assert_eq!(told(&steps), told(&shuffled));
    }

    /// Scenario: periods are closed again, right away or later, with whatever was found.
    /// Guarantee: they make no rows, and those of later periods are the same.
    #[test]
    fn a_closed_period_stays_closed(steps in any_steps(), again in any_steps()) {
        let mut history = History::default();
        for (number, (step, rows)) in steps.iter().zip(told(&steps)).enumerate() {
            prop_assert_eq!(step.close(&mut history, number), rows);
            for (earlier, step) in again.iter().enumerate().take(number + 1) {
                prop_assert_eq!(step.close(&mut history, number - earlier), []);
            }
        }
    }

    /// Scenario: the process starts again before any period, from all rows, twice and in any order.
    /// Guarantee: the period is told the same, but a finding whose last row says `not_seen` may be
    /// resolved later: what came after that row is not stored.
    #[test]
    fn a_restart_resolves_nothing_earlier(steps in any_steps(), seed: u64) {
        let all = told(&steps);
        for (number, step) in steps.iter().enumerate() {
            let earlier = all[..number].concat();
            let mut stored = [earlier.clone(), earlier.clone()].concat();
            shuffle(&mut stored, seed);
            let rows = step.close(&mut History::new(stored), number);

            let last: BTreeMap<&str, Status> =
                earlier.iter().map(|row| (&*row.finding_id, row.status)).collect();
            let (quiet, others): (Vec<&Finding>, _) = all[number].iter().partition(|row| {
                last.get(&*row.finding_id) == Some(&Status::NotSeen) && !row.status.is_seen()
            });
            let (late, same): (Vec<&Finding>, Vec<_>) =
                rows.iter().partition(|row| quiet.iter().any(|q| q.finding_id == row.finding_id));
            prop_assert_eq!(same, others);
            for row in late {
                let told = quiet.iter().find(|told| told.finding_id == row.finding_id);
                let fewer = told.is_some_and(|told| row.traces_seen <= told.traces_seen);
                prop_assert!(row.status == Status::Resolved && fewer, "{row:?}");
            }
        }
    }
}

/// Shuffles by a hash, so that a failing case can be run again.
fn shuffle(rows: &mut [Finding], seed: u64) {
    rows.sort_by_cached_key(|row| {
        let mut hasher = DefaultHasher::new();
        (seed, &row.finding_id, row.window_end_unix_nano).hash(&mut hasher);
        hasher.finish()
    });
}
