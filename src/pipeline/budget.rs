//! What the ledger says of an order that is about to be placed, in words.

use jiff::Timestamp;

use crate::finding::{Finding, chain_of_causes};
use crate::name::DnsName;
use crate::plan::budget::{Balance, Intent, Issuance, Usage};
use crate::report::check::EXHAUSTED;
use crate::store::ledger::{Spent, sorted};
use crate::store::record::RecordError;
use crate::time::{display, in_words};

/// An order that would be placed
pub(super) struct Planned<'p> {
    pub(super) account: Option<&'p str>,
    pub(super) names: &'p [DnsName],
    pub(super) issuance: Issuance,
}

impl Planned<'_> {
    /// How much of each limit is used that the order would count for
    pub(super) fn usage(&self, balance: &Balance, now: Timestamp) -> Vec<Usage> {
        let intent = Intent {
            account: self.account,
            names: &sorted(self.names),
            issuance: self.issuance,
        };
        balance.usage(intent, now)
    }

    /// Counts what the order will have spent if it succeeds
    pub(super) fn spend(&self, balance: &mut Balance, now: Timestamp) {
        let names = self.names;
        let spent = match self.issuance {
            Issuance::First => vec![Spent::order(names), Spent::certificate(names)],
            Issuance::Renewal => vec![Spent::renewal(names)],
        };
        let registration = self.account.is_none().then_some(Spent::Account);
        for spent in registration.into_iter().chain(spent) {
            balance.spend(self.account.unwrap_or_default(), &spent, now);
        }
    }
}

/// That the ledger cannot be read, so that nothing is foretold
pub(super) fn unknown(error: &RecordError) -> Finding {
    let cure = match error {
        RecordError::Damaged { path, .. } => {
            format!("move {} away: limits are counted anew then", path.display())
        }
        _ => "run certd as the owner of `state`, or as root".to_owned(),
    };
    Finding::warning("budget.unknown", chain_of_causes(error)).with_cure(cure)
}

/// That nothing is used of any limit
pub(super) fn unused(limits: usize) -> Finding {
    let evidence = format!("nothing is used of the CA's {limits} limits, by certd's own count");
    Finding::ok("budget.left", evidence)
}

/// What one limit's usage means
pub(super) fn finding(usage: &Usage, now: Timestamp) -> Finding {
    let limit = usage.limit;
    let of = match usage.of.as_str() {
        "" => String::new(),
        of => format!(" {of}"),
    };
    let period = in_words(limit.period);
    let evidence = format!(
        "{} of {} {}{of} are used in {period}, by certd's own count",
        usage.used, limit.most, limit.what
    );
    match usage.next {
        None if usage.used * 2 < limit.most => Finding::ok("budget.left", evidence),
        None => Finding::note("budget.used", evidence),
        Some(next) => Finding::warning(EXHAUSTED, evidence).with_cure(format!(
            "the next is free at {} (in {}); --skip-check budget asks the CA all the same",
            display(next),
            in_words(next.duration_since(now))
        )),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::finding::Severity;
    use crate::plan::budget::Limit;

    #[test]
    fn a_limit_is_told_of_by_what_is_left_of_it() {
        #[track_caller]
        fn check(used: u32, next: Option<&str>, code: &str, severity: Severity) {
            let now: Timestamp = "2027-03-01T12:00:00Z".parse().expect("a time");
            let usage = Usage {
                limit: Limit {
                    name: "failures",
                    what: "failed validations of the name",
                    most: 5,
                    period: SignedDuration::from_hours(1),
                },
                of: "shop.test".to_owned(),
                used,
                next: next.map(|next| next.parse().expect("a time")),
            };
            let found = finding(&usage, now);
            assert_eq!((found.code, found.severity), (code, severity));
            let evidence = format!(
                "{used} of 5 failed validations of the name shop.test are used in 60 min, by certd's own count"
            );
            assert_eq!(found.evidence, evidence);
            let cure = next.map(|_| {
                "the next is free at 2027-03-01 12:12 UTC (in 12 min); --skip-check budget asks the CA all the same"
            });
            assert_eq!(found.cure.as_deref(), cure);
        }
        check(0, None, "budget.left", Severity::Ok);
        check(2, None, "budget.left", Severity::Ok);
        check(3, None, "budget.used", Severity::Note);
        check(
            5,
            Some("2027-03-01T12:12:00Z"),
            EXHAUSTED,
            Severity::Warning,
        );
    }
}
