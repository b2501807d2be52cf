//! When sweeps come, by the wall clock.

use std::io;
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::time::schedule::Schedule;

/// Tells when it is time for a sweep
///
/// Each sweep is a job of its own, at an instant that [`Schedule`] computes: the scheduler's own cron
/// jobs keep the offset from UTC that held when they were added, and come an hour off after the
/// clocks change. The scheduler holds its jobs against the wall clock twice a second. It is started
/// when a sweep is [`NEAR`], so that an idle daemon is not woken so often for twelve hours.
pub struct Sweeps {
    planned: Option<Timestamp>,
    /// Runs while a sweep is near
    scheduler: Option<Scheduler>,
    /// Numbers of jobs whose time has come: only the last one counts
    fired: mpsc::UnboundedReceiver<u64>,
    fire: mpsc::UnboundedSender<u64>,
    number: u64,
}

impl Default for Sweeps {
    /// Without a sweep
    fn default() -> Self {
        let (fire, fired) = mpsc::unbounded_channel();
        Self {
            planned: None,
            scheduler: None,
            fired,
            fire,
            number: 0,
        }
    }
}

impl Sweeps {
    /// The instant of the next one
    pub fn planned(&self) -> Option<Timestamp> {
        self.planned
    }

    /// Plans the next one, in place of the one that was planned
    ///
    /// # Errors
    /// As [`Self::approach`].
    pub async fn plan(&mut self, at: Option<Timestamp>, now: Timestamp) -> Result<(), SweepError> {
        self.number += 1;
        self.planned = at;
        self.scheduler = None;
        self.approach(now).await
    }

    /// Looks at the clock: a sweep that is near is given to the scheduler
    ///
    /// Called again before [`NEAR`] has passed, or a sweep may come late.
    ///
    /// # Errors
    /// [`SweepError`] when the scheduler cannot be started, or does not take the job.
    pub async fn approach(&mut self, now: Timestamp) -> Result<(), SweepError> {
        let wait = self.planned.map(|at| at.duration_since(now));
        let Some(wait) = wait.filter(|wait| *wait <= NEAR && self.scheduler.is_none()) else {
            return Ok(());
        };
        let (fire, number) = (self.fire.clone(), self.number);
        let wait = Duration::try_from(wait).unwrap_or_default();
        let job = Job::new_one_shot_async(wait, move |_, _| {
            // Where nobody waits any more the daemon has ended.
            let _ = fire.send(number);
            Box::pin(async {})
        })?;
        self.scheduler = Some(Scheduler::start(job).await?);
        Ok(())
    }

    /// Waits for it; a dropped future loses none
    pub async fn next(&mut self) {
        while self.fired.recv().await != Some(self.number) {}
        self.planned = None;
        self.scheduler = None;
    }
}

/// A scheduler with one job, ended when it is dropped
///
/// It has a thread and a runtime of its own: the tasks that it starts outlive its shutdown, and end
/// with their runtime alone.
struct Scheduler {
    _running: oneshot::Sender<()>,
}

impl Scheduler {
    async fn start(job: Job) -> Result<Self, SweepError> {
        let runtime = runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(SweepError::Runtime)?;
        let (running, ended) = oneshot::channel();
        let (begun, beginning) = oneshot::channel();
        let work = async move {
            // Where nobody waits for it, nobody has kept the scheduler either.
            let _ = begun.send(begin(job).await);
            let _ = ended.await;
        };
        let thread = thread::Builder::new().name("sweep".to_owned());
        let started = thread.spawn(move || runtime.block_on(work));
        started.map_err(SweepError::Runtime)?;
        beginning
            .await
            .unwrap_or(Err(JobSchedulerError::StartScheduler))?;
        Ok(Self { _running: running })
    }
}

async fn begin(job: Job) -> Result<(), JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    scheduler.add(job).await?;
    scheduler.start().await
}

/// The instant of the next sweep: that of the schedule, and a part of the jitter
///
/// `chance` is a random number from 0.0 up to 1.0.
#[must_use]
pub fn after(
    schedule: &Schedule,
    jitter: Duration,
    chance: f64,
    now: Timestamp,
) -> Option<Timestamp> {
    let next = schedule.next(now)?;
    Some(next.saturating_add(jitter.mul_f64(chance)).unwrap_or(next))
}

/// The latest instant at which the next run can begin: a timer, too, spreads its runs
#[must_use]
pub fn latest(schedule: &Schedule, jitter: Duration, now: Timestamp) -> Option<Timestamp> {
    after(schedule, jitter, 1.0, now)
}

/// Whether a sweep was planned by a clock that was ahead: the schedule has one sooner
#[must_use]
pub fn is_misplaced(
    planned: Timestamp,
    schedule: &Schedule,
    jitter: Duration,
    now: Timestamp,
) -> bool {
    latest(schedule, jitter, now).is_some_and(|latest| planned > latest)
}

/// Time before a sweep from which on the scheduler runs
pub const NEAR: SignedDuration = SignedDuration::from_mins(2);

/// Sweeps cannot be planned
#[derive(Debug, Error)]
pub enum SweepError {
    /// The scheduler does not start, or does not take a job
    #[error("the scheduler of sweeps fails")]
    Scheduler(#[from] JobSchedulerError),
    /// It has no thread to run on
    #[error("the scheduler of sweeps cannot be started")]
    Runtime(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_sweep_comes_after_the_hour_of_its_schedule_also_when_clocks_change() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let schedule = Schedule::parse("0 3,15 * * *").unwrap().in_zone(berlin);
        #[track_caller]
        fn check(schedule: &Schedule, now: &str, chance: f64, expected: &str) {
            let next = after(schedule, Duration::from_secs(3_600), chance, at(now));
            assert_eq!(next, Some(at(expected)));
        }
        check(
            &schedule,
            "2026-11-20T00:00:00Z",
            0.0,
            "2026-11-20T02:00:00Z",
        );
        check(
            &schedule,
            "2026-11-20T00:00:00Z",
            0.5,
            "2026-11-20T02:30:00Z",
        );
        // Summer time: the same hour of the day is another of UTC.
        check(
            &schedule,
            "2027-03-27T14:30:00Z",
            0.0,
            "2027-03-28T01:00:00Z",
        );
        check(
            &schedule,
            "2027-10-31T00:30:00Z",
            0.0,
            "2027-10-31T02:00:00Z",
        );
    }

    #[test]
    fn a_sweep_that_a_wrong_clock_planned_is_noticed() {
        let schedule = Schedule::parse("0 3,15 * * *")
            .unwrap()
            .in_zone(TimeZone::UTC);
        let now = at("2027-01-01T04:00:00Z");
        let hour = Duration::from_secs(3_600);
        let misplaced = |planned| is_misplaced(at(planned), &schedule, hour, now);
        assert!(!misplaced("2027-01-01T15:59:59Z"));
        assert!(misplaced("2027-01-01T16:00:01Z"));
        assert!(misplaced("2037-01-01T15:00:00Z"));
        // One that is past comes at once, by itself.
        assert!(!misplaced("2026-12-31T15:00:00Z"));
    }

    #[tokio::test]
    async fn the_sweep_that_was_planned_last_comes_and_comes_once() {
        let now = at("2027-01-01T00:00:00Z");
        let mut sweeps = Sweeps::default();
        let later = now.checked_add(Duration::from_secs(3_600)).unwrap();
        sweeps.plan(Some(later), now).await.unwrap();
        assert_eq!(sweeps.planned(), Some(later));
        sweeps.plan(Some(now), now).await.unwrap();
        sweeps.next().await;
        assert_eq!(sweeps.planned(), None);
        sweeps.plan(None, now).await.unwrap();
        assert!(sweeps.fired.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_a_sweep_started_ends_with_it() {
        let now = at("2027-01-01T00:00:00Z");
        let is_sweep = |task: io::Result<std::fs::DirEntry>| {
            let name = std::fs::read_to_string(task.unwrap().path().join("comm"));
            // One that has ended meanwhile has none.
            name.is_ok_and(|name| name.trim() == "sweep")
        };
        let threads = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            tasks.map(is_sweep).filter(|is_it| *is_it).count()
        };
        let tasks = || runtime::Handle::current().metrics().num_alive_tasks();
        let mut sweeps = Sweeps::default();
        let before = (threads(), tasks());
        for _ in 0..5 {
            sweeps.plan(Some(now), now).await.unwrap();
            sweeps.next().await;
        }
        assert_eq!(tasks(), before.1);
        // Other tests have threads, too.
        let mut left = usize::MAX;
        for _ in 0..50 {
            left = threads().saturating_sub(before.0);
            if left < 5 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(left < 5, "{left} threads");
    }

    #[tokio::test]
    async fn the_scheduler_runs_while_a_sweep_is_near() {
        let now = at("2027-01-01T00:00:00Z");
        let mut sweeps = Sweeps::default();
        let later = now.checked_add(Duration::from_secs(3_600)).unwrap();
        sweeps.plan(Some(later), now).await.unwrap();
        assert!(sweeps.scheduler.is_none());
        sweeps.approach(now).await.unwrap();
        assert!(sweeps.scheduler.is_none());
        // The host has slept.
        sweeps.approach(later).await.unwrap();
        assert!(sweeps.scheduler.is_some());
        sweeps.next().await;
        assert!(sweeps.scheduler.is_none());
    }
}
