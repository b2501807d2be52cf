//! What must pick a new certificate up: the nginx containers of a domain.
//!
//! [`container`] talks to the Docker API; the others judge what it saw as plain data: which path
//! of the host is which in the container ([`mount`]), where it answers ([`endpoint`]), what runs in
//! it ([`process`]), what nginx said ([`words`]), how it is configured ([`dump`]), where it listens
//! ([`listen`]), and which of its server blocks it chooses for a name ([`choice`]).

pub mod choice;
pub mod container;
pub mod dump;
pub mod endpoint;
pub mod listen;
pub mod mount;
pub mod process;
pub mod words;
