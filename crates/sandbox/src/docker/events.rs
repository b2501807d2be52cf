//! What happens to containers, told to everyone who listens.
//!
//! Only what happens from then on is told: `since` and `until` are not understood.

use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};

use super::answer::Filters;
use super::container::Container;

/// Hands out events to their listeners
#[derive(Debug)]
pub(super) struct Events {
    sender: Sender<Event>,
    told: AtomicI64,
}

#[derive(Clone, Debug)]
struct Event {
    action: String,
    id: String,
    name: String,
    attributes: Value,
    time: i64,
}

impl Default for Events {
    fn default() -> Self {
        let (sender, _) = channel(BACKLOG);
        Self {
            sender,
            told: AtomicI64::new(0),
        }
    }
}

impl Events {
    /// Tells what happened to a container
    ///
    /// The time counts events, a second for each, since no clock is at hand.
    pub(super) fn tell(
        &self,
        container: &Container,
        action: impl Into<String>,
        attribute: Option<(&str, &str)>,
    ) {
        let mut attributes: Value = json!(container.labels);
        attributes["name"] = json!(container.name);
        attributes["image"] = json!(IMAGE);
        if let Some((key, value)) = attribute {
            attributes[key] = json!(value);
        }
        // Nobody may be listening.
        let _ = self.sender.send(Event {
            action: action.into(),
            id: container.id.clone(),
            name: container.name.clone(),
            attributes,
            time: EPOCH + self.told.fetch_add(1, Ordering::Relaxed),
        });
    }

    /// The events that fit the filters, a line of JSON each
    pub(super) fn lines(
        &self,
        filters: Filters,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
        stream::unfold((self.sender.subscribe(), filters), next)
    }
}

type Listener = (Receiver<Event>, Filters);

async fn next((mut receiver, filters): Listener) -> Option<(Result<Bytes, Infallible>, Listener)> {
    loop {
        match receiver.recv().await {
            Ok(event) if event.fits(&filters) => {
                let line = Bytes::from(format!("{}\n", event.document()));
                return Some((Ok(line), (receiver, filters)));
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

impl Event {
    fn fits(&self, filters: &Filters) -> bool {
        // The action of an exec has the command behind a colon, which nobody filters by.
        let action = self.action.split(':').next().unwrap_or_default();
        filters.any("type", |wanted| wanted == "container")
            && filters.any("event", |wanted| wanted == action)
            && filters.any("container", |wanted| {
                *wanted == self.name || self.id.starts_with(wanted.as_str())
            })
            && filters.all("label", |label| {
                let (key, value) = label.split_once('=').unwrap_or((label, ""));
                match self.attributes[key].as_str() {
                    Some(has) => value.is_empty() || has == value,
                    None => false,
                }
            })
    }

    fn document(&self) -> Value {
        json!({
            "status": self.action,
            "id": self.id,
            "from": IMAGE,
            "Type": "container",
            "Action": self.action,
            "Actor": {"ID": self.id, "Attributes": self.attributes},
            "scope": "local",
            "time": self.time,
            "timeNano": self.time * 1_000_000_000,
        })
    }
}

/// Filters that events understand
pub(super) const FILTERS: [&str; 4] = ["type", "event", "container", "label"];
/// Image of every container
pub(super) const IMAGE: &str = "nginx:stable";
/// When the first event happens: 2026-01-01, in seconds of Unix time
pub(super) const EPOCH: i64 = 1_767_225_600;
const BACKLOG: usize = 256;
