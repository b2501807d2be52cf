use proptest::option;
use proptest::prelude::*;

use super::*;

const NOW: &str = "2027-03-01T00:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn window(start: &str, end: &str) -> Window {
    Window {
        start: at(start),
        end: at(end),
    }
}

fn suggestion(window: Window, retry_after: u64) -> Suggestion {
    Suggestion {
        window,
        explanation: None,
        retry_after: Duration::from_secs(retry_after),
    }
}

/// Ninety days from the beginning of the year
fn quarter() -> Validity {
    Validity {
        not_before: at("2027-01-01T00:00:00Z"),
        not_after: at("2027-04-01T00:00:00Z"),
    }
}

const THIRD: Fraction = Fraction::new(1, 3);

#[test]
fn an_instant_is_chosen_once_for_a_window() {
    let now = at(NOW);
    let first = window("2027-03-02T00:00:00Z", "2027-03-04T00:00:00Z");
    let kept = remember(None, Ok(suggestion(first, 21_600)), 0.25, now);
    assert_eq!(kept.window, Some(first));
    assert_eq!(kept.instant, Some(at("2027-03-02T12:00:00Z")));
    assert_eq!(kept.next_look, at("2027-03-01T06:00:00Z"));
    // Asked again, it is the same window: the instant stays.
    let again = remember(Some(&kept), Ok(suggestion(first, 21_600)), 0.75, now);
    assert_eq!(again.instant, kept.instant);
    let moved = window("2027-02-01T00:00:00Z", "2027-02-02T00:00:00Z");
    let moved = remember(Some(&kept), Ok(suggestion(moved, 21_600)), 0.5, now);
    assert_eq!(moved.instant, Some(at("2027-02-01T12:00:00Z")));
}

#[test]
fn a_ca_is_asked_again_within_bounds() {
    #[track_caller]
    fn check(failures: u32, answer: Result<Suggestion, NoSuggestion>, seconds: u64) {
        let known = Renewal {
            failures,
            ..Renewal::default()
        };
        let kept = remember(Some(&known), answer, 0.5, at(NOW));
        let expected = at(NOW) + Duration::from_secs(seconds);
        assert_eq!(kept.next_look, expected);
    }
    let first = || window("2027-03-02T00:00:00Z", "2027-03-04T00:00:00Z");
    check(0, Ok(suggestion(first(), 0)), 60);
    check(3, Ok(suggestion(first(), 3_600)), 3_600);
    check(0, Ok(suggestion(first(), u64::MAX)), 86_400);
    check(0, Err(NoSuggestion::ForNow), 60);
    check(1, Err(NoSuggestion::ForNow), 120);
    check(5, Err(NoSuggestion::ForNow), 1_920);
    check(u32::MAX, Err(NoSuggestion::ForNow), 21_600);
    check(0, Err(NoSuggestion::LongTerm), 21_600);
    // A window without an instant in it is no answer.
    let empty = window("2027-03-02T00:00:00Z", "2027-03-02T00:00:00Z");
    check(0, Ok(suggestion(empty, 60)), 21_600);
    let reversed = window("2027-03-04T00:00:00Z", "2027-03-02T00:00:00Z");
    check(0, Ok(suggestion(reversed, 60)), 21_600);
}

#[test]
fn a_look_that_a_wrong_clock_noted_silences_nobody() {
    let known = |next_look: &str| Renewal {
        next_look: at(next_look),
        ..Renewal::default()
    };
    let may_ask = |next_look: &str| may_ask(Some(&known(next_look)), at(NOW));
    assert!(super::may_ask(None, at(NOW)));
    assert!(may_ask("2027-02-28T00:00:00Z"));
    assert!(!may_ask("2027-03-01T06:00:00Z"));
    assert!(!may_ask("2027-03-02T00:00:00Z"));
    assert!(may_ask("2030-01-01T00:00:00Z"));
}

#[test]
fn no_answer_leaves_what_is_known() {
    let known = Renewal {
        window: Some(window("2027-03-02T00:00:00Z", "2027-03-04T00:00:00Z")),
        instant: Some(at("2027-03-03T00:00:00Z")),
        ..Renewal::default()
    };
    for reason in [NoSuggestion::ForNow, NoSuggestion::LongTerm] {
        let kept = remember(Some(&known), Err(reason), 0.5, at(NOW));
        assert_eq!((kept.window, kept.instant), (known.window, known.instant));
        assert_eq!(kept.failures, 1);
    }
}

#[test]
fn a_window_decides_unless_too_little_life_would_be_left() {
    let moment = |instant: &str| {
        let renewal = Renewal {
            window: Some(window("2027-01-01T00:00:00Z", "2027-12-31T00:00:00Z")),
            instant: Some(at(instant)),
            ..Renewal::default()
        };
        moment(Some(&renewal), &quarter(), THIRD, 7)
    };
    let asked = moment("2027-02-01T00:00:00Z");
    assert!(matches!(asked, Moment::Suggested { .. }));
    assert_eq!(asked.at(), at("2027-02-01T00:00:00Z"));
    // Later than a third of the life, and not too late.
    let late = moment("2027-03-10T00:00:00Z");
    assert!(matches!(late, Moment::Suggested { .. }));
    let wrong = moment("2027-06-01T00:00:00Z");
    let emergency = at("2027-03-17T00:00:00Z");
    assert_eq!(wrong, Moment::Emergency { at: emergency });
}

#[test]
fn a_renewal_whose_instant_would_pass_between_two_looks_is_made_now() {
    let asked = Moment::Suggested {
        window: window("2027-03-01T00:00:00Z", "2027-03-02T00:00:00Z"),
        at: at("2027-03-01T12:00:00Z"),
    };
    let come = |now: &str, next: Option<&str>| asked.has_come(at(now), next.map(at));
    assert!(!come("2027-03-01T03:00:00Z", None));
    assert!(come("2027-03-01T12:00:00Z", None));
    assert!(!come("2027-03-01T03:00:00Z", Some("2027-03-01T09:00:00Z")));
    assert!(come("2027-03-01T03:00:00Z", Some("2027-03-01T15:00:00Z")));
    // Before the window it would count for the CA's limits.
    assert!(!come("2027-02-28T15:00:00Z", Some("2027-03-01T15:00:00Z")));
    let own = Moment::Lifetime {
        at: at("2027-03-01T12:00:00Z"),
    };
    assert!(!own.has_come(at("2027-03-01T03:00:00Z"), Some(at("2027-03-01T15:00:00Z"))));
}

#[test]
fn without_a_window_a_part_of_the_life_is_left_and_domains_are_spread() {
    let moment = |validity: &Validity, seed| moment(None, validity, THIRD, seed).at();
    let third = at("2027-03-02T00:00:00Z");
    assert_eq!(moment(&quarter(), 0), third);
    // Two parts in a hundred of the life, at most.
    let last = moment(&quarter(), 999);
    assert!(last > third && last <= at("2027-03-03T19:12:00Z"), "{last}");
    assert_eq!(moment(&quarter(), 999), last);
    let week = Validity {
        not_before: at("2027-01-01T00:00:00Z"),
        not_after: at("2027-01-07T16:00:00Z"),
    };
    assert_eq!(moment(&week, 0), at("2027-01-04T08:00:00Z"));
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    let seconds = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
    seconds.prop_map(|second| Timestamp::from_second(second).expect("within bounds"))
}

fn any_answer() -> impl Strategy<Value = Result<Suggestion, NoSuggestion>> {
    prop_oneof![
        4 => (any_time(), any_time(), any::<u64>()).prop_map(|(start, end, retry_after)| {
            Ok(suggestion(Window { start, end }, retry_after))
        }),
        1 => Just(Err(NoSuggestion::ForNow)),
        1 => Just(Err(NoSuggestion::LongTerm)),
    ]
}

proptest! {
    #[test]
    fn an_instant_lies_in_its_window_and_no_window_outlasts_the_certificate(
        answers in proptest::collection::vec(any_answer(), 1..8),
        chance in 0.0..1.0_f64,
        now in any_time(),
        seed in any::<u64>(),
        known in option::of(Just(Renewal::default())),
    ) {
        let mut renewal = known;
        for answer in answers {
            renewal = Some(remember(renewal.as_ref(), answer, chance, now));
        }
        let renewal = renewal.expect("one answer at least");
        if let (Some(window), Some(instant)) = (renewal.window, renewal.instant) {
            prop_assert!(window.start <= instant && instant < window.end);
        }
        prop_assert!(renewal.next_look > now || now == Timestamp::MAX);
        // A sixth of ninety days is always left.
        let latest = at("2027-03-17T00:00:00Z");
        prop_assert!(moment(Some(&renewal), &quarter(), THIRD, seed).at() <= latest);
    }
}
