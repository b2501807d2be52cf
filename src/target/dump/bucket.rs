//! Room in nginx's hash tables: it refuses to start where a name is longer than a bucket holds.

/// The size of the buckets of a hash table (`..._hash_bucket_size`), in bytes
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket(usize);

impl Default for Bucket {
    /// A line of the processor's cache
    fn default() -> Self {
        Self(CACHE_LINE)
    }
}

impl Bucket {
    /// The size that a directive sets, which nginx makes up to whole lines of the cache; `None` for
    /// what is no number
    pub fn parse(size: &str) -> Option<Self> {
        let size: usize = size.parse().ok()?;
        Some(Self(size.checked_next_multiple_of(CACHE_LINE)?))
    }

    /// The size that one of these names needs where that is more than there is
    ///
    /// Of a wildcard each label is looked up by itself, and a regular expression never.
    pub fn for_names<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Option<usize> {
        let names = names.into_iter().filter(|name| !name.starts_with('~'));
        let length = |name: &str| match name.contains('*') {
            true => name.split('.').map(str::len).max().unwrap_or_default(),
            false => name.strip_prefix('.').unwrap_or(name).len(),
        };
        let longest = names.map(length).max()?;
        // A pointer, a length of two bytes, the name, and the end of the bucket (`NGX_HASH_ELT_SIZE`).
        let needed = (longest + 2).next_multiple_of(POINTER) + 2 * POINTER;
        (needed > self.0).then(|| needed.next_power_of_two())
    }
}

const POINTER: usize = 8;
/// Of the processors of the last twenty years
const CACHE_LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_longer_than_a_bucket_needs_a_larger_one() {
        let needed = |length: usize, bucket: Bucket| {
            let name = "a".repeat(length);
            bucket.for_names(["b.test", name.as_str()])
        };
        assert_eq!(needed(46, Bucket::default()), None);
        assert_eq!(needed(47, Bucket::default()), Some(128));
        assert_eq!(needed(47, Bucket::parse("128").unwrap()), None);
        assert_eq!(needed(200, Bucket::default()), Some(256));
        assert_eq!(Bucket::parse("x"), None);
        // nginx makes it 128.
        assert_eq!(needed(70, Bucket::parse("70").unwrap()), None);
        let pattern = format!("~^{}", "a".repeat(80));
        let deep = format!("*.{}b.test", "label.".repeat(20));
        assert_eq!(
            Bucket::default().for_names([&*pattern, &*deep, ".x.test"]),
            None
        );
        let label = format!("*.{}.test", "a".repeat(60));
        assert_eq!(Bucket::default().for_names([&*label]), Some(128));
    }
}
