//! What is told of one domain, pass by pass, and what holds however passes come.

use proptest::prelude::*;

use super::*;

const CHANNEL: &str = "channel";
const SHOP: &str = "shop.test";

/// A channel that hears of some events, and what it was told so far
struct Listener {
    alerts: Alerts,
    wanted: BTreeSet<Event>,
    heard: Vec<(Timestamp, Event)>,
}

/// Whether a channel takes what it is sent
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Works,
    Fails,
}

impl Listener {
    fn to(wanted: &[Event]) -> Self {
        Self {
            alerts: Alerts::default(),
            wanted: wanted.iter().copied().collect(),
            heard: Vec::new(),
        }
    }

    /// One pass, and what it told
    fn pass(&mut self, at: Timestamp, state: State, life: Life, channel: Channel) -> Option<Event> {
        let seen = [Seen {
            domain: SHOP,
            state,
            life,
        }];
        let wanted = self.wanted.clone();
        let channels = Channels::from([(CHANNEL.to_owned(), &wanted)]);
        remember(&mut self.alerts, &seen, &channels, |_| true, at);
        let trouble = self.alerts.domains.get(SHOP)?;
        let event = due(trouble, CHANNEL, &self.wanted, at)?;
        if channel == Channel::Works {
            note(&mut self.alerts, SHOP, CHANNEL, event, at);
            self.heard.push((at, event));
        }
        Some(event)
    }
}

fn hour(hour: i64) -> Timestamp {
    let start: Timestamp = "2027-03-01T03:00:00Z".parse().unwrap();
    start + SignedDuration::from_hours(hour)
}

/// Each pass by its hour, with what it tells
#[track_caller]
fn check(wanted: &[Event], passes: &[(i64, State, Life, Option<Event>)]) {
    let mut listener = Listener::to(wanted);
    for (at, state, life, expected) in passes {
        let told = listener.pass(hour(*at), *state, *life, Channel::Works);
        assert_eq!(told, *expected, "hour {at}");
    }
}

const FAILED: State = State::Failing(Event::Failed);
const DRIFTED: State = State::Failing(Event::WrongCertificate);
const PAUSED: State = State::Failing(Event::Paused);

#[test]
fn a_failure_is_told_once_then_daily_and_its_end() {
    use Life::Enough;
    check(
        &Event::ALL,
        &[
            (0, State::Idle, Enough, None),
            (12, FAILED, Enough, Some(Event::Failed)),
            (24, FAILED, Enough, None),
            (36, FAILED, Enough, Some(Event::StillFailing)),
            (48, FAILED, Enough, None),
            (60, FAILED, Enough, Some(Event::StillFailing)),
            (72, State::Well, Enough, Some(Event::Recovered)),
            (84, State::Idle, Enough, None),
        ],
    );
}

#[test]
fn waiting_is_no_failure_and_no_recovery() {
    use Life::Enough;
    check(
        &Event::ALL,
        &[
            (0, State::Waiting, Enough, None),
            (48, State::Waiting, Enough, None),
            (60, FAILED, Enough, Some(Event::Failed)),
            (72, State::Waiting, Enough, None),
            (84, State::Waiting, Enough, Some(Event::StillFailing)),
            (96, State::Idle, Enough, Some(Event::Recovered)),
        ],
    );
}

#[test]
fn who_waits_until_half_of_the_reserve_is_gone_is_told() {
    use Life::{Enough, Short};
    check(
        &Event::ALL,
        &[
            (0, State::Waiting, Enough, None),
            (24, State::Waiting, Short, Some(Event::Expiring)),
            (36, State::Waiting, Short, None),
            (48, State::Waiting, Short, Some(Event::StillFailing)),
            (60, FAILED, Short, Some(Event::Failed)),
            (72, State::Well, Enough, Some(Event::Recovered)),
        ],
    );
}

#[test]
fn of_what_holds_at_once_the_most_urgent_is_told() {
    use Life::{Enough, Short};
    check(
        &Event::ALL,
        &[
            (0, PAUSED, Short, Some(Event::Paused)),
            (12, PAUSED, Short, None),
            (24, PAUSED, Short, Some(Event::StillFailing)),
        ],
    );
    // A channel that does not want it hears of the next.
    check(
        &[Event::Expiring],
        &[
            (0, PAUSED, Enough, None),
            (12, PAUSED, Short, Some(Event::Expiring)),
            (36, PAUSED, Short, None),
        ],
    );
}

#[test]
fn a_worse_state_is_told_at_once() {
    use Life::Enough;
    check(
        &Event::ALL,
        &[
            (0, FAILED, Enough, Some(Event::Failed)),
            (1, PAUSED, Enough, Some(Event::Paused)),
            (2, DRIFTED, Enough, Some(Event::WrongCertificate)),
            (3, FAILED, Enough, None),
        ],
    );
}

#[test]
fn a_wrong_certificate_is_mended_by_a_look_at_what_is_served() {
    use Life::Enough;
    check(
        &Event::ALL,
        &[
            (0, DRIFTED, Enough, Some(Event::WrongCertificate)),
            (12, State::Idle, Enough, None),
            (24, State::Idle, Enough, Some(Event::StillFailing)),
            (25, State::Well, Enough, Some(Event::Recovered)),
        ],
    );
}

#[test]
fn who_comes_and_goes_is_not_told_each_time_and_never_forgotten() {
    use Life::Enough;
    check(
        &Event::ALL,
        &[
            (0, FAILED, Enough, Some(Event::Failed)),
            (1, State::Well, Enough, Some(Event::Recovered)),
            (2, FAILED, Enough, None),
            (3, PAUSED, Enough, Some(Event::Paused)),
            (4, State::Well, Enough, None),
            (26, PAUSED, Enough, Some(Event::StillFailing)),
            (27, State::Well, Enough, Some(Event::Recovered)),
        ],
    );
}

#[test]
fn a_channel_hears_what_it_wants() {
    use Life::Enough;
    check(
        &[Event::StillFailing],
        &[
            (0, FAILED, Enough, None),
            (12, State::Well, Enough, None),
            (24, FAILED, Enough, None),
            (48, FAILED, Enough, Some(Event::StillFailing)),
            (60, State::Well, Enough, None),
        ],
    );
    check(
        &[Event::Recovered],
        &[(0, FAILED, Enough, None), (48, State::Well, Enough, None)],
    );
}

#[test]
fn what_a_channel_did_not_take_is_tried_again_and_an_old_failure_is_no_news() {
    let mut listener = Listener::to(&Event::ALL);
    let failing = |listener: &mut Listener, at, channel| {
        listener.pass(hour(at), FAILED, Life::Enough, channel)
    };
    assert_eq!(
        failing(&mut listener, 0, Channel::Fails),
        Some(Event::Failed)
    );
    assert_eq!(
        failing(&mut listener, 1, Channel::Fails),
        Some(Event::Failed)
    );
    // It began when it began, whoever heard of it.
    let trouble = &listener.alerts.domains[SHOP];
    assert_eq!(since(trouble, CHANNEL), Some(hour(0)));
    let well = listener.pass(hour(2), State::Well, Life::Enough, Channel::Fails);
    assert_eq!(well, None);
    assert_eq!(listener.alerts, Alerts::default());
    assert_eq!(
        failing(&mut listener, 3, Channel::Works),
        Some(Event::Failed)
    );
    for at in [4, 5] {
        let well = listener.pass(hour(at), State::Well, Life::Enough, Channel::Fails);
        assert_eq!(well, Some(Event::Recovered));
        let trouble = &listener.alerts.domains[SHOP];
        assert_eq!(since(trouble, CHANNEL), Some(hour(3)));
    }
}

#[test]
fn what_is_gone_from_the_configuration_is_forgotten() {
    let mut listener = Listener::to(&Event::ALL);
    listener.pass(hour(0), FAILED, Life::Enough, Channel::Works);
    let nobody = Channels::new();
    let mut alerts = listener.alerts.clone();
    remember(&mut alerts, &[], &nobody, |_| true, hour(1));
    assert!(alerts.domains[SHOP].told.is_empty());
    remember(&mut listener.alerts, &[], &nobody, |_| false, hour(1));
    assert_eq!(listener.alerts, Alerts::default());
}

#[test]
fn a_word_from_the_future_keeps_nobody_silent() {
    let mut listener = Listener::to(&Event::ALL);
    listener.pass(hour(24 * 365), FAILED, Life::Enough, Channel::Works);
    let told = listener.pass(hour(0), FAILED, Life::Enough, Channel::Works);
    assert_eq!(told, Some(Event::StillFailing));
}

fn states() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Well),
        Just(State::Idle),
        Just(State::Waiting),
        Just(FAILED),
        Just(DRIFTED),
        Just(PAUSED),
    ]
}

fn lives() -> impl Strategy<Value = Life> {
    prop_oneof![3 => Just(Life::Enough), 1 => Just(Life::Short)]
}

fn deliveries() -> impl Strategy<Value = Channel> {
    prop_oneof![4 => Just(Channel::Works), 1 => Just(Channel::Fails)]
}

proptest! {
    /// Passes come minutes or days apart, see anything, and find a channel that works or not.
    #[test]
    fn nobody_is_told_twice_a_day_nor_of_a_recovery_without_a_failure(
        passes in prop::collection::vec((0_i64..3_000, states(), lives(), deliveries()), 1..60),
    ) {
        let mut listener = Listener::to(&Event::ALL);
        let mut at = hour(0);
        for (minutes, state, life, channel) in passes {
            at += SignedDuration::from_mins(minutes);
            listener.pass(at, state, life, channel);
        }
        let heard = &listener.heard;
        for (index, (at, event)) in heard.iter().enumerate() {
            let before = &heard[..index];
            let same = before.iter().rev().find(|(_, told)| told == event);
            prop_assert!(same.is_none_or(|(last, _)| at.duration_since(*last) >= DAILY), "{heard:?}");
            if *event == Event::Recovered {
                let last = before.last().map(|(_, told)| *told);
                prop_assert!(last.is_some_and(|last| last != Event::Recovered), "{heard:?}");
            }
        }
    }

    #[test]
    fn no_failing_day_passes_in_silence(
        passes in prop::collection::vec((0_i64..3_000, states(), lives()), 1..60),
    ) {
        let mut listener = Listener::to(&Event::ALL);
        let (mut at, mut fails, mut drifted) = (hour(0), false, false);
        for (minutes, state, life) in passes {
            at += SignedDuration::from_mins(minutes);
            listener.pass(at, state, life, Channel::Works);
            match state {
                State::Well => (fails, drifted) = (false, false),
                State::Idle => fails = drifted,
                State::Waiting => fails |= life == Life::Short,
                State::Failing(event) => {
                    fails = true;
                    drifted |= event == Event::WrongCertificate;
                }
            }
            let last = listener.heard.last().map(|(at, _)| *at);
            let is_told = last.is_some_and(|last| at.duration_since(last) < DAILY);
            prop_assert!(!fails || is_told, "silent at {at}: {:?}", listener.heard);
        }
    }
}
