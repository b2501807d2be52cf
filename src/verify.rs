//! What is served, judged: the proof that certd lives by.
//!
//! [`judge`] and [`path`] are pure: a handshake, what was expected and `now` go in, findings come
//! out. [`proof`] waits until a server shows a certificate.

pub mod judge;
mod memory;
pub mod path;
pub mod proof;
