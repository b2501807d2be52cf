//! How often nginx reads a file, and by which `include` lines: what stands in one that it reads in
//! another context too is not for one server block alone.

use std::collections::{BTreeMap, HashMap};

use super::files::Files;
use super::{KEPT, MOST_DEPTH, Place, Unjudged};

/// How nginx comes to a file
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// How often nginx reads it, in whatever context
    pub times: usize,
    /// The first `include` lines that name it
    pub at: Vec<Place>,
}

/// How nginx comes to the files of these names
pub(super) fn inclusions<'n>(
    files: &Files<'_>,
    names: impl Iterator<Item = &'n str>,
) -> Result<BTreeMap<String, Inclusion>, Unjudged> {
    let mut names = names.peekable();
    if names.peek().is_none() {
        return Ok(BTreeMap::new());
    }
    let mut lines: Vec<Vec<(usize, usize)>> = vec![Vec::new(); files.len()];
    for number in 0..files.len() {
        for (line, pattern) in files.includes(number) {
            files.spend(1)?;
            for included in files.included(pattern)?.iter() {
                files.spend(KEPT)?;
                lines[*included].push((number, line));
            }
        }
    }
    let mut counting = Counting {
        lines,
        known: HashMap::new(),
    };
    let mut found = BTreeMap::new();
    for (name, number) in names.filter_map(|name| Some((name, files.number(name)?))) {
        if found.contains_key(name) {
            continue;
        }
        let places = counting.lines[number].iter().take(MOST_PLACES);
        let at = places.map(|(file, line)| Place {
            file: files.file(*file).0.to_owned(),
            line: *line,
        });
        let inclusion = Inclusion {
            at: at.collect(),
            times: counting.times(number, 0),
        };
        found.insert(name.to_owned(), inclusion);
    }
    Ok(found)
}

struct Counting {
    /// By the number of a file, the lines that include it, each with the number of its own file
    lines: Vec<Vec<(usize, usize)>>,
    known: HashMap<usize, usize>,
}

impl Counting {
    /// A file is read once for each line that includes it, as often as the file of that line is
    fn times(&mut self, number: usize, depth: usize) -> usize {
        if number == 0 {
            return 1;
        }
        if let Some(known) = self.known.get(&number) {
            return *known;
        }
        if depth == MOST_DEPTH {
            return usize::MAX;
        }
        let mut times = 0_usize;
        for line in 0..self.lines[number].len() {
            let (file, _) = self.lines[number][line];
            times = times.saturating_add(self.times(file, depth + 1));
        }
        self.known.insert(number, times);
        times
    }
}

/// Lines that are named to a person
const MOST_PLACES: usize = 4;

#[cfg(test)]
mod tests {
    use super::super::read;

    #[track_caller]
    fn check(main: &str, others: &[(&str, &str)], expected: usize) {
        let mut dump = format!("# configuration file /n/nginx.conf:\n{main}\n\n");
        for (name, text) in others {
            dump.push_str(&format!("# configuration file /n/{name}:\n{text}\n\n"));
        }
        let found = read(&dump).expect("it is judged");
        assert_eq!(found.included["/n/tls"].times, expected, "{main}");
    }

    const TLS: (&str, &str) = ("tls", "ssl_certificate /x;");
    const OWN: &str = "server { listen 443 ssl; include tls; }";

    #[test]
    fn a_file_is_counted_in_every_context() {
        check(&format!("http {{ {OWN} }}"), &[TLS], 1);
        check(&format!("http {{ include tls; {OWN} }}"), &[TLS], 2);
        let stream = "stream { include tls; server { listen 8883 ssl; } }";
        check(&format!("{stream} http {{ {OWN} }}"), &[TLS], 2);
        check(&format!("http {{ {OWN} {OWN} }}"), &[TLS], 2);
        check(&format!("http {{ include t*; {OWN} }}"), &[TLS], 2);
        // A file in a file is read as often as that.
        let around = ("around", "include tls;");
        let through = "server { listen 443 ssl; include around; }";
        check(
            &format!("http {{ include around; {through} }}"),
            &[around, TLS],
            2,
        );
        check(&format!("http {{ {through} }}"), &[around, TLS], 1);
    }
}
