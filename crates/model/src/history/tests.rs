//! A history told period by period, and told again from its rows.

use super::*;
use crate::{Confidence, Evidence, Muted, Remediation, Severity};

const MINUTE: i64 = 60 * NANOS_PER_SECOND;
const QUARTER: i64 = 15 * MINUTE;

fn period(number: i64) -> Period {
    Period { start_unix_nano: number * QUARTER, end_unix_nano: (number + 1) * QUARTER }
}

/// Found in 31 of 40 traces in the middle of a period.
pub(crate) fn found(id: &str, number: i64) -> Finding {
    let time = number * QUARTER + 7 * MINUTE;
    Finding {
        finding_id: id.to_owned(),
        rule: "a-rule".to_owned(),
        severity: Severity::Warning,
        service_name: "checkout".to_owned(),
        endpoint: "GET /cart".to_owned(),
        subject: "redis GET".to_owned(),
        title: "25 reads in one request".to_owned(),
        message: "It reads 25 times.".to_owned(),
        window_start_unix_nano: time - QUARTER,
        window_end_unix_nano: time,
        traces_affected: 31,
        traces_seen: 40,
        occurrences: 775,
        wasted_nanos: 2_325_000_000,
        wasted_nanos_estimated: Some(9_300_000_000),
        wasted_share: Some(0.18),
        confidence: Confidence::Certain,
        confidence_reason: "the keys differ".to_owned(),
        evidence: Evidence::default(),
        remediation: Remediation::default(),
        caused_by: None,
        first_seen_unix_nano: time - MINUTE,
        last_seen_unix_nano: time,
        service_versions: vec!["1.2".to_owned()],
        status: Status::New,
    }
}

fn traffic(traces: u64) -> Traffic {
    Traffic {
        traces: [(("checkout".to_owned(), "GET /cart".to_owned()), traces)].into(),
        rules: ["a-rule".to_owned()].into(),
        undecided: [].into(),
    }
}

/// *Guarantee*: what is found now is told as the periods before say.
#[test]
fn findings_are_told_how_they_stand() {
    let (history, _) = check(&[(40, true), (4000, false)], &["new", "resolved"]);
    let mut findings = [found("a", 5), found("b", 5)];
    let window = findings[0].window_start_unix_nano;
    let first = found("a", 0).first_seen_unix_nano;
    history.tell(&mut findings);
    assert_eq!(findings[0].status, Status::Regressed);
    assert_eq!(
        (findings[0].first_seen_unix_nano, findings[0].window_start_unix_nano),
        (first, window)
    );
    assert_eq!(findings[1], found("b", 5));
}

/// Closes a period for each pair of the traces seen and whether the finding was found, from period
/// 0 on; the words say what was told of it.
fn check(periods: &[(u64, bool)], expected: &[&str]) -> (History, Vec<Finding>) {
    let mut history = History::default();
    let mut told = Vec::new();
    let mut rows = Vec::new();
    for (number, (traces, is_found)) in (0..).zip(periods) {
        let findings = if *is_found { vec![found("a", number)] } else { Vec::new() };
        let new_rows = history.close(period(number), &findings, &traffic(*traces));
        told.push(new_rows.first().map_or("-", |row| row.status.as_str()));
        rows.extend(new_rows);
    }
    assert_eq!(told, expected, "{periods:?}");
    (history, rows)
}

#[test]
fn a_finding_is_new_once_and_ongoing_as_long_as_it_is_found() {
    let (_, rows) = check(&[(40, true), (40, true), (0, true)], &["new", "ongoing", "ongoing"]);
    let first_seen = found("a", 0).first_seen_unix_nano;
    for (number, row) in (0..).zip(&rows) {
        let status = row.status;
        let expected = Finding {
            window_start_unix_nano: period(number).start_unix_nano,
            window_end_unix_nano: period(number).end_unix_nano,
            first_seen_unix_nano: first_seen,
            status,
            ..found("a", number)
        };
        assert_eq!(*row, expected);
    }
}

#[test]
fn a_finding_is_resolved_when_enough_traces_lack_it() {
    check(&[(40, true), (4, false)], &["new", "resolved"]);
    check(&[(40, true), (3, false)], &["new", "not_seen"]);
    check(&[(40, true), (0, false)], &["new", "not_seen"]);
}

#[test]
fn what_is_resolved_is_told_once_and_regressed_when_it_is_back() {
    let periods = [(40, true), (40, false), (40, false), (40, true), (40, true)];
    check(&periods, &["new", "resolved", "-", "regressed", "ongoing"]);
}

#[test]
fn traces_that_lack_it_add_up_over_periods_until_it_is_seen() {
    let quiet = (1, false);
    let told = ["new", "not_seen", "-", "-", "resolved"];
    check(&[(40, true), quiet, quiet, quiet, quiet], &told);
    let told = ["new", "not_seen", "-", "ongoing", "not_seen", "-"];
    check(&[(40, true), quiet, quiet, (40, true), quiet, quiet], &told);
}

#[test]
fn a_row_without_the_finding_has_its_words_and_no_numbers() {
    let (_, rows) = check(&[(40, true), (2, false), (3, false)], &["new", "not_seen", "resolved"]);
    for (number, traces_seen, status) in [(1, 2, Status::NotSeen), (2, 5, Status::Resolved)] {
        let expected = Finding {
            window_start_unix_nano: period(number).start_unix_nano,
            window_end_unix_nano: period(number).end_unix_nano,
            traces_affected: 0,
            traces_seen,
            occurrences: 0,
            wasted_nanos: 0,
            wasted_nanos_estimated: Some(0),
            wasted_share: Some(0.0),
            status,
            ..found("a", 0)
        };
        assert_eq!(rows[number as usize], expected);
    }
}

#[test]
fn what_is_not_known_of_a_finding_stays_unknown_without_it() {
    let of_unknown =
        |number| Finding { wasted_nanos_estimated: None, wasted_share: None, ..found("a", number) };
    let mut history = History::default();
    history.close(period(0), &[of_unknown(0)], &traffic(40));
    let rows = history.close(period(1), &[], &traffic(40));
    assert_eq!((rows[0].wasted_nanos_estimated, rows[0].wasted_share), (None, None));
}

/// Scenario: a finding is not found, by a rule that was not run, that could not tell of its
/// endpoint, or in traces of another endpoint.
/// Guarantee: it is not called resolved.
#[test]
fn traces_that_nobody_judged_resolve_nothing() {
    let text = str::to_owned;
    let undecided = (text("a-rule"), text("checkout"), text("GET /cart"));
    let elsewhere = (text("checkout"), text("GET /item"));
    for unjudged in [
        Traffic { rules: [].into(), ..traffic(1_000) },
        Traffic { undecided: [undecided].into(), ..traffic(1_000) },
        Traffic { traces: [(elsewhere, 1_000)].into(), ..traffic(0) },
    ] {
        let mut history = History::default();
        history.close(period(0), &[found("a", 0)], &traffic(40));
        let rows = history.close(period(1), &[], &unjudged);
        assert_eq!((rows[0].status, rows[0].traces_seen), (Status::NotSeen, 0), "{unjudged:?}");
    }
}

#[test]
fn a_finding_is_muted_as_long_as_it_comes_muted() {
    let muted = |number| {
        let evidence = Evidence { muted: Some(Muted::BySpans), ..Evidence::default() };
        Finding { status: Status::Muted, evidence, ..found("a", number) }
    };
    let mut history = History::default();
    let mut told = Vec::new();
    for (number, finding) in [
        (0, Some(muted(0))),
        (1, Some(muted(1))),
        (2, Some(found("a", 2))),
        (3, None),
        (4, Some(muted(4))),
        (5, None),
    ] {
        let rows = history.close(period(number), finding.as_slice(), &traffic(40));
        told.push(rows[0].status.as_str());
        assert_eq!(rows[0].evidence.muted.is_some(), rows[0].status == Status::Muted);
    }
    assert_eq!(told, ["muted", "muted", "ongoing", "resolved", "muted", "resolved"]);
}

#[test]
fn a_period_is_closed_once_and_an_earlier_one_never() {
    let (mut history, _) = check(&[(40, true), (40, true)], &["new", "ongoing"]);
    assert_eq!(history.closed_until_unix_nano(), Some(period(1).end_unix_nano));
    for number in [1, 0, -1] {
        assert_eq!(history.close(period(number), &[], &traffic(40)), []);
        assert_eq!(history.close(period(number), &[found("b", 1)], &traffic(40)), []);
    }
    let rows = history.close(period(2), &[found("a", 2)], &traffic(40));
    assert_eq!(rows[0].status, Status::Ongoing);
}

#[test]
fn rows_are_told_by_id() {
    let mut history = History::default();
    let ids = |rows: Vec<Finding>| rows.into_iter().map(|row| row.finding_id).collect::<Vec<_>>();
    let findings = ["c", "a", "d"].map(|id| found(id, 0));
    assert_eq!(ids(history.close(period(0), &findings, &traffic(40))), ["a", "c", "d"]);
    let findings = ["d", "b"].map(|id| found(id, 1));
    assert_eq!(ids(history.close(period(1), &findings, &traffic(40))), ["a", "b", "c", "d"]);
}

#[test]
fn of_two_findings_with_one_id_the_dearer_is_told() {
    let cheap = Finding { wasted_nanos: 1, ..found("a", 0) };
    for findings in [[cheap.clone(), found("a", 0)], [found("a", 0), cheap.clone()]] {
        let rows = History::default().close(period(0), &findings, &traffic(40));
        assert_eq!((rows.len(), rows[0].wasted_nanos), (1, 2_325_000_000));
    }
}

#[test]
fn a_time_that_ends_before_it_starts_is_its_end() {
    let backwards = Finding { first_seen_unix_nano: i64::MAX, ..found("a", 0) };
    let last = backwards.last_seen_unix_nano;
    let rows = History::default().close(period(0), &[backwards], &traffic(40));
    assert_eq!((rows[0].first_seen_unix_nano, rows[0].last_seen_unix_nano), (last, last));
}

/// Scenario: the process ends after any period; the next one reads all rows, newest or oldest
/// first, or only those that [`History::new`] asks for.
/// Guarantee: it goes on as the first one would have, but for traces after a `not_seen` row.
#[test]
fn stored_rows_tell_the_same_history() {
    let periods = [(40, true), (1, false), (40, true), (40, false), (40, true), (40, false)];
    let told = ["new", "not_seen", "ongoing", "resolved", "regressed", "resolved"];
    for end in 0..=periods.len() {
        let (history, rows) = check(&periods[..end], &told[..end]);
        let latest_seen = rows.iter().rfind(|row| row.status.is_seen());
        let needed = rows.last().into_iter().chain(latest_seen);
        for stored in
            [rows.clone(), rows.iter().rev().cloned().collect(), needed.cloned().collect()]
        {
            let again = History::new(stored);
            assert_eq!(again.closed_until_unix_nano(), history.closed_until_unix_nano());
            let next = |mut history: History, findings: &[Finding]| {
                history.close(period(end as i64), findings, &traffic(3))
            };
            let finding = found("a", end as i64);
            assert_eq!(
                next(again.clone(), std::slice::from_ref(&finding)),
                next(history.clone(), std::slice::from_ref(&finding)),
            );
            assert_eq!(next(again, &[]), next(history.clone(), &[]));
        }
    }
}

#[test]
fn without_a_row_in_which_it_was_seen_a_finding_is_never_resolved() {
    let (_, rows) = check(&[(40, true), (1, false)], &["new", "not_seen"]);
    let mut history = History::new(rows.into_iter().skip(1));
    assert_eq!(history.close(period(2), &[], &traffic(u64::MAX)), []);
    let rows = history.close(period(3), &[found("a", 3)], &traffic(40));
    assert_eq!(rows[0].status, Status::Ongoing);
}

/// Scenario: a finding comes back when its last row is as old as it may be, or a period older.
/// Guarantee: it regressed in the one case, and is new in the other; likewise after a restart.
#[test]
fn a_finding_without_rows_for_long_is_forgotten() {
    let kept = FORGOTTEN_AFTER_NANOS / QUARTER;
    for (periods, status) in [(kept, Status::Regressed), (kept + 1, Status::New)] {
        let (mut history, mut rows) = check(&[(40, true), (40, false)], &["new", "resolved"]);
        let last = 1 + periods;
        rows.extend(history.close(period(last), &[found("b", last)], &traffic(40)));
        for mut history in [history, History::new(rows)] {
            let rows = history.close(period(last + 1), &[found("a", last + 1)], &traffic(40));
            assert_eq!(rows[0].status, status);
        }
    }
}

#[test]
fn the_longest_resolved_are_dropped_first() {
    let row = |id: &str, number: i64, status| {
        let window_end_unix_nano = period(number).end_unix_nano;
        let row = Finding { window_end_unix_nano, status, ..found(id, number) };
        (id.to_owned(), Known::new(row))
    };
    let known = BTreeMap::from([
        row("a", 2, Status::Ongoing),
        row("b", 0, Status::NotSeen),
        row("c", 1, Status::Resolved),
        row("d", 0, Status::Resolved),
        row("e", 0, Status::Resolved),
        row("f", 1, Status::New),
    ]);
    let dropped = ["d", "e", "c", "b", "f", "a"];
    for count in 0..=dropped.len() {
        let mut known = known.clone();
        shrink(&mut known, dropped.len() - count);
        let mut kept = dropped[count..].to_vec();
        kept.sort_unstable();
        assert_eq!(known.keys().collect::<Vec<_>>(), kept);
    }
}

#[test]
fn no_more_findings_than_the_limit_are_remembered() {
    let ids = |from, to| (from..to).map(|number: usize| format!("{number:08}"));
    let findings: Vec<_> = ids(0, FINDINGS_MAX + 2).map(|id| found(&id, 0)).collect();
    let mut history = History::default();
    let rows = history.close(period(0), &findings, &traffic(40));
    assert_eq!(rows.len(), FINDINGS_MAX + 2, "all are told");
    let expected: Vec<_> = ids(2, FINDINGS_MAX + 2).collect();
    assert!(history.known.keys().eq(&expected));

    let again = History::new(rows.into_iter().rev());
    assert!(again.known.keys().eq(&expected), "those that came first");
}
