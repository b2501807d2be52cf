//! Knowing before the CA is asked: what DNS, CAA and port 80 say of a name, judged by a CA's rules.
//!
//! Facts are gathered by [`probe`] and by [`crate::net`]; [`judge`] turns them into findings and
//! asks nobody.

pub mod caa;
pub mod judge;
pub mod probe;
