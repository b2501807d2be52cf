//! What must pick a new certificate up: the nginx containers of a domain.
//!
//! [`container`] talks to the Docker API, [`owner`] to the kernel; the others judge what they saw as
//! plain data: which path of the host is which in the container ([`mount`]), where it answers
//! ([`endpoint`]), what runs in it ([`process`]), what nginx said ([`words`]), how it is configured
//! ([`dump`]), where it listens ([`listen`]), and which of its server blocks it chooses for a name
//! ([`choice`], with what its variables come to, [`variables`]).

pub mod choice;
pub mod container;
pub mod dump;
pub mod endpoint;
pub mod listen;
pub mod mount;
pub mod owner;
pub mod process;
pub mod variables;
pub mod words;
