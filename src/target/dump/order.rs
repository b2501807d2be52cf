//! The order in which nginx reads its configuration, which is not that of the dump: there a file
//! comes after the one that includes it, while nginx reads it at the place of its `include`.
//!
//! Of server blocks that are equal otherwise nginx takes the first that it has read.

use std::collections::BTreeSet;

use nginx_lint_parser::ast::Directive;

use super::{CertificateLine, Files, ServerBlock, certificate_line, server_block};

/// All server blocks of the http module, in the order in which nginx reads them
///
/// Files that no `include` was seen to name come last: better out of order than not at all.
pub(super) fn read(files: &Files) -> Vec<ServerBlock> {
    let mut reading = Reading {
        files,
        seen: BTreeSet::new(),
        room: MOST_INCLUDES,
        blocks: Vec::new(),
        http: Vec::new(),
    };
    for (number, (file, _)) in files.0.iter().enumerate() {
        if !reading.seen.iter().any(|(seen, _)| *seen == number) {
            reading.file(number, file, Place::Unknown);
        }
    }
    let Reading {
        mut blocks, http, ..
    } = reading;
    for block in &mut blocks {
        block.inherited = inherited(block, &http);
    }
    blocks
}

/// What holds for a block of what stands beside the blocks: the certificate and the key apart, each
/// where it names none of its own
fn inherited(block: &ServerBlock, http: &[CertificateLine]) -> Vec<CertificateLine> {
    let has_own = |line: &&CertificateLine| {
        let mut own = block.certificates.iter();
        own.any(|own| own.directive == line.directive)
    };
    let lines = http.iter().filter(|line| !has_own(line));
    lines.cloned().collect()
}

/// In which module a directive stands
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// At the top of a file: the main one, or one of which nobody knows where it is included
    Unknown,
    Http,
    /// `stream` and `mail` have server blocks of another kind
    Other,
}

impl Place {
    fn within(self, block: &str) -> Self {
        match block {
            "http" => Self::Http,
            "stream" | "mail" => Self::Other,
            _ => self,
        }
    }
}

struct Reading<'f> {
    files: &'f Files,
    /// Files by their number, each with where it was included
    seen: BTreeSet<(usize, Place)>,
    /// How many more directives are followed that include
    room: usize,
    blocks: Vec<ServerBlock>,
    /// Lines beside the server blocks
    http: Vec<CertificateLine>,
}

impl<'f> Reading<'f> {
    fn file(&mut self, number: usize, file: &'f str, place: Place) {
        // Read twice, it would say the same again.
        if self.seen.insert((number, place)) {
            let (_, config) = &self.files.0[number];
            self.directives(file, config.directives(), place);
        }
    }

    fn directives(
        &mut self,
        file: &'f str,
        directives: impl Iterator<Item = &'f Directive>,
        place: Place,
    ) {
        for directive in directives {
            match (&directive.block, directive.first_arg()) {
                (None, Some(pattern)) if directive.is("include") => self.include(pattern, place),
                (None, _) if place == Place::Http => {
                    self.http.extend(certificate_line(file, directive));
                }
                (None, _) => {}
                (Some(_), _) if directive.is("server") && place == Place::Other => {}
                (Some(block), _) if directive.is("server") => {
                    let block = server_block(file, directive, block, self.files);
                    self.blocks.push(block);
                }
                (Some(block), _) => {
                    let place = place.within(&directive.name);
                    self.directives(file, block.directives(), place);
                }
            }
        }
    }

    fn include(&mut self, pattern: &str, place: Place) {
        let Some(left) = self.room.checked_sub(1) else {
            return;
        };
        self.room = left;
        for (number, file, _) in self.files.included(pattern) {
            self.file(number, file, place);
        }
    }
}

/// Directives that include files: nginx refuses a circle, and a dump that is none may hold one
const MOST_INCLUDES: usize = 1024;
