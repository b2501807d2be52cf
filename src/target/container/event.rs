//! Containers that start and stop, as the engine's events tell of them.

use std::collections::HashMap;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, TryStreamExt};

use super::{DockerError, Engine, MOST_OF_MESSAGE, labels};
use crate::config::Selector;
use crate::finding::one_line;

/// What happened to a container
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It has started
    Started,
    /// Its first process has ended
    Stopped,
}

/// A container that has started or stopped
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which of them
    pub what: Happening,
    /// Name of the container, on one line
    pub name: String,
    id: String,
    /// Its labels; Docker puts its name and its image among them
    attributes: HashMap<String, String>,
}

impl Event {
    /// What the engine tells; whatever is no end is a start, which nobody mourns
    fn of(event: EventMessage) -> Self {
        let what = match event.action.as_deref() {
            Some("die") => Happening::Stopped,
            _ => Happening::Started,
        };
        let actor = event.actor.unwrap_or_default();
        let attributes = actor.attributes.unwrap_or_default();
        let name = attributes.get("name").map(String::as_str);
        Self {
            what,
            name: one_line(name.unwrap_or_default()),
            id: actor.id.unwrap_or_default(),
            attributes,
        }
    }

    /// Whether the container is one of those that a selector names
    ///
    /// Judged as the engine judges where it is asked by [`Engine::find`], but for a name that is
    /// also the beginning of another container's identifier: that costs a look too many.
    pub fn is_of(&self, selector: &Selector) -> bool {
        match selector {
            Selector::Container(name) => self.name == *name || self.id.starts_with(name.as_str()),
            selector => labels(selector).iter().all(|label| self.has(label)),
        }
    }

    /// Whether both are of one container, or of one and that which took its name
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name || (!self.id.is_empty() && self.id == other.id)
    }

    /// What happened to the container of this name
    #[cfg(test)]
    pub(crate) fn named(what: Happening, name: &str) -> Self {
        Self {
            what,
            name: name.to_owned(),
            id: String::new(),
            attributes: HashMap::new(),
        }
    }

    /// Whether it has a label, `key` or `key=value`
    fn has(&self, label: &str) -> bool {
        match label.split_once('=') {
            Some((key, value)) => self.attributes.get(key).is_some_and(|has| has == value),
            None => self.attributes.contains_key(label),
        }
    }
}

impl Engine {
    /// Containers that start and stop from now on, whosever they are
    ///
    /// The stream ends when the engine ends it. Nothing bounds the time between two of them.
    pub fn events(&self) -> impl Stream<Item = Result<Event, DockerError>> + use<'_> {
        let filters = HashMap::from([("type", vec!["container"]), ("event", vec!["start", "die"])]);
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let (docker, budget) = self.streaming();
        let spent = budget.clone();
        let events = docker.events(Some(options));
        events
            .map_ok(move |event| {
                budget.renew();
                Event::of(event)
            })
            .map_err(move |error| match spent.is_spent() {
                true => DockerError::TooLong {
                    what: OF_EVENTS,
                    most: MOST_OF_MESSAGE,
                },
                false => self.failed(OF_EVENTS, error),
            })
    }
}

const OF_EVENTS: &str = "follow the engine's events";

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of a container, as an engine tells of it
    fn start() -> Event {
        let event = r#"{"Type": "container", "Action": "start", "Actor": {
            "ID": "4f66ad9a0b2e1a1b8b1b43f3a1d4d9e0c0ffee00000000000000000000000000",
            "Attributes": {"name": "shop-nginx-1", "image": "nginx:stable", "role": "web", "empty": "",
                "com.docker.compose.service": "nginx", "com.docker.compose.project": "shop"}}}"#;
        Event::of(serde_json::from_str(event).unwrap())
    }

    #[track_caller]
    fn check(selector: &Selector, expected: bool) {
        assert_eq!(start().is_of(selector), expected, "{selector:?}");
    }

    #[test]
    fn a_container_is_known_by_its_name_and_the_beginning_of_its_identifier() {
        let container = |name: &str| Selector::Container(name.to_owned());
        check(&container("shop-nginx-1"), true);
        check(&container("shop-nginx"), false);
        check(&container("shop-nginx-11"), false);
        check(&container("4f66ad9a0b2e"), true);
        check(&container("ad9a0b2e"), false);
        check(&container("nginx"), false);
    }

    #[test]
    fn the_end_of_a_container_is_told_from_its_start() {
        let event = r#"{"Type": "container", "Action": "die", "Actor": {"Attributes": {
            "name": "web", "exitCode": "137"}}}"#;
        let event = Event::of(serde_json::from_str(event).unwrap());
        assert_eq!(
            (event.what, event.name.as_str()),
            (Happening::Stopped, "web")
        );
        assert_eq!(start().what, Happening::Started);
    }

    #[test]
    fn a_label_is_asked_for_with_its_value_or_without() {
        let label = |label: &str| Selector::Label(label.to_owned());
        check(&label("role"), true);
        check(&label("role=web"), true);
        check(&label("role=we"), false);
        check(&label("role="), false);
        check(&label("empty="), true);
        check(&label("web"), false);
    }

    #[test]
    fn a_compose_service_is_that_of_its_project_where_one_is_named() {
        let service = |service: &str, project: Option<&str>| Selector::Service {
            service: service.to_owned(),
            project: project.map(ToOwned::to_owned),
        };
        check(&service("nginx", None), true);
        check(&service("nginx", Some("shop")), true);
        check(&service("nginx", Some("blog")), false);
        check(&service("db", Some("shop")), false);
    }

    #[test]
    fn an_event_without_an_actor_is_nobodys() {
        let start = Event::of(EventMessage::default());
        assert_eq!((start.name.as_str(), start.id.as_str()), ("", ""));
        assert!(!start.is_of(&Selector::Container("web".to_owned())));
        assert!(!start.is_of(&Selector::Label("role".to_owned())));
    }
}
