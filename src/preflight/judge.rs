//! Facts into findings: pure functions, one for each area.

pub mod dns;
pub mod host;
pub mod http;
