//! What the events of an engine come to: a container that stops and starts within seconds was
//! restarted, and is no loss.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use tokio::time::{Instant, sleep_until};

use crate::target::container::{DockerError, Event, Happening};

/// What has come of a container
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It has started
    Started(Event),
    /// It has stopped, and may be on its way back
    Stopped(Event),
    /// It has started again, so long after it had stopped
    Back(Event, Duration),
    /// It has stopped, and did not start again in time
    Lost(Event),
}

/// Makes news of events
pub(super) struct Ear<S> {
    events: S,
    fallen: Fallen,
}

impl<S: Stream<Item = Result<Event, DockerError>> + Unpin> Ear<S> {
    /// Listens to these events
    pub(super) fn new(events: S) -> Self {
        Self {
            events,
            fallen: Fallen::default(),
        }
    }

    /// The next news; `None` where the engine ends its events. A dropped future loses none.
    pub(super) async fn next(&mut self) -> Result<Option<News>, DockerError> {
        let first = self.fallen.first();
        let grace = async {
            match first {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What has started in time is no loss, be it noticed late.
            biased;
            event = self.events.try_next() => {
                Ok(event?.map(|event| self.fallen.sort(event, Instant::now())))
            }
            () = grace => Ok(self.fallen.give_up().map(News::Lost)),
        }
    }
}

/// Containers that have stopped, and may be on their way back
#[derive(Default)]
struct Fallen {
    /// When each has stopped, the first one first
    since: VecDeque<(Instant, Event)>,
}

impl Fallen {
    /// When the first one is given up; `None` where there is none
    fn first(&self) -> Option<Instant> {
        self.since.front().map(|(at, _)| *at + GRACE)
    }

    /// Gives the first one up
    fn give_up(&mut self) -> Option<Event> {
        self.since.pop_front().map(|(_, event)| event)
    }

    fn sort(&mut self, event: Event, now: Instant) -> News {
        let is_it = |(_, fallen): &(Instant, Event)| fallen.is_same(&event);
        let before = self.since.iter().position(is_it);
        let before = before.and_then(|position| self.since.remove(position));
        match (event.what, before) {
            (Happening::Started, Some((at, _))) => News::Back(event, now.duration_since(at)),
            (Happening::Started, None) => News::Started(event),
            (Happening::Stopped, _) => {
                self.since.push_back((now, event.clone()));
                News::Stopped(event)
            }
        }
    }
}

/// Time within which a container that has stopped may be on its way back: `docker restart` and
/// `docker compose up` take a second or two between the two events
pub(super) const GRACE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: Happening, name: &str) -> Event {
        Event::named(what, name)
    }

    #[test]
    fn a_container_that_starts_within_the_grace_is_back_and_no_loss() {
        let (mut fallen, now) = (Fallen::default(), Instant::now());
        let stop = event(Happening::Stopped, "web");
        let start = event(Happening::Started, "web");
        let sorted = fallen.sort(stop.clone(), now);
        assert_eq!(sorted, News::Stopped(stop));
        let soon = GRACE / 2;
        let sorted = fallen.sort(start.clone(), now + soon);
        assert_eq!(sorted, News::Back(start.clone(), soon));
        assert_eq!((fallen.first(), fallen.give_up()), (None, None));
        assert_eq!(fallen.sort(start.clone(), now), News::Started(start));
    }

    #[test]
    fn one_that_stops_again_has_its_grace_again_and_another_is_not_taken_for_it() {
        let (mut fallen, now) = (Fallen::default(), Instant::now());
        let [web, db] = ["web", "db"].map(|name| event(Happening::Stopped, name));
        let later = now + GRACE / 2;
        fallen.sort(web.clone(), now);
        fallen.sort(db.clone(), now);
        fallen.sort(web.clone(), later);
        let other = event(Happening::Started, "other");
        assert_eq!(fallen.sort(other.clone(), later), News::Started(other));
        assert_eq!(fallen.first(), Some(now + GRACE));
        assert_eq!(fallen.give_up(), Some(db));
        assert_eq!(fallen.first(), Some(later + GRACE));
        assert_eq!(fallen.give_up(), Some(web));
        assert_eq!(fallen.first(), None);
    }
}
