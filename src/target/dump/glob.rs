//! Patterns of `include`, as glob(7) reads them.

/// Whether a path fits a pattern: nothing in it stands for a slash, or for the dot that hides a file
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    pattern.split('/').count() == path.split('/').count()
        && pattern
            .split('/')
            .zip(path.split('/'))
            .all(|(pattern, part)| matches_part(pattern.as_bytes(), part.as_bytes()))
}

/// Whether nginx takes it for a pattern
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// The same without slashes; what the last star stands for grows until the rest fits
fn matches_part(pattern: &[u8], text: &[u8]) -> bool {
    if text.first() == Some(&b'.') && matches!(pattern.first(), Some(b'*' | b'?' | b'[')) {
        return false;
    }
    let (mut wanted, mut at, mut star) = (0, 0, None);
    while at < text.len() {
        if pattern.get(wanted) == Some(&b'*') {
            star = Some((wanted + 1, at));
            wanted += 1;
        } else if let Some(length) = takes(&pattern[wanted..], text[at]) {
            wanted += length;
            at += 1;
        } else if let Some((after, from)) = star {
            star = Some((after, from + 1));
            (wanted, at) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[wanted..].iter().all(|byte| *byte == b'*')
}

/// How much of a pattern stands for this byte; `None` where its beginning does not
fn takes(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', set @ ..] => match end_of_set(set) {
            Some(end) => is_in(&set[..end], byte).then_some(end + 2),
            None => (byte == b'[').then_some(1),
        },
        [first, ..] => (*first == byte).then_some(1),
        [] => None,
    }
}

/// Where a set ends; a bracket that stands first in it is one of its members
fn end_of_set(set: &[u8]) -> Option<usize> {
    let negated = usize::from(matches!(set.first(), Some(b'!' | b'^')));
    let rest = set.get(negated + 1..)?;
    let end = rest.iter().position(|byte| *byte == b']')?;
    Some(negated + 1 + end)
}

fn is_in(set: &[u8], byte: u8) -> bool {
    let (negated, mut set) = match set {
        [b'!' | b'^', rest @ ..] => (true, rest),
        set => (false, set),
    };
    let mut found = false;
    while let [first, rest @ ..] = set {
        set = match rest {
            [b'-', last, rest @ ..] => {
                found |= (*first..=*last).contains(&byte);
                rest
            }
            rest => {
                found |= *first == byte;
                rest
            }
        };
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_files_of_one_directory() {
        #[track_caller]
        fn check(pattern: &str, path: &str, expected: bool) {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        check("/etc/nginx/a.conf", "/etc/nginx/a.conf", true);
        check("/etc/nginx/*.conf", "/etc/nginx/a.conf", true);
        check("/etc/*/a*b?.conf", "/etc/nginx/aabbc.conf", true);
        check("/etc/nginx/*.conf", "/etc/nginx/a/b.conf", false);
        check("/etc/nginx/*.conf", "/etc/nginx/a.config", false);
        check("/etc/nginx/*", "/etc/nginx/a", true);
        check("/etc/nginx/?", "/etc/nginx/ab", false);
        check(&"*a".repeat(30), &"a".repeat(29), false);
        check("/a/[0-9][!a]*.conf", "/a/10-x.conf", true);
        check("/a/[0-9][!a]*.conf", "/a/1a-x.conf", false);
        check("/a/[]x-]", "/a/]", true);
        check("/a/[]x-]", "/a/-", true);
        check("/a/[^]x]", "/a/]", false);
        check("/a/[x", "/a/[x", true);
        check("/a/\\*", "/a/*", true);
        check("/a/\\*", "/a/b", false);
    }

    #[test]
    fn a_hidden_file_is_taken_by_no_star() {
        assert!(!matches("/sites/*", "/sites/.swp"));
        assert!(!matches("/sites/?x", "/sites/.x"));
        assert!(!matches("/sites/[.]x", "/sites/.x"));
        assert!(matches("/sites/.*", "/sites/.x"));
        assert!(matches("/sites/a*", "/sites/a.x"));
    }
}
