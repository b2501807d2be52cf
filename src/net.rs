//! Bounded, timed access to the network. It sees and reports; it decides nothing.

pub mod dns;
pub mod engine;
pub mod fetch;
pub mod hosts;
pub mod http;
pub mod roots;
pub mod tls;
