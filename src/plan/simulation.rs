//! Renewals played forward: the runs of a timer over a span of virtual time.
//!
//! What is done in each run is decided by what decides for real: [`super::plan`], with back-off
//! and windows, [`super::budget`] and the schedule. Made up are the certificates, the CA's windows
//! and the orders that fail. An order takes no time, but for one that fails: that is a minute after
//! the run began, as for real. The CA's limits always hold, what else it counts is left out, and
//! deployment never fails.
//!
//! A run looks at the domains whose time may have come, and at no other: a year of ten thousand
//! domains is a few looks for each certificate.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use super::budget::{Limit, blocking};
use super::renewal::Moment;
use super::{Due, Newest, Plan};
use crate::chain::KeyType;
use crate::config::Domain;
use crate::store::ledger::Ledger;
use crate::store::lineage::{Generation, GenerationError, Lineage};
use crate::store::record::Asked;
use crate::time::schedule::Schedule;
use crate::time::{Fraction, Validity};

mod authority;
mod cast;

use cast::{Ca, Member, Outcome};

/// What is played
#[derive(Debug)]
pub struct Play {
    /// The instant at which it begins
    pub from: Timestamp,
    /// The instant at which it ends
    pub until: Timestamp,
    /// When runs come
    pub schedule: Schedule,
    /// Part of the lifetime left at which a certificate is due
    pub fraction: Fraction,
    /// What was spent at CAs before
    pub ledger: Ledger,
    /// Part of the orders that fail, from 0.0 to 1.0
    pub failure_rate: f64,
    /// Where chance begins: the same number plays the same play
    pub seed: u64,
    /// Who takes part
    pub actors: Vec<Actor>,
}

/// A domain as a play finds it
#[derive(Debug)]
pub struct Actor {
    /// Its configuration
    pub domain: Domain,
    /// Directory URL of its issuer
    pub directory: String,
    /// Account URL there; `None` where it is yet to be registered
    pub account: Option<String>,
    /// What an order would ask for; needed only where the CA has refused one for good
    pub asks: Option<Asked>,
    /// Its generations and record
    pub lineage: Lineage,
    /// The newest generation, or why its files are of no use; `None` where there is none
    pub newest: Option<Result<Held, GenerationError>>,
}

/// A certificate of a play
#[derive(Clone, Debug)]
pub struct Held {
    number: u32,
    names: Vec<String>,
    validity: Validity,
    key_type: Option<KeyType>,
}

impl From<&Generation> for Held {
    fn from(generation: &Generation) -> Self {
        let newest = Newest::from(generation);
        Self {
            number: newest.number,
            names: newest.names.to_vec(),
            validity: newest.validity,
            key_type: newest.key_type,
        }
    }
}

impl Held {
    fn as_newest(&self) -> Newest<'_> {
        Newest {
            number: self.number,
            names: &self.names,
            validity: self.validity,
            key_type: self.key_type,
        }
    }
}

/// What came of a play
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// Every run that placed an order, oldest first
    pub runs: Vec<Run>,
    /// The certificate that had the least life left
    pub least_life: Option<Life>,
    /// The certificate that had the least part of its life left
    pub least_part: Option<Life>,
    /// Renewals in the window that the CA suggested
    pub in_window: u64,
    /// Renewals before or after it
    pub out_of_window: u64,
    /// Every certificate that expired before it was replaced
    pub expired: Vec<Expired>,
    /// Every order that had to wait for a limit
    pub put_off: Vec<PutOff>,
    /// Domains that have no certificate when it ends
    pub without: Vec<String>,
    /// Domains whose order the CA has refused until a person acts
    pub stopped: Vec<String>,
}

/// The orders of one run
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// When it began
    pub at: Timestamp,
    /// Orders that brought a certificate
    pub issued: u32,
    /// Orders that failed
    pub failed: u32,
}

impl Run {
    /// All of them
    pub const fn orders(&self) -> u32 {
        self.issued + self.failed
    }
}

/// What a certificate had left when it was replaced, or when the play ended
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its domain
    pub domain: String,
    /// When that was
    pub at: Timestamp,
    /// Its validity period
    pub validity: Validity,
}

impl Life {
    /// What was left; negative after expiry
    pub fn left(&self) -> SignedDuration {
        self.validity.remaining(self.at)
    }

    /// The part of its life that was left; negative after expiry
    pub fn part(&self) -> f64 {
        let lifetime = self.validity.lifetime().as_secs_f64();
        self.left().as_secs_f64() / lifetime.max(1.0)
    }
}

/// A certificate that expired
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Its domain
    pub domain: String,
    /// When it expired
    pub at: Timestamp,
    /// When the domain had another; `None` where the play ended first
    pub until: Option<Timestamp>,
}

/// An order that had to wait for a limit of the CA
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutOff {
    /// The limit that it met first
    pub limit: Limit,
    /// How long it waited
    pub waited: SignedDuration,
}

/// Plays it to the end
pub fn play(play: Play) -> Course {
    Stage::set(play).play()
}

/// A play that goes on
struct Stage {
    from: Timestamp,
    until: Timestamp,
    schedule: Schedule,
    fraction: Fraction,
    failure_rate: f64,
    chance: Rng,
    cas: Vec<Ca>,
    cast: Vec<Member>,
    /// When each domain is looked at next, but for those that wait for a limit
    wakes: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// Domains whose orders wait for a limit, in the order of the configuration
    waiting: Vec<usize>,
    course: Course,
}

/// When a domain is looked at next
enum Next {
    /// In the first run from this instant on
    From(Timestamp),
    /// In the next run: a limit may leave room again
    Waiting,
    /// Never: a person must act first
    Never,
}

impl Stage {
    fn set(play: Play) -> Self {
        let mut cas: Vec<Ca> = Vec::new();
        let mut cast: Vec<Member> = Vec::with_capacity(play.actors.len());
        for actor in play.actors {
            let known = cas.iter().position(|ca| ca.directory == actor.directory);
            let ca = known.unwrap_or_else(|| {
                cas.push(Ca::new(&actor, &play.ledger, play.from));
                cas.len() - 1
            });
            cast.push(Member::new(actor, ca, &cas[ca]));
        }
        let everyone = (0..cast.len()).map(|who| Reverse((play.from, who)));
        Self {
            from: play.from,
            until: play.until,
            schedule: play.schedule,
            fraction: play.fraction,
            failure_rate: play.failure_rate,
            chance: Rng::with_seed(play.seed),
            wakes: everyone.collect(),
            waiting: Vec::new(),
            cas,
            cast,
            course: Course::default(),
        }
    }

    fn play(mut self) -> Course {
        let mut now = self.from;
        while let Some(at) = self.next_run(now) {
            now = at;
            self.run(at);
        }
        self.end()
    }

    /// The next run that has something to look at
    fn next_run(&self, now: Timestamp) -> Option<Timestamp> {
        let wake = match (self.waiting.is_empty(), self.wakes.peek()) {
            (false, _) => now,
            (true, Some(Reverse((wake, _)))) => *wake,
            (true, None) => return None,
        };
        // A run at the very instant counts.
        let just_before = wake.saturating_sub(SignedDuration::from_secs(1));
        let after = just_before.map_or(now, |just_before| just_before.max(now));
        self.schedule.next(after).filter(|at| *at < self.until)
    }

    fn run(&mut self, now: Timestamp) {
        let next = self.schedule.next(now);
        let mut run = Run {
            at: now,
            issued: 0,
            failed: 0,
        };
        for who in self.woken(now) {
            match self.look(who, now, next, &mut run) {
                Next::From(wake) => self.wakes.push(Reverse((wake, who))),
                Next::Waiting => self.waiting.push(who),
                Next::Never => {}
            }
        }
        if run.orders() > 0 {
            self.course.runs.push(run);
        }
    }

    /// Whom a run looks at, in the order of the configuration
    fn woken(&mut self, now: Timestamp) -> Vec<usize> {
        let mut woken = mem::take(&mut self.waiting);
        while let Some(Reverse((wake, who))) = self.wakes.peek().copied()
            && wake <= now
        {
            self.wakes.pop();
            woken.push(who);
        }
        woken.sort_unstable();
        woken
    }

    fn look(&mut self, who: usize, now: Timestamp, next: Option<Timestamp>, run: &mut Run) -> Next {
        let member = &mut self.cast[who];
        // Where the limit of all orders is used up, who waits for it need not be looked at.
        let is_exhausted = self.cas[member.ca].exhausted == Some(now);
        if is_exhausted && member.waits.is_some_and(|(limit, _)| limit.is_of_orders()) {
            return Next::Waiting;
        }
        member.ask(now, &mut self.chance);
        match member.plan(self.fraction, now, next) {
            Plan::Order { reason } => self.order(who, &reason, now, run),
            Plan::Deploy { generation } => {
                member.prove(generation, now);
                self.sleep(who)
            }
            Plan::Confirm { .. } => self.sleep(who),
            Plan::Wait { until, .. } => Next::From(until),
            Plan::Stop { .. } => {
                self.course.stopped.push(member.name());
                Next::Never
            }
        }
    }

    fn sleep(&self, who: usize) -> Next {
        let moment = self.cast[who].moment(self.fraction);
        moment.map_or(Next::Never, |moment| {
            Next::From(wake(moment, &self.schedule))
        })
    }

    fn order(&mut self, who: usize, reason: &Due, now: Timestamp, run: &mut Run) -> Next {
        let member = &mut self.cast[who];
        let ca = &mut self.cas[member.ca];
        let issuance = member.issuance(reason);
        if let Some((usage, _)) = blocking(&ca.usage(member, issuance, now)) {
            if usage.limit.is_of_orders() {
                ca.exhausted = Some(now);
            }
            member.waits.get_or_insert((usage.limit, now));
            return Next::Waiting;
        }
        self.course.put_off.extend(member.end_wait(now));
        if self.chance.f64() < self.failure_rate {
            run.failed += 1;
            ca.count(member, issuance, Outcome::Failed, now);
            return Next::From(member.fail(now));
        }
        run.issued += 1;
        ca.count(member, issuance, Outcome::Issued, now);
        self.course.note_window(member, now);
        self.course.note_life(member, now, Some(now));
        member.install(now, &mut self.chance);
        self.sleep(who)
    }

    fn end(mut self) -> Course {
        for member in &mut self.cast {
            self.course.note_life(member, self.until, None);
            self.course.put_off.extend(member.end_wait(self.until));
            if member.held().is_none() {
                self.course.without.push(member.name());
            }
        }
        self.course.expired.sort_by_key(|expired| expired.at);
        self.course
    }
}

/// The instant from which the first run finds a certificate due that is renewed at this moment
///
/// That is the last run up to the moment's instant, where the window has begun by then.
fn wake(moment: Moment, schedule: &Schedule) -> Timestamp {
    let (last, earliest) = (schedule.last(moment.at()), moment.earliest());
    last.map_or(earliest, |last| last.max(earliest))
}

impl Course {
    /// Notes whether a certificate is replaced when its CA would have it
    fn note_window(&mut self, member: &Member, now: Timestamp) {
        match member.window().map(|window| window.contains(now)) {
            Some(true) => self.in_window += 1,
            Some(false) => self.out_of_window += 1,
            None => {}
        }
    }

    /// Notes the life of a certificate that is replaced, or that the play leaves behind
    fn note_life(&mut self, member: &Member, at: Timestamp, replaced: Option<Timestamp>) {
        let Some(held) = member.held() else { return };
        let life = Life {
            domain: member.name(),
            at,
            validity: held.validity,
        };
        if held.validity.not_after < at {
            self.expired.push(Expired {
                domain: life.domain.clone(),
                at: held.validity.not_after,
                until: replaced,
            });
        }
        let least = self.least_part.as_ref();
        if least.is_none_or(|least| life.part() < least.part()) {
            self.least_part = Some(life.clone());
        }
        let least = self.least_life.as_ref();
        if least.is_none_or(|least| life.left() < least.left()) {
            self.least_life = Some(life);
        }
    }
}

#[cfg(test)]
mod tests;
