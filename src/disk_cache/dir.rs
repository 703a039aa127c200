//! The folder that the caches are in, and who may have written to it.

use super::once::warn_once;
use crate::fault::{self, Point};
use crate::settings::{CacheFolder, Settings};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A folder that only its owner can write to. How it is checked: [`CacheDir::open`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheDir {
    path: PathBuf,
    readonly: bool,
}

/// Why a folder is not used for caches.
#[derive(Debug, thiserror::Error)]
pub enum CacheDirError {
    #[error("the folder {} cannot be {action}: {source}", .path.display())]
    Io {
        path: PathBuf,
        /// "made" or "looked at".
        action: &'static str,
        source: io::Error,
    },
    #[error("{} is not a folder", .path.display())]
    NotAFolder { path: PathBuf },
    #[error(
        "the folder {} belongs to the user with number {owner}, and this process runs as {user}: what others write is not run",
        .path.display()
    )]
    ForeignOwner { path: PathBuf, owner: u32, user: u32 },
    #[error(
        "the folder {} can be written by others (its mode is {mode:03o}): what others write is not run; chmod go-w makes it usable",
        .path.display()
    )]
    WritableByOthers { path: PathBuf, mode: u32 },
    #[error(
        "the folder {} can be exchanged for another by anybody, as {} can be written by all (its mode is {mode:03o}): what others write is not run; chmod o-w or +t on it makes it usable",
        .path.display(), .above.display()
    )]
    Exchangeable { path: PathBuf, above: PathBuf, mode: u32 },
}

/// Whether anybody could put another folder in the place of this one.
fn judge_above(path: &Path) -> Result<(), CacheDirError> {
    let real = path.canonicalize().map_err(|source| looked_at(path, source))?;
    for above in real.ancestors().skip(1) {
        let mode = fs::metadata(above).map_err(|source| looked_at(above, source))?.mode() & 0o7777;
        if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            return Err(CacheDirError::Exchangeable {
                path: path.to_path_buf(),
                above: above.to_path_buf(),
                mode,
            });
        }
    }
    Ok(())
}

/// A temporary file that was not written to for so long is of a process that was killed. (Should its writer be alive all the
/// same, it fails to put the file in its place, and that is all.)
const ABANDONED: Duration = Duration::from_secs(60 * 60);

impl CacheDir {
    /// The folder of the settings as they are now (`TFTRT_CACHE_DIR`, `TFTRT_CACHE_READONLY`), made if need be.
    ///
    /// `None` where nothing is to be kept on disk, where a folder to be read only is not there, and, with a warning that is said
    /// once, where there is no folder that can be used.
    pub fn current() -> Option<CacheDir> {
        CacheDir::of(&Settings::current(), |name| std::env::var_os(name))
    }

    /// The folder as [`CacheDir::current`] has it, to be looked at: it is not made where it is not there.
    pub fn look() -> Option<CacheDir> {
        let settings = Settings {
            cache_readonly: true,
            ..Settings::current()
        };
        CacheDir::of(&settings, |name| std::env::var_os(name))
    }

    /// As [`CacheDir::current`], with these settings; `env` reads `XDG_CACHE_HOME` and `HOME`.
    pub(super) fn of(settings: &Settings, env: impl Fn(&str) -> Option<OsString>) -> Option<CacheDir> {
        let path = match &settings.cache_dir {
            CacheFolder::Nowhere => return None,
            CacheFolder::At(path) => path.clone(),
            CacheFolder::User => {
                // A path that is not absolute does not count, says the XDG specification.
                let folder = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
                let Some(caches) = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache"))) else {
                    warn_once(
                        "no home",
                        "neither XDG_CACHE_HOME nor HOME is an absolute path: engines and timings are not kept on disk; TFTRT_CACHE_DIR names \
                         a folder for them",
                    );
                    return None;
                };
                caches.join("tftrt")
            }
        };
        match CacheDir::open(&path, settings.cache_readonly) {
            Ok(dir) => Some(dir),
            // There is nothing to be read, which is no news.
            Err(CacheDirError::Io { source, .. }) if settings.cache_readonly && source.kind() == ErrorKind::NotFound => None,
            Err(why) => {
                warn_once(
                    format!("folder {}", path.display()),
                    format!("engines and timings are not kept on disk: {why} (TFTRT_CACHE_DIR names another folder)"),
                );
                None
            }
        }
    }

    /// The folder `path`; unless `readonly`, it is made (mode 0700, with the folders above it) where it is not there.
    ///
    /// # Errors
    /// Where it cannot be made or is no folder; where it belongs to another user than the process's effective one or root; where
    /// its group or all may write to it; where all may exchange it, since they may write to a folder above it that is not sticky, as
    /// /tmp is. `path` itself may be a symbolic link: the folder that it leads to is what is judged.
    pub fn open(path: impl Into<PathBuf>, readonly: bool) -> Result<CacheDir, CacheDirError> {
        let path = path.into();
        if !readonly {
            make(&path, true)?;
        }
        let found = fs::metadata(&path).map_err(|source| looked_at(&path, source))?;
        judge(&path, &found)?;
        judge_above(&path)?;
        Ok(CacheDir { path, readonly })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing may be written to it.
    pub fn readonly(&self) -> bool {
        self.readonly
    }

    /// The folder `name` in it, made (mode 0700) unless the whole is read only; no symbolic link is followed.
    ///
    /// `None`: it is not there.
    pub(super) fn folder(&self, name: &str) -> Result<Option<PathBuf>, CacheDirError> {
        let path = self.path.join(name);
        if !self.readonly {
            make(&path, false)?;
        }
        match fs::symlink_metadata(&path) {
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(looked_at(&path, source)),
            Ok(found) => judge(&path, &found).map(|()| Some(path)),
        }
    }
}

fn looked_at(path: &Path, source: io::Error) -> CacheDirError {
    CacheDirError::Io {
        path: path.to_path_buf(),
        action: "looked at",
        source,
    }
}

fn make(path: &Path, with_parents: bool) -> Result<(), CacheDirError> {
    let made = fault::at(Point::Folder)
        .map_err(io::Error::from)
        .and_then(|()| DirBuilder::new().mode(0o700).recursive(with_parents).create(path));
    match made {
        // Whatever it is, it is looked at next.
        Err(why) if why.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|source| CacheDirError::Io {
            path: path.to_path_buf(),
            action: "made",
            source,
        }),
    }
}

fn judge(path: &Path, found: &Metadata) -> Result<(), CacheDirError> {
    let path = path.to_path_buf();
    if !found.is_dir() {
        return Err(CacheDirError::NotAFolder { path });
    }
    let user = rustix::process::geteuid().as_raw();
    let (owner, mode) = (found.uid(), found.mode() & 0o777);
    if owner != user && owner != 0 {
        return Err(CacheDirError::ForeignOwner { path, owner, user });
    }
    if mode & 0o022 != 0 {
        return Err(CacheDirError::WritableByOthers { path, mode });
    }
    Ok(())
}

/// Removes the temporary files that killed processes left in `folder`. What cannot be removed stays.
pub(super) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        // The names of crate::files::replace.
        let temporary = name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(".tmp"));
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if temporary && age().is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
