//! Who is told what of a domain, and when: pure functions of what was told and what a pass saw.
//!
//! A domain is in trouble from the first pass that saw it fail, or run out of time, until one that
//! saw it well. In a trouble each event is told once to each channel that wants it; while it lasts,
//! a channel hears of it at least daily; when it is over, those who were told of it are told that.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::config::notify::Event;
use crate::store::alerts::{Alerts, Told, Trouble};

/// What a pass saw of one domain
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'r> {
    /// Its primary name
    pub domain: &'r str,
    /// How it was
    pub state: State,
    /// How much life its certificate has left
    pub life: Life,
}

/// How a domain was
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is well, and what is served was looked at
    Well,
    /// Nothing was due, and nobody looked at what is served
    Idle,
    /// An order waits: that alone is no failure, and no recovery either
    Waiting,
    /// It fails, with this event
    Failing(Event),
}

/// How much life a certificate has left
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Enough, or there is no certificate
    Enough,
    /// Half of the reserve for its renewal is gone
    Short,
}

/// The channels: what each wants to hear of, by a digest of its identity
pub type Channels<'c> = BTreeMap<String, &'c BTreeSet<Event>>;

/// Remembers what a pass saw
///
/// A domain that `is_known` no longer, and a channel that is not there any more, are forgotten.
pub fn remember(
    alerts: &mut Alerts,
    seen: &[Seen<'_>],
    channels: &Channels<'_>,
    is_known: impl Fn(&str) -> bool,
    now: Timestamp,
) {
    alerts.domains.retain(|domain, _| is_known(domain));
    for seen in seen {
        match alerts.domains.get_mut(seen.domain) {
            Some(trouble) => see(trouble, *seen, now),
            None => {
                let mut trouble = Trouble::default();
                see(&mut trouble, *seen, now);
                if trouble.since.is_some() {
                    alerts.domains.insert(seen.domain.to_owned(), trouble);
                }
            }
        }
    }
    for trouble in alerts.domains.values_mut() {
        trouble
            .told
            .retain(|channel, _| channels.contains_key(channel));
        if trouble.since.is_none() {
            close(trouble, channels, now);
        }
    }
    let is_over = |trouble: &Trouble| trouble.since.is_none() && trouble.told.is_empty();
    alerts.domains.retain(|_, trouble| !is_over(trouble));
}

/// Brings what is wrong with a domain up to what was seen of it
fn see(trouble: &mut Trouble, seen: Seen<'_>, now: Timestamp) {
    match seen.state {
        // Only a look at what is served can tell that it is right again.
        State::Idle if trouble.events.contains(&Event::WrongCertificate) => return,
        State::Well | State::Idle => {
            trouble.since = None;
            trouble.events.clear();
            return;
        }
        State::Waiting => {}
        State::Failing(event) => {
            trouble
                .events
                .retain(|known| *known == Event::WrongCertificate);
            trouble.events.insert(event);
        }
    }
    if seen.life == Life::Short {
        trouble.events.insert(Event::Expiring);
    }
    if !trouble.events.is_empty() {
        trouble.since.get_or_insert(now);
    }
}

/// Forgets what was told of a trouble that is over, where nobody waits for that word and nothing
/// counts any more
fn close(trouble: &mut Trouble, channels: &Channels<'_>, now: Timestamp) {
    for (channel, told) in &mut trouble.told {
        let wanted = channels.get(channel);
        if !wanted.is_some_and(|wanted| wanted.contains(&Event::Recovered)) {
            told.since = None;
            told.known.clear();
        }
    }
    let counts =
        |told: &Told| told.since.is_some() || told.last.values().any(|at| !rested(*at, now));
    trouble.told.retain(|_, told| counts(told));
}

/// The event of which a channel is to be told now, if any
#[must_use]
pub fn due(
    trouble: &Trouble,
    channel: &str,
    wanted: &BTreeSet<Event>,
    now: Timestamp,
) -> Option<Event> {
    let nothing = Told::default();
    let told = trouble.told.get(channel).unwrap_or(&nothing);
    let may_tell = |event: &Event| {
        let last = told.last.get(event);
        wanted.contains(event) && last.is_none_or(|at| rested(*at, now))
    };
    let Some(since) = trouble.since else {
        return Some(Event::Recovered).filter(|event| told.since.is_some() && may_tell(event));
    };
    let news = trouble
        .events
        .difference(&told.known)
        .find(|event| may_tell(event));
    // Of one that was told already the words count, whatever came between.
    let begun = told.since.unwrap_or(since);
    news.copied().or_else(|| {
        let is_quiet = told
            .last
            .values()
            .chain([&begun])
            .all(|at| rested(*at, now));
        Some(Event::StillFailing).filter(|event| is_quiet && may_tell(event))
    })
}

/// Remembers that a channel was told this of a domain
pub fn note(alerts: &mut Alerts, domain: &str, channel: &str, event: Event, now: Timestamp) {
    let Some(trouble) = alerts.domains.get_mut(domain) else {
        return;
    };
    let told = trouble.told.entry(channel.to_owned()).or_default();
    told.last.insert(event, now);
    if event == Event::Recovered {
        told.since = None;
        told.known.clear();
        return;
    }
    // Of several events that hold at once the most urgent is told, and stands for the others.
    for event in trouble.events.difference(&told.known) {
        told.last.insert(*event, now);
    }
    told.known.extend(&trouble.events);
    if told.since.is_none() {
        told.since = trouble.since;
    }
}

/// Since when a channel's trouble with a domain lasts, or lasted
pub fn since(trouble: &Trouble, channel: &str) -> Option<Timestamp> {
    let told = trouble.told.get(channel).and_then(|told| told.since);
    trouble.since.or(told)
}

/// Whether what was told at an instant is long enough ago to be told again
///
/// An instant that lies further ahead than any word was noted by a clock that was wrong.
fn rested(at: Timestamp, now: Timestamp) -> bool {
    let ago = now.duration_since(at);
    ago >= DAILY || ago < -DAILY
}

/// A little less than a day: a timer that runs daily is not punctual, and systemd's delays each run
/// by up to an hour
pub const DAILY: SignedDuration = SignedDuration::from_hours(22);

#[cfg(test)]
mod tests;
