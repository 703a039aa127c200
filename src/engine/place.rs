//! Where an engine file may be: `assets/trt-serialized-engine.<engine>` beside a `saved_model.pb`, and nowhere else.
//!
//! A file is opened once, from its model's open folder, and what is open is looked at: nothing can be exchanged in between.

use crate::fault::{self, Point};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// What the names of engine files begin with.
pub const PREFIX: &str = "trt-serialized-engine.";
/// The files that make a folder a SavedModel.
pub const SAVED_MODEL: [&str; 3] = ["saved_model.pb", "saved_model.pbtxt", "saved_model.cpb"];

/// Why an engine file is not opened.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It is not where engine files of this engine are.
    #[error("{0}; engine files are read from the folder assets of their own model only")]
    Elsewhere(String),
    /// It is in its place, and the system does not open it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The folder of the model that `file` belongs to by its name.
///
/// # Errors
/// Where `file` is no engine file of `engine` by its name.
pub fn model_of(file: &Path, engine: &str) -> Result<PathBuf, PlaceError> {
    let elsewhere = |why: String| Err(PlaceError::Elsewhere(why));
    if file.components().any(|part| part == Component::ParentDir) {
        return elsewhere("its path climbs by '..'".to_string());
    }
    if !file.file_name().and_then(OsStr::to_str).is_some_and(|name| is_of(name, engine)) {
        return elsewhere(format!("its name is not {PREFIX}{engine}"));
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    if folder.file_name() != Some(OsStr::new("assets")) {
        return elsewhere("it is in no folder of the name assets".to_string());
    }
    Ok(match folder.parent() {
        Some(model) if !model.as_os_str().is_empty() => model.to_path_buf(),
        _ => PathBuf::from("."),
    })
}

/// Whether an engine's file may have that name. A saver that meets two assets of one name numbers the second.
fn is_of(name: &str, engine: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(engine));
    rest.is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix('_')
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Says that no SavedModel is in a folder.
pub fn no_model(model: &Path) -> PlaceError {
    PlaceError::Elsewhere(format!("there is no {} in {}", SAVED_MODEL[0], model.display()))
}

/// Opens a local engine file of `engine`. The model's folder may be reached by links. Links in it may not lead out of it.
///
/// # Errors
/// Where it is elsewhere, is no regular file, or cannot be opened.
pub fn open(file: &Path, engine: &str) -> Result<File, PlaceError> {
    let model = model_of(file, engine)?;
    fault::at(Point::Open).map_err(io::Error::from)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, &model, flags, Mode::empty()).map_err(io::Error::from)?;
    let has = |name: &&str| rustix::fs::statat(&folder, *name, AtFlags::empty()).is_ok();
    if !SAVED_MODEL.iter().any(has) {
        return Err(no_model(&model));
    }
    let name = Path::new("assets").join(file.file_name().unwrap_or_default());
    let opened = beneath(&folder, &name)?;
    regular(File::from(opened)).map_err(PlaceError::Io)
}

/// Not blocking: to open a pipe would wait for its other end.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

fn beneath(folder: &OwnedFd, name: &Path) -> Result<OwnedFd, PlaceError> {
    // The system answers EAGAIN while somebody renames folders on the way.
    for _ in 0..16 {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(folder, name, READ, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => continue,
            // A kernel before 5.6, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => return without_links(folder.as_fd(), name),
            Err(Errno::XDEV) => return Err(PlaceError::Elsewhere("a symbolic link leads out of the model's folder".to_string())),
            Err(Errno::LOOP) => return Err(PlaceError::Elsewhere("its symbolic links lead nowhere".to_string())),
            opened => return opened.map_err(|e| PlaceError::Io(e.into())),
        }
    }
    Err(PlaceError::Io(Errno::AGAIN.into()))
}

/// Goes down one folder at a time, and follows no link at all.
fn without_links(folder: impl AsFd, name: &Path) -> Result<OwnedFd, PlaceError> {
    let step = |at: rustix::fd::BorrowedFd<'_>, name: &OsStr, flags: OFlags| {
        rustix::fs::openat(at, name, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(|e| match e {
            Errno::LOOP => PlaceError::Elsewhere("a symbolic link is on its way, and this system cannot say where it leads".to_string()),
            other => PlaceError::Io(other.into()),
        })
    };
    let mut opened = step(folder.as_fd(), OsStr::new("."), READ | OFlags::DIRECTORY)?;
    let mut parts = name.components().map(Component::as_os_str).peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_some() { READ | OFlags::DIRECTORY } else { READ };
        opened = step(opened.as_fd(), part, flags)?;
    }
    Ok(opened)
}

/// `file`, where it is a regular one.
///
/// # Errors
/// Where it is a folder, a pipe or a device.
pub fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Opens a file that a user names, by any path.
///
/// # Errors
/// Where it cannot be opened, or is no regular file.
pub fn open_named(file: &Path) -> io::Result<File> {
    fault::at(Point::Open)?;
    regular(File::from(rustix::fs::openat(CWD, file, READ, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const NAME: &str = "trt-serialized-engine.e";

    /// A SavedModel with an engine file, in a folder of its own.
    fn model() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        fs::create_dir_all(model.join("assets")).unwrap();
        fs::write(model.join("saved_model.pb"), "").unwrap();
        fs::write(model.join("assets").join(NAME), "").unwrap();
        (folder, model)
    }

    fn refused(file: impl AsRef<Path>) -> String {
        match open(file.as_ref(), "e") {
            Err(PlaceError::Elsewhere(why)) => why,
            other => panic!("{}: {other:?}", file.as_ref().display()),
        }
    }

    #[test]
    fn a_models_own_file_is_opened_by_any_way_to_the_model() {
        let (folder, model) = model();
        symlink(&model, folder.path().join("by another name")).unwrap();
        fs::write(model.join("data"), "").unwrap();
        symlink("../data", model.join("assets").join(format!("{NAME}_1"))).unwrap();
        for at in [&model, &folder.path().join("by another name"), &folder.path().join("./model/.")] {
            assert!(open(&at.join("assets").join(NAME), "e").is_ok());
            // A link that stays inside.
            assert!(open(&at.join("assets").join(format!("{NAME}_1")), "e").is_ok());
        }
    }

    #[test]
    fn names_of_other_things_are_refused() {
        let (folder, model) = model();
        let assets = model.join("assets");
        assert!(refused(assets.join("../assets").join(NAME)).contains("'..'"));
        for name in [
            "x",
            "trt-serialized-engine.",
            "trt-serialized-engine.ee",
            "trt-serialized-engine.e_x",
            "trt-serialized-engine.e_",
        ] {
            fs::write(assets.join(name), "").unwrap();
            assert!(refused(assets.join(name)).contains("its name is not"), "{name}");
        }
        fs::write(model.join(NAME), "").unwrap();
        assert!(refused(model.join(NAME)).contains("no folder of the name assets"));
        assert!(refused(NAME).contains("no folder of the name assets"));
        // Without a SavedModel beside.
        fs::create_dir_all(folder.path().join("assets")).unwrap();
        fs::write(folder.path().join("assets").join(NAME), "").unwrap();
        assert!(refused(folder.path().join("assets").join(NAME)).contains("no saved_model.pb"));
    }

    #[test]
    fn links_that_lead_out_are_refused() {
        let (folder, model) = model();
        let file = model.join("assets").join(NAME);
        fs::rename(&file, folder.path().join("secret")).unwrap();
        for target in [
            PathBuf::from("../../secret"),
            folder.path().join("secret"),
            "/proc/self/fd/0".into(),
        ] {
            symlink(&target, &file).unwrap();
            assert!(refused(&file).contains("leads out"), "{}", target.display());
            fs::remove_file(&file).unwrap();
        }
        // The folder itself is a link.
        fs::rename(model.join("assets"), folder.path().join("other")).unwrap();
        fs::write(folder.path().join("other").join(NAME), "").unwrap();
        symlink("../other", model.join("assets")).unwrap();
        assert!(refused(&file).contains("leads out"));
    }

    #[test]
    fn the_way_of_old_kernels_follows_no_link() {
        let (_folder, model) = model();
        let at = File::open(&model).unwrap();
        let name = Path::new("assets").join(NAME);
        assert!(without_links(&at, &name).is_ok());
        symlink(NAME, model.join("assets/link")).unwrap();
        assert!(matches!(
            without_links(&at, Path::new("assets/link")),
            Err(PlaceError::Elsewhere(_))
        ));
        symlink("assets", model.join("link")).unwrap();
        assert!(without_links(&at, &Path::new("link").join(NAME)).is_err());
    }

    #[test]
    fn pipes_and_folders_are_no_files_and_nobody_waits_for_them() {
        let (_folder, model) = model();
        let file = model.join("assets").join(NAME);
        fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(CWD, &file, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(open(&file, "e").unwrap_err().to_string().contains("not a regular file"));
        assert!(open_named(&file).unwrap_err().to_string().contains("not a regular file"));
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(open(&file, "e").unwrap_err().to_string().contains("not a regular file"));
        fs::remove_dir(&file).unwrap();
        assert!(matches!(open(&file, "e"), Err(PlaceError::Io(e)) if e.kind() == ErrorKind::NotFound));
    }
}
