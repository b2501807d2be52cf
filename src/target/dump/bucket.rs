//! Room in nginx's hash tables: it refuses to start where a name is longer than a bucket holds.

/// The size of the buckets of a hash table (`..._hash_bucket_size`), in bytes
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket(usize);

impl Default for Bucket {
    /// A line of the processor's cache
    fn default() -> Self {
        Self(64)
    }
}

impl Bucket {
    /// The size that a directive sets; `None` for what is no number
    pub fn parse(size: &str) -> Option<Self> {
        size.parse().ok().map(Self)
    }

    /// The size that one of these names needs where that is more than there is
    pub fn for_names<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Option<usize> {
        let longest = names.into_iter().map(str::len).max()?;
        // A pointer, a length of two bytes, the name, and the end of the bucket (`NGX_HASH_ELT_SIZE`).
        let needed = (longest + 2).next_multiple_of(POINTER) + 2 * POINTER;
        (needed > self.0).then(|| needed.next_power_of_two())
    }
}

const POINTER: usize = 8;

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
    }
}
