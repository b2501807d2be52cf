//! When the daemon looks at which domain, between its sweeps.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::name::DnsName;
use crate::plan::backoff;
use crate::report::{Outcome, Report, Verdict};

/// The next look at each domain that is worth one
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agenda {
    entries: BTreeMap<DnsName, Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Timestamp,
    /// Looks in a row that left something to be done at once
    tries: u32,
}

impl Agenda {
    /// Notes what a pass over some domains found, at the instant at which it ended
    ///
    /// A domain for which something could be done already, and was not (its CA is down, a container
    /// does not run), is tried after 1 and 10 minutes, then every 100: that costs no order, and a
    /// certificate that has expired meanwhile is mended soon after it can be.
    pub fn note(&mut self, report: &Report, now: Timestamp) {
        for domain in &report.domains {
            let Ok(name) = DnsName::parse(&domain.name) else {
                continue;
            };
            let is_well = domain.outcome.verdict() == Verdict::Well;
            match domain.next_at {
                // Whoever mends what is served is to see it soon.
                Some(at) if at > now && domain.outcome == Outcome::Drifted => {
                    self.try_later(name.clone(), now);
                    self.bring_forward(name, at);
                }
                Some(at) if at > now => self.set(name, at, 0),
                None if is_well => drop(self.entries.remove(&name)),
                _ => self.try_later(name, now),
            }
        }
    }

    /// Notes that a pass over these domains did not come about
    pub fn postpone(&mut self, domains: impl IntoIterator<Item = DnsName>, now: Timestamp) {
        for name in domains {
            self.try_later(name, now);
        }
    }

    /// Has a domain looked at at this instant, if none earlier is noted
    pub fn bring_forward(&mut self, name: DnsName, at: Timestamp) {
        let known = self.entries.get(&name).copied();
        if known.is_none_or(|known| at < known.at) {
            self.set(name, at, known.map_or(0, |known| known.tries));
        }
    }

    /// The domains whose look has come
    pub fn due(&self, now: Timestamp) -> Vec<DnsName> {
        let due = self.entries.iter().filter(|(_, entry)| entry.at <= now);
        due.map(|(name, _)| name.clone()).collect()
    }

    /// The first look of all, and whose it is
    pub fn next(&self) -> Option<(Timestamp, &DnsName)> {
        let all = self.entries.iter().map(|(name, entry)| (entry.at, name));
        all.min()
    }

    /// Forgets every domain but these
    pub fn keep(&mut self, is_known: impl Fn(&DnsName) -> bool) {
        self.entries.retain(|name, _| is_known(name));
    }

    fn set(&mut self, name: DnsName, at: Timestamp, tries: u32) {
        self.entries.insert(name, Entry { at, tries });
    }

    fn try_later(&mut self, name: DnsName, now: Timestamp) {
        let tries = self.entries.get(&name).map_or(0, |entry| entry.tries);
        let tries = tries.saturating_add(1);
        self.set(name, after_put_off(tries, now), tries);
    }
}

/// When it is tried again what was tried so often in a row, and did not come about
#[must_use]
pub fn after_put_off(passes: u32, now: Timestamp) -> Timestamp {
    let at = now.saturating_add(backoff::pause(passes.min(LAST_PAUSE)));
    at.unwrap_or(Timestamp::MAX)
}

/// When a container that starts now is looked at
///
/// `last` is the last such look at its target, past or to come; `None` before the first. One that
/// is to come shows this start too, so that a container that restarts in a loop neither causes looks
/// in a loop nor puts off the look at its end.
#[must_use]
pub fn after_start(last: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let later = |at: Timestamp, by| at.saturating_add(by).unwrap_or(at);
    let soon = later(now, SETTLING);
    match last {
        // By a clock that was ahead.
        Some(last) if last > later(soon, BETWEEN_LOOKS) => soon,
        Some(last) if last >= soon => last,
        Some(last) => later(last, BETWEEN_LOOKS).max(soon),
        None => soon,
    }
}

/// The pause that is the last one: 100 minutes
const LAST_PAUSE: u32 = 3;
/// Time between two looks at a target whose containers start again and again
const BETWEEN_LOOKS: SignedDuration = SignedDuration::from_mins(1);
/// Time that nginx needs to start
const SETTLING: SignedDuration = SignedDuration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::report::{DomainReport, SCHEMA_VERSION};

    const SHOP: &str = "rare-books.test";

    fn at(text: &str) -> Timestamp {
        format!("2027-01-{text}Z").parse().unwrap()
    }

    fn report(outcome: Outcome, next_at: Option<&str>) -> Report {
        Report {
            schema_version: SCHEMA_VERSION,
            command: "run",
            started: at("01T00:00:00"),
            elapsed: Duration::ZERO,
            ca_requests: 0,
            targets: Vec::new(),
            domains: vec![DomainReport {
                name: SHOP.to_owned(),
                names: vec![SHOP.to_owned()],
                outcome,
                summary: String::new(),
                generation: None,
                fingerprint: None,
                validity: None,
                renewal_at: None,
                next_at: next_at.map(at),
                stages: Vec::new(),
                findings: Vec::new(),
            }],
            orphans: Vec::new(),
        }
    }

    fn next(agenda: &Agenda) -> Option<Timestamp> {
        agenda.next().map(|(at, _)| at)
    }

    #[test]
    fn what_could_be_done_already_is_tried_with_growing_pauses() {
        let mut agenda = Agenda::default();
        let mut now = at("01T00:00:00");
        for (next_at, expected) in [
            (None, "01T00:01:00"),
            (Some("01T00:00:00"), "01T00:11:00"),
            (None, "01T01:51:00"),
            (None, "01T03:31:00"),
            (None, "01T05:11:00"),
        ] {
            assert_eq!(agenda.due(now).len(), usize::from(next(&agenda).is_some()));
            agenda.note(&report(Outcome::Failed, next_at), now);
            assert_eq!(next(&agenda), Some(at(expected)));
            now = at(expected);
        }
        // A success begins anew.
        agenda.note(&report(Outcome::Proven, Some("09T00:00:00")), now);
        assert_eq!(next(&agenda), Some(at("09T00:00:00")));
        assert!(agenda.due(now).is_empty());
        agenda.note(&report(Outcome::Later, None), at("09T00:00:00"));
        assert_eq!(next(&agenda), Some(at("09T00:01:00")));
    }

    #[test]
    fn a_domain_that_needs_nothing_has_no_entry() {
        let mut agenda = Agenda::default();
        agenda.note(
            &report(Outcome::Proven, Some("09T00:00:00")),
            at("01T00:00:00"),
        );
        agenda.note(&report(Outcome::Unchanged, None), at("01T00:00:00"));
        assert_eq!(agenda, Agenda::default());
    }

    #[test]
    fn an_instant_is_brought_forward_and_never_put_off() {
        let shop = || DnsName::parse(SHOP).unwrap();
        let mut agenda = Agenda::default();
        agenda.bring_forward(shop(), at("02T00:00:00"));
        agenda.bring_forward(shop(), at("03T00:00:00"));
        assert_eq!(next(&agenda), Some(at("02T00:00:00")));
        agenda.bring_forward(shop(), at("01T00:00:00"));
        assert_eq!(agenda.due(at("01T00:00:00")), [shop()]);
        agenda.postpone([shop()], at("01T00:00:00"));
        assert_eq!(next(&agenda), Some(at("01T00:01:00")));
        agenda.keep(|_| false);
        assert_eq!(agenda.next(), None);
    }
    #[test]
    fn a_container_that_restarts_in_a_loop_is_looked_at_once_a_minute_and_at_its_end() {
        let mut last = None;
        let mut looks = BTreeSet::new();
        for second in 0..600 {
            let now = later(second);
            let look = after_start(last, now);
            assert!(look >= later(second + 2) && look <= later(second + 62));
            looks.insert(look);
            last = Some(look);
        }
        let expected = (0..=10).map(|minute| later(60 * minute + 2));
        assert_eq!(looks, expected.collect());
        // The next start, long after.
        assert_eq!(after_start(last, later(9_000)), later(9_002));
        // A clock that was ahead by an hour.
        assert_eq!(after_start(Some(later(3_600)), later(0)), later(2));
    }

    fn later(seconds: i64) -> Timestamp {
        at("01T00:00:00") + SignedDuration::from_secs(seconds)
    }
}
