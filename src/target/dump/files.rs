//! The files of a dump, told apart.
//!
//! `nginx -T` prints each file that it has opened once (since 1.11.6), in that order, as it is:
//! a header before it, a line break behind it. Whoever writes a site's file can write such a header
//! into it, in a comment or in a value, and give his lines to a file of another. A header of nginx's
//! own stands where the file before it has ended, outside of blocks, directives and quotation marks
//! ([`super::text`]), and names the file that nginx opens next by the `include` that it has come to.
//! A dump with a header elsewhere is not judged. What that cannot tell: the name of a file that is not
//! there, which a pattern of `include` would take at this very place.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use super::text::{Items, Texts};
use super::{MOST_DEPTH, Unjudged, first_name, glob};
use crate::target::variables::names_in;

/// The files of a dump
pub(super) struct Files<'d> {
    texts: Texts<'d>,
    /// Each with its name, in the order in which nginx opened them
    all: Vec<(&'d str, Range<usize>)>,
    /// Their numbers by name
    by_name: HashMap<&'d str, usize>,
    /// What patterns of `include` were seen to mean
    meant: RefCell<HashMap<String, Rc<[usize]>>>,
    /// What may still be spent on includes
    budget: Cell<usize>,
    /// Whether anything uses `$server_name`
    has_first_name: bool,
}

impl<'d> Files<'d> {
    pub(super) fn parse(dump: &'d str) -> Result<Self, Unjudged> {
        let (texts, all) = Texts::read(dump)?;
        let mut every = texts.every(0..texts.len());
        let has_first_name = every.any(first_name::is_used);
        drop(every);
        let mut files = Self {
            has_first_name,
            texts,
            all,
            by_name: HashMap::new(),
            meant: RefCell::default(),
            budget: Cell::new(BUDGET),
        };
        for (number, (name, _)) in files.all.iter().enumerate() {
            if files.by_name.insert(name, number).is_some() {
                return Err(not_nginxs_own(name));
            }
        }
        if files.all.is_empty() {
            return Ok(files);
        }
        let mut opening = Opening {
            files: &files,
            next: 1,
        };
        opening.file(0, 0)?;
        match files.all.get(opening.next) {
            Some((name, _)) => Err(not_nginxs_own(name)),
            None => Ok(files),
        }
    }

    /// How many they are
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The name of a file, and its directives
    pub(super) fn file(&self, number: usize) -> (&'d str, Items<'_, 'd>) {
        let (name, directives) = &self.all[number];
        (name, self.texts.items(directives.clone()))
    }

    /// The number of a file of this name
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The `include` lines of a file, in whatever block: the line, and the pattern
    pub(super) fn includes(&self, number: usize) -> impl Iterator<Item = (usize, &str)> {
        let all = self.texts.every(self.all[number].1.clone());
        let includes = all.filter(|item| item.block().is_none() && item.name() == "include");
        includes.filter_map(|item| Some((item.line(), item.first()?)))
    }

    /// Whether anything uses `$server_name`
    pub(super) fn has_first_name(&self) -> bool {
        self.has_first_name
    }

    /// The variables in what stands elsewhere than in lines that name certificates
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        let texts = self.texts.every(0..self.texts.len());
        let used = texts.filter(|item| !item.name().starts_with("ssl_certificate"));
        let words = used.flat_map(|item| match (item.name(), item.arguments()) {
            // The second names the variable that a map makes.
            ("map", [key, ..]) => std::slice::from_ref(key),
            (_, arguments) => arguments,
        });
        words.flat_map(|word| names_in(word))
    }

    /// Takes what a step costs: what includes each other can come to more than it takes to write
    pub(super) fn spend(&self, cost: usize) -> Result<(), Unjudged> {
        let left = self.budget.get().checked_sub(cost);
        self.budget.set(left.ok_or(Unjudged::Includes)?);
        Ok(())
    }

    /// The numbers of the files that `include` means, in nginx's order
    pub(super) fn included(&self, pattern: &str) -> Result<Rc<[usize]>, Unjudged> {
        if let Some(known) = self.meant.borrow().get(pattern) {
            return Ok(Rc::clone(known));
        }
        let path = self.full(pattern);
        let mut meant = match glob::is_pattern(&path) {
            false => self
                .by_name
                .get(path.as_str())
                .copied()
                .into_iter()
                .collect(),
            true => self.matching(&path)?,
        };
        // One that was included before stands where that was.
        meant.sort_by_key(|number| self.all[*number].0);
        let meant: Rc<[usize]> = meant.into();
        let mut known = self.meant.borrow_mut();
        known.insert(pattern.to_owned(), Rc::clone(&meant));
        Ok(meant)
    }

    fn matching(&self, pattern: &str) -> Result<Vec<usize>, Unjudged> {
        let mut meant = Vec::new();
        for (number, (file, _)) in self.all.iter().enumerate() {
            if self.fits(pattern, file)? {
                meant.push(number);
            }
        }
        Ok(meant)
    }

    fn fits(&self, pattern: &str, file: &str) -> Result<bool, Unjudged> {
        if !glob::is_pattern(pattern) {
            return Ok(pattern == file);
        }
        self.spend(1 + pattern.len() * file.len() / 512)?;
        Ok(pattern.len() <= LONGEST_PATTERN && glob::matches(pattern, file))
    }

    /// A path of `include` as nginx opens it: a relative one is put behind the main file's directory
    fn full(&self, path: &str) -> String {
        let main = self.all.first().map_or("", |(main, _)| main);
        match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{}{path}", directory_of(main)),
        }
    }
}

/// The files as nginx opens them: one after the other, each where an `include` names it
struct Opening<'f, 'd> {
    files: &'f Files<'d>,
    /// Number of the file that was printed next
    next: usize,
}

impl Opening<'_, '_> {
    fn file(&mut self, number: usize, depth: usize) -> Result<(), Unjudged> {
        if depth > MOST_DEPTH {
            return Err(Unjudged::Depth);
        }
        let files = self.files;
        for item in files.texts.every(files.all[number].1.clone()) {
            if let (None, Some(pattern), "include") = (item.block(), item.first(), item.name()) {
                self.include(&files.full(pattern), depth)?;
            }
        }
        Ok(())
    }

    /// Takes what an `include` opens; what was opened before is not printed again, and a pattern may
    /// mean no file at all
    fn include(&mut self, pattern: &str, depth: usize) -> Result<(), Unjudged> {
        let files = self.files;
        let mut before = "";
        while let Some((name, _)) = files.all.get(self.next)
            && *name > before
            && files.fits(pattern, name)?
        {
            before = name;
            self.next += 1;
            self.file(self.next - 1, depth + 1)?;
        }
        Ok(())
    }
}

fn not_nginxs_own(file: &str) -> Unjudged {
    Unjudged::Header {
        file: file.to_owned(),
    }
}

/// The directory of a path with its slash; nothing for a path without one
pub(super) fn directory_of(path: &str) -> &str {
    let end = path.rfind('/').map_or(0, |slash| slash + 1);
    &path[..end]
}

/// Steps that reading may take beyond the words: a thousand sites with ten includes take 100,000
const BUDGET: usize = 10_000_000;
/// A pattern of `include` that is longer means no file
const LONGEST_PATTERN: usize = 512;
