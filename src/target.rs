//! What must pick a new certificate up: the nginx containers of a domain.
//!
//! [`container`] talks to the Docker API; the others judge what it saw as plain data: which path
//! of the host is which in the container ([`mount`]), where it answers ([`endpoint`]), what nginx
//! said ([`words`]) and how it is configured ([`dump`]).

pub mod container;
pub mod dump;
pub mod endpoint;
pub mod mount;
pub mod words;
