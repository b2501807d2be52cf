//! Which server block answers challenges at port 80, asked of nginx only where they are not served: its
//! configuration costs a command in the container.

use std::sync::Arc;

use super::configured::whereabouts;
use super::dumps::Dumps;
use super::target::Target;
use crate::config::ConfigTest;
use crate::facts::{Claim, Container, Gate};
use crate::finding::words;
use crate::name::DnsName;
use crate::target::choice;
use crate::target::choice::Inlet;
use crate::target::container::Engine;
use crate::target::dump::{Configuration, Early, Place, ServerBlock, word};
use crate::target::endpoint::{endpoints, inlet};
use crate::target::listen::Listen;
use crate::target::process::by_hand;

/// The nginx that is asked
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Gatekeeper {
    engine: Engine,
    container: Container,
    dumps: Arc<Dumps>,
}

impl Gatekeeper {
    /// The first container of a target; `None` where nginx is not to be asked for anything
    pub(super) fn of(target: &Target) -> Option<Self> {
        if target.nginx.test == ConfigTest::Skip {
            return None;
        }
        Some(Self {
            engine: target.engine.clone(),
            container: target.containers.first()?.clone(),
            dumps: Arc::clone(&target.dumps),
        })
    }

    /// The server block that answers for a name; `None` where its configuration does not tell
    pub(in crate::pipeline) async fn gate(&self, name: &DnsName) -> Option<Gate> {
        let dump = self.dumps.of(&self.engine, &self.container).await?;
        let configuration = dump.configuration.as_ref().ok()?;
        gate(&self.container, &self.engine, configuration, name)
    }
}

fn gate(
    container: &Container,
    engine: &Engine,
    configuration: &Configuration,
    name: &DnsName,
) -> Option<Gate> {
    let engine = engine.address();
    let door = endpoints(container, HTTP, engine).first()?.address;
    let inlet = inlet(container, door, engine)?;
    let block = choice::answering(configuration, name.as_str(), &inlet)?;
    let place = words::whole(&block.place());
    let at = |line: &Place| words::whole(&format!("{}:{}", line.file, line.line));
    let early = block.early.as_ref();
    let lines = early.into_iter().flat_map(|early| &early.lines);
    let from = early.map_or_else(|| place.clone(), |early| at(&early.from));
    let load = |then: &str| {
        let reload = by_hand(container, &["-s", "reload"]);
        format!("{then} let nginx load it:\n    {reload}")
    };
    let places = format!("{place} {from}");
    let awaiting = choice::awaiting_header(&configuration.servers, &inlet);
    Some(Gate {
        claim: claim(configuration, block, name, &inlet),
        closes: early.and_then(|early| early.closes.as_ref()).map(at),
        balanced: awaiting.map(|block| words::whole(&block.place())),
        early: lines
            .map(|(name, line)| format!("`{name}` at {}", at(line)))
            .collect(),
        apart: early.and_then(|Early { apart, .. }| {
            let apart = apart.clone()?;
            Some((apart.beside, apart.early))
        }),
        next: match whereabouts(container, &places) {
            Some(where_it_is) => format!("{where_it_is}\n{}", load("Then")),
            None => load("then"),
        },
        place,
        from,
    })
}

/// Why a block answers for a name
///
/// Where the table of names has no room for this one, none is to be added: nginx would not start.
fn claim(
    configuration: &Configuration,
    block: &ServerBlock,
    name: &DnsName,
    inlet: &Inlet,
) -> Claim {
    if choice::lists(block, name.as_str()) {
        return Claim::Listed;
    }
    let bucket = configuration.server_names_bucket;
    let is_too_long = bucket.for_names([name.as_str()]).is_some();
    let is_of_port = |line: &&Vec<String>| {
        let arguments: Vec<&str> = line.iter().map(String::as_str).collect();
        let of_http = |(first, last): (Listen, u16)| (first.at.port()..=last).contains(&inlet.port);
        Listen::parse(&arguments).is_some_and(of_http)
    };
    let typed = |line: &Vec<String>| {
        let words: Vec<String> = line.iter().map(|text| word(text)).collect();
        words.join(" ")
    };
    let lines = &block.listen_lines;
    let listens = match (is_too_long, lines.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => vec![HTTP.to_string()],
        (false, false) => lines.iter().filter(is_of_port).map(typed).collect(),
    };
    Claim::Default { listens }
}

/// The port at which a CA asks
const HTTP: u16 = 80;
