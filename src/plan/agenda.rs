//! When something can be done for a domain again, between two sweeps.

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use super::backoff;
use crate::store::record::Record;

/// What there is of a domain's newest generation
#[derive(Clone, Copy, Debug)]
pub struct Newest {
    /// Its number
    pub number: u32,
    /// When it is renewed
    pub renewal: Timestamp,
}

/// The earliest instant at which a domain is worth a look; `None` where only a person, or a change
/// of its configuration, gives cause for one
///
/// `expires` is when the newest certificate ends, also where an order is due or has failed. Orders
/// that failed wait for the end of their back-off, whatever they were for. An instant that is past
/// says that something could be done already, and was not.
#[must_use]
pub fn next(
    record: &Record,
    newest: Option<Newest>,
    expires: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let failures = &record.order_failures;
    let order = match failures.refused {
        Some(_) => None,
        None => {
            let again = backoff::next_try(failures, expires, now);
            again.or_else(|| newest.map(|newest| newest.renewal))
        }
    };
    let deployment = backoff::next_try(&record.deploy_failures, None, now);
    let generation = newest.and_then(|newest| record.generations.get(&newest.number));
    let renewal = generation.and_then(|generation| generation.renewal.as_ref());
    let look = renewal.map(|renewal| together(renewal.next_look, now));
    [order, deployment, look].into_iter().flatten().min()
}

/// A look that is far off, put off to the next quarter of an hour
///
/// Certificates that were issued together then stay together: one wake-up and one session with
/// their CA for all of them.
fn together(look: Timestamp, now: Timestamp) -> Timestamp {
    if look.duration_since(now).as_secs() < FAR_OFF {
        return look;
    }
    let quarter = TimestampRound::new()
        .smallest(Unit::Minute)
        .increment(15)
        .mode(RoundMode::Ceil);
    look.round(quarter).unwrap_or(look)
}

/// Seconds from which on a quarter of an hour does not matter
const FAR_OFF: i64 = 3_600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::{Asked, Failures, GenerationRecord, Renewal};

    fn at(text: &str) -> Timestamp {
        format!("2027-01-{text}Z").parse().unwrap()
    }

    fn failed(count: u32, last: &str) -> Failures {
        Failures {
            count,
            last: Some(at(last)),
            ..Failures::default()
        }
    }

    /// A record whose first generation's CA is asked again at this instant
    fn asked_again(look: &str) -> Record {
        let generation = GenerationRecord {
            issuer: None,
            account: None,
            profile: None,
            issued_at: at("01T00:00:00"),
            proven_at: None,
            fingerprint: None,
            renewal: Some(Renewal {
                next_look: at(look),
                ..Renewal::default()
            }),
        };
        Record {
            generations: [(1, generation)].into(),
            ..Record::default()
        }
    }

    #[test]
    fn the_first_of_renewal_look_and_retry_is_next() {
        #[track_caller]
        fn check(record: &Record, renewal: Option<&str>, expected: Option<&str>) {
            let newest = renewal.map(|renewal| Newest {
                number: 1,
                renewal: at(renewal),
            });
            let next = next(record, newest, None, at("02T00:00:00"));
            assert_eq!(next, expected.map(at));
        }
        check(&Record::default(), None, None);
        let quiet = asked_again("02T06:01:00");
        check(&quiet, Some("03T00:00:00"), Some("02T06:15:00"));
        check(&quiet, Some("02T05:00:01"), Some("02T05:00:01"));
        let soon = asked_again("02T00:02:01");
        check(&soon, Some("03T00:00:00"), Some("02T00:02:01"));
        let mut failing = asked_again("02T06:00:00");
        failing.order_failures = failed(3, "01T23:00:00");
        check(&failing, Some("01T00:00:00"), Some("02T00:40:00"));
        failing.deploy_failures = failed(1, "01T23:59:30");
        check(&failing, Some("01T00:00:00"), Some("02T00:00:30"));
        let mut refused = Record::default();
        refused.order_failures = Failures {
            refused: Some(Asked {
                issuer: String::new(),
                profile: None,
                names: Vec::new(),
                key_type: String::new(),
                email: None,
                eab_kid: None,
                account: None,
            }),
            ..failed(1, "01T00:00:00")
        };
        check(&refused, None, None);
        check(&refused, Some("01T00:00:00"), None);
    }

    #[test]
    fn a_retry_comes_before_the_certificate_ends() {
        let failing = Record {
            order_failures: failed(4, "02T00:00:00"),
            ..Record::default()
        };
        let expires = Some(at("02T10:00:00"));
        let retry = next(&failing, None, expires, at("02T00:00:01"));
        assert_eq!(retry, Some(at("02T06:00:00")));
    }
}
