//! Whose rights are used: a directory is worked in with those of its owner.

use std::fs;
use std::marker::PhantomData;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, geteuid, setfsgid, setfsuid};

/// Who owns a file or a directory
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: Uid,
    pub(super) group: Gid,
}

/// This thread uses files with the rights of another user until it is dropped
///
/// Root that works in a directory of somebody else's could otherwise be led by its owner to use
/// root's rights for him. What is made there is his from the start. The identity for files is the
/// thread's own (setfsuid(2)), so that no other thread notices, and no file is used across an
/// `await`. Without the right to do so, which containers may withhold, everything is done as
/// before, and what is made is checked all the same.
pub(super) struct Acting {
    before: Option<Owner>,
    /// The identity belongs to the thread that took it
    _thread: PhantomData<*const ()>,
}

impl Acting {
    /// As this owner, if the process is root's and the owner is not
    pub(super) fn as_owner(owner: Owner) -> Self {
        let is_needed = geteuid().is_root() && !owner.user.is_root();
        Self {
            before: is_needed.then(|| {
                let group = setfsgid(owner.group);
                Owner {
                    user: setfsuid(owner.user),
                    group,
                }
            }),
            _thread: PhantomData,
        }
    }
}

/// The owner of a directory, if this process is root's and may have his rights there instead
pub(in crate::store) fn owner_instead(directory: &Path) -> Option<Uid> {
    let found = fs::metadata(directory).ok()?;
    let user = Uid::from_raw(found.uid());
    let group = Gid::from_raw(found.gid());
    let acting = Acting::as_owner(Owner { user, group });
    acting.before?;
    // Each call gives who it was before, and fails without a word.
    (setfsuid(user) == user).then_some(user)
}

impl Drop for Acting {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            setfsuid(before.user);
            setfsgid(before.group);
        }
    }
}
