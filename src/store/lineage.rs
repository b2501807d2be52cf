//! Generations of a domain's certificate: reading them, adding one, making one live, pruning.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Store;
use super::files::{self, Access, Entry, FileError};
use super::foreign::WayOut;
use super::record::{Record, RecordError};
use crate::chain::{self, Chain, ChainError, KeyError};
use crate::finding::{Explain, words};
use crate::input::{KIB, MIB};
use crate::name::DnsName;

/// All generations of one domain, with what is remembered of them
#[derive(Clone, Debug)]
pub struct Lineage {
    /// Primary name
    pub name: DnsName,
    /// Numbers of the generations in the archive, ascending
    pub generations: Vec<u32>,
    /// What the live link names
    pub live: Option<u32>,
    /// Proofs, issuers and failures
    pub record: Record,
}

impl Lineage {
    /// The newest generation in the archive
    pub fn newest(&self) -> Option<u32> {
        self.generations.last().copied()
    }
}

/// The files of one generation, read and found to belong together
#[derive(Clone, Debug)]
pub struct Generation {
    /// Its number, from 1
    pub number: u32,
    /// The chain in `fullchain.pem`
    pub chain: Chain,
    /// Files that do not hold the parts of it that they should
    pub damaged: Vec<&'static str>,
}

/// A certificate that the CA issued, checked and ready for the archive
pub struct Issued {
    /// The chain exactly as the CA sent it, leaf first
    pub chain_pem: String,
    /// Private key in PEM
    pub key_pem: zeroize::Zeroizing<String>,
}

impl Store {
    /// The lineage of a domain; one without generations where there is none yet
    ///
    /// # Errors
    /// [`LineageError::Foreign`] where another program's files are in the way.
    pub fn lineage(&self, name: &DnsName) -> Result<Lineage, LineageError> {
        let generations = self.generations(name)?;
        let live = match self.live(name) {
            // The first generation takes its place.
            Err(LineageError::Placeholder { found, .. }) if self.storage.admits(&found).is_ok() => {
                None
            }
            live => live?,
        };
        Ok(Lineage {
            name: name.clone(),
            live: live.filter(|number| generations.contains(number)),
            generations,
            record: self.record(name)?,
        })
    }

    /// Numbers of a domain's generations in the archive, ascending
    ///
    /// # Errors
    /// As [`Store::lineage`].
    pub fn generations(&self, name: &DnsName) -> Result<Vec<u32>, LineageError> {
        let archive = self.archive(name);
        let names = match self.storage.names(&archive) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.unreadable(name, archive, error)),
        };
        let mut numbers = Vec::new();
        for file_name in names.iter().filter(|name| !name.starts_with('.')) {
            match generation_number(file_name) {
                Some(number) => numbers.push(number),
                None => return Err(self.foreign(name, archive.join(file_name))),
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The generation that the live link names, whether or not it exists
    ///
    /// # Errors
    /// As [`Store::lineage`].
    pub fn live(&self, name: &DnsName) -> Result<Option<u32>, LineageError> {
        let link = self.live_link(name);
        let target = match self.storage.read_link(&link) {
            Ok(Some(target)) => target,
            Ok(None) => return Ok(None),
            // It is no symlink.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(match self.is_placeholder(&link) {
                    true => LineageError::Placeholder {
                        name: name.clone(),
                        found: link,
                    },
                    false => self.foreign(name, link),
                });
            }
            Err(error) => return Err(self.unreadable(name, link, error)),
        };
        let own = target
            .strip_prefix(live_target(name, ""))
            .ok()
            .and_then(|number| generation_number(&number.to_string_lossy()));
        match own {
            Some(number) => Ok(Some(number)),
            None => Err(self.foreign(name, link)),
        }
    }

    /// What may not be read, which is certbot's where that renews it: its directories are root's alone
    fn unreadable(&self, name: &DnsName, found: PathBuf, error: io::Error) -> LineageError {
        match error.kind() {
            io::ErrorKind::PermissionDenied if self.is_certbots(name) => self.foreign(name, found),
            _ => LineageError::read(&found, error),
        }
    }

    fn is_certbots(&self, name: &DnsName) -> bool {
        let renewals = self.storage().join(RENEWALS);
        renewals.join(format!("{name}.conf")).exists()
    }

    fn foreign(&self, name: &DnsName, found: PathBuf) -> LineageError {
        LineageError::Foreign {
            name: name.clone(),
            owner: if self.is_certbots(name) {
                "certbot"
            } else {
                "another program"
            },
            way: self.way_out(name, &found),
            found,
        }
    }

    /// Reads a generation, and checks that its files belong together
    ///
    /// # Errors
    /// [`GenerationError`] for missing, damaged or mismatched files.
    pub fn generation(&self, name: &DnsName, number: u32) -> Result<Generation, GenerationError> {
        let directory = self.archive(name).join(number.to_string());
        let pem = self.read(directory.join(FULLCHAIN), MOST_OF_CHAIN)?;
        let chain = Chain::from_pem(&pem)?;
        let key = zeroize::Zeroizing::new(self.read(directory.join(PRIVKEY), MOST_OF_KEY)?);
        if chain::public_key_of(&key)? != chain.leaf().public_key {
            return Err(GenerationError::Mismatch);
        }
        let is_damaged = |(file, part): &(&str, &[u8])| {
            let found = self.storage.read(&directory.join(file), MOST_OF_CHAIN);
            !found.is_ok_and(|found| found == *part)
        };
        let damaged = parts(&pem).into_iter().filter(is_damaged);
        Ok(Generation {
            number,
            damaged: damaged.map(|(file, _)| file).collect(),
            chain,
        })
    }

    fn read(&self, path: PathBuf, most: u64) -> Result<Vec<u8>, GenerationError> {
        let read = self.storage.read(&path, most);
        read.map_err(|source| GenerationError::Read { path, source })
    }

    /// Writes the files of a generation again that hold parts of its chain
    ///
    /// # Errors
    /// [`LineageError`] for the file that cannot be read or written.
    pub fn mend(&self, name: &DnsName, generation: &Generation) -> Result<(), LineageError> {
        let directory = self.archive(name).join(generation.number.to_string());
        let whole = directory.join(FULLCHAIN);
        let read = self.storage.read(&whole, MOST_OF_CHAIN);
        let pem = read.map_err(|error| LineageError::read(&whole, error))?;
        for (file, part) in parts(&pem) {
            if generation.damaged.contains(&file) {
                let path = directory.join(file);
                self.storage.write(&path, part, Access::Everyone)?;
            }
        }
        Ok(())
    }

    /// Reads a generation's chain alone, for those who may not read keys
    ///
    /// # Errors
    /// [`GenerationError`] for missing or damaged files.
    pub fn certificate(&self, name: &DnsName, number: u32) -> Result<Generation, GenerationError> {
        let directory = self.archive(name).join(number.to_string());
        let pem = self.read(directory.join(FULLCHAIN), MOST_OF_CHAIN)?;
        Ok(Generation {
            number,
            chain: Chain::from_pem(&pem)?,
            damaged: Vec::new(),
        })
    }

    /// Adds a generation to the archive; it is complete and synced before it has its number
    ///
    /// # Errors
    /// [`LineageError`]; nothing that was there is changed.
    pub fn add_generation(&self, lineage: &Lineage, issued: &Issued) -> Result<u32, LineageError> {
        let number = lineage.newest().unwrap_or(0) + 1;
        let archive = self.archive(&lineage.name);
        self.storage.create_directory(&archive, Entry::Everyone)?;
        let [leaf, above] = parts(issued.chain_pem.as_bytes());
        self.storage.create_complete(
            &archive.join(number.to_string()),
            &[
                (PRIVKEY, issued.key_pem.as_bytes(), self.key_access),
                (FULLCHAIN, issued.chain_pem.as_bytes(), Access::Everyone),
                (leaf.0, leaf.1, Access::Everyone),
                (above.0, above.1, Access::Everyone),
            ],
        )?;
        Ok(number)
    }

    /// Lets `key_group` read a key that was written before it was set
    ///
    /// Without `key_group` nothing is changed: somebody may have given the key away on purpose.
    ///
    /// # Errors
    /// [`FileError`] with the key.
    pub fn share_key(&self, name: &DnsName, number: u32) -> Result<(), FileError> {
        let Access::Group(group) = self.key_access else {
            return Ok(());
        };
        let directory = self.archive(name).join(number.to_string());
        self.storage.share(&directory.join(PRIVKEY), group)
    }

    /// Makes a generation live with one rename, which a power cut may take back until
    /// [`Store::sync_live`]
    ///
    /// It takes the place of a placeholder, so that nginx can be started and reloaded at any moment.
    ///
    /// # Errors
    /// [`FileError`]; the link names what it named before.
    pub fn switch(&self, name: &DnsName, number: u32) -> Result<(), FileError> {
        let (link, target) = (self.live_link(name), live_target(name, &number.to_string()));
        match self.is_placeholder(&link) {
            true => self.storage.replace(&link, &target),
            false => self.storage.point(&link, &target),
        }
    }

    /// Has all live links on disk that were switched before
    ///
    /// # Errors
    /// [`FileError`]; after a power cut some of them may name what they named before.
    pub fn sync_live(&self) -> Result<(), FileError> {
        self.storage.sync(&self.storage().join(super::LIVE))
    }

    /// Removes old generations beyond the newest five, never a live or unproven one
    ///
    /// Where the record of them is lost, those go that are older than a live and proven one: none of
    /// them waits to be made live.
    ///
    /// # Errors
    /// [`FileError`] with the directory that stays.
    pub fn prune(&self, lineage: &Lineage) -> Result<Vec<u32>, FileError> {
        let mut removed = Vec::new();
        for number in prunable(lineage) {
            let archive = self.archive(&lineage.name);
            self.storage.remove(&archive.join(number.to_string()))?;
            removed.push(number);
        }
        Ok(removed)
    }

    /// Names of all lineages in the archive that certd wrote, sorted
    ///
    /// # Errors
    /// [`LineageError::Read`] when the archive cannot be listed.
    pub fn lineage_names(&self) -> Result<Vec<DnsName>, LineageError> {
        let archive = self.storage().join(super::ARCHIVE);
        let entries = match self.storage.names(&archive) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(LineageError::read(&archive, error)),
        };
        let mut names: Vec<DnsName> = entries
            .iter()
            .filter_map(|entry| DnsName::parse(entry).ok())
            .collect();
        names.sort();
        Ok(names)
    }
}

/// The generations that may go, oldest first
fn prunable(lineage: &Lineage) -> Vec<u32> {
    let old = lineage.generations.len().saturating_sub(KEPT);
    let record = &lineage.record;
    let proven = lineage.live.filter(|live| record.is_proven(*live));
    let is_lost = |number: &u32| {
        !record.generations.contains_key(number) && proven.is_some_and(|live| *number < live)
    };
    lineage.generations[..old]
        .iter()
        .copied()
        .filter(|number| Some(*number) != lineage.live)
        .filter(|number| record.is_proven(*number) || is_lost(number))
        .collect()
}

fn generation_number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number > 0 && number.to_string() == text).then_some(number)
}

/// The relative target of a live link, as it looks from `live/`
pub(super) fn live_target(name: &DnsName, number: &str) -> PathBuf {
    Path::new("..")
        .join(super::ARCHIVE)
        .join(name.as_str())
        .join(number)
}

/// The first certificate of a PEM chain and the rest, each byte as sent, with the files for them
fn parts(pem: &[u8]) -> [(&'static str, &[u8]); 2] {
    let end = pem
        .windows(PEM_END.len())
        .position(|window| window == PEM_END)
        .map_or(pem.len(), |at| at + PEM_END.len());
    let line = pem[end..].iter().position(|byte| *byte == b'\n');
    let (leaf, above) = pem.split_at(line.map_or(pem.len(), |newline| end + newline + 1));
    [(CERT, leaf), (CHAIN, above)]
}

/// Why a lineage cannot be read or changed
#[derive(Debug, Error)]
pub enum LineageError {
    /// Files that certd did not write are where its own belong
    #[error("{} belongs to {owner}", found.display())]
    Foreign {
        /// The domain
        name: DnsName,
        /// What is in the way
        found: PathBuf,
        /// Whose it seems to be
        owner: &'static str,
        /// How certd gets its place
        way: WayOut,
    },
    /// The self-signed certificate that lets nginx start is where the live one belongs
    #[error("{} is a placeholder, which lets nginx start and is no certificate", found.display())]
    Placeholder {
        /// The domain
        name: DnsName,
        /// Its directory
        found: PathBuf,
    },
    /// A directory or link cannot be read
    #[error("cannot read {}", path.display())]
    Read {
        /// Which
        path: PathBuf,
        /// Why
        source: io::Error,
    },
    /// The record cannot be read
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A file cannot be written
    #[error(transparent)]
    File(#[from] FileError),
}

impl LineageError {
    /// Whether it is there, and may not be read
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    fn read(path: &Path, source: io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }
}

impl Explain for LineageError {
    fn code(&self) -> &'static str {
        match self {
            Self::Foreign { .. } => "store.foreign_lineage",
            Self::Placeholder { .. } => "store.placeholder",
            Self::Read { source, .. } => match files::code(source) {
                "store.in_the_way" => "store.in_the_way",
                _ => "store.unreadable",
            },
            Self::Record(RecordError::File(error)) | Self::File(error) => error.code(),
            Self::Record(_) => "store.record",
        }
    }

    fn cure(&self) -> Option<String> {
        match self {
            Self::Foreign {
                name, owner, way, ..
            } => Some(way.cure(name, owner)),
            Self::Placeholder { name, found } => Some(format!(
                "once nginx runs, `certd obtain {name}` puts the first certificate in its place; run it as root, or as who may write in {}. If nginx does not run, `docker logs` shows the file that it misses: leave the placeholder where it is",
                words::path(found)
            )),
            Self::Record(error) if error.is_forbidden() => {
                Some("run certd as the owner of the state directory, or as root".to_owned())
            }
            Self::Record(RecordError::File(error)) => error.cure(),
            Self::Record(_) => Some(
                "move the file away and run again: certificates are not touched, the newest \
                 one is only proven anew"
                    .to_owned(),
            ),
            Self::Read { path, source } => Some(files::cure(path, source)),
            Self::File(error) => error.cure(),
        }
    }
}

impl GenerationError {
    /// Whether the files may not be read
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether the files are there and cannot be read: a new order would mend nothing
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() != io::ErrorKind::NotFound)
    }
}

/// Why a generation's files are of no use
#[derive(Debug, Error)]
pub enum GenerationError {
    /// A file is missing or cannot be read
    #[error("cannot read {}", path.display())]
    Read {
        /// The file
        path: PathBuf,
        /// Why
        source: io::Error,
    },
    /// The chain does not parse
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The key does not parse
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key belongs to another certificate
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

const CERT: &str = "cert.pem";
pub(super) const CHAIN: &str = "chain.pem";
pub(super) const FULLCHAIN: &str = "fullchain.pem";
pub(super) const PRIVKEY: &str = "privkey.pem";
/// Bytes of a chain: one that a browser takes has some ten KiB
pub(super) const MOST_OF_CHAIN: u64 = MIB;
/// Bytes of a key: RSA with 16384 bits has 13 KiB
pub(super) const MOST_OF_KEY: u64 = 64 * KIB;
const PEM_END: &[u8] = b"-----END CERTIFICATE-----";
const KEPT: usize = 5;
/// Where certbot keeps what it renews, readable to all, in the storage that is its own by default
pub(super) const RENEWALS: &str = "renewal";
