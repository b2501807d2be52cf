//! What the tests are made of.

mod ca;
mod certificates;
mod daemon;
mod docker;
mod formats;
mod hook;
mod host;
mod http;
mod place;
mod proxy;
mod server;
mod smtp;

pub(crate) use ca::Ca;
pub(crate) use certificates::{Authority, Leaf, Wish, element, pem};
pub(crate) use daemon::Daemon;
pub(crate) use docker::{Behaviour, Engine, Executed, inspected};
pub(crate) use formats::{
    Annotation, Sample, Schema, annotations, check_junit, has_xmllint, samples,
};
pub(crate) use hook::Hook;
pub(crate) use host::{Host, Setting, sites};
pub(crate) use http::{Reply, Request};
pub(crate) use place::{Place, Run, codes, finding, over_80_columns};
pub(crate) use proxy::Proxy;
pub(crate) use server::{CLOSED, Server, first_bytes, server_hello, tls_config, tls_config_for};
pub(crate) use smtp::{Letter, Manner, Smtp};

/// Compares a text with its snapshot, in which places, ports and times are named, not shown
macro_rules! snapshot {
    ($place:expr, $name:expr, $text:expr) => {
        $place
            .filters()
            .bind(|| insta::assert_snapshot!($name, $text))
    };
}
