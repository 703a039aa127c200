//! A look at a shared library's file before the dynamic loader has it.
//!
//! The loader opens whatever the path names, and waits for ever where that is a pipe. It maps a file that was cut short without a look, and
//! the process dies of SIGBUS. So the file is opened here first, and has to be a regular one, with all the bytes that its header tells of.

use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Says why the file at `path` cannot be loaded, where that can be seen. `variable` is the environment variable that names it. A name without
/// a folder is looked for where LD_LIBRARY_PATH says; what the loader finds elsewhere is not looked at.
///
/// # Errors
/// In one sentence, which names the variable and the file.
pub fn check(path: &Path, variable: &str) -> Result<(), String> {
    let Some((file, from)) = named(path, variable) else { return Ok(()) };
    look(&file).map_err(|why| format!("{}, from {from}, {why}", file.display()))
}

/// The file that the loader takes first, and the variable that led to it.
fn named<'a>(path: &Path, variable: &'a str) -> Option<(PathBuf, &'a str)> {
    if path.as_os_str().is_empty() {
        return None;
    }
    if path.components().count() > 1 || path.has_root() {
        return Some((path.to_path_buf(), variable));
    }
    let folders = std::env::var_os("LD_LIBRARY_PATH")?;
    let mut files = std::env::split_paths(&folders)
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(|folder| folder.join(path));
    files.find(|file| file.exists()).map(|file| (file, "LD_LIBRARY_PATH"))
}

fn look(path: &Path) -> Result<(), String> {
    // NONBLOCK: opening a pipe that nobody writes to would wait.
    let opened = rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY,
        Mode::empty(),
    );
    let opened = opened.map_err(|e| format!("cannot be opened: {}", std::io::Error::from(e)))?;
    let status = rustix::fs::fstat(&opened).map_err(|e| format!("cannot be looked at: {}", std::io::Error::from(e)))?;
    let what = match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => return whole(&File::from(opened)),
        FileType::Directory => "a directory",
        FileType::Fifo => "a pipe (FIFO)",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no regular file",
    };
    Err(format!("is {what}, and not a shared library"))
}

/// Whether a regular file has all that its header tells of.
fn whole(file: &File) -> Result<(), String> {
    let length = file.metadata().map_err(|e| format!("cannot be looked at: {e}"))?.len();
    let mut header = [0; 64];
    let read = file.read_exact_at(&mut header, 0);
    if read.is_err() || header[..4] != *b"\x7fELF" {
        return Err("is no shared library: it does not begin with the header of one (ELF)".to_string());
    }
    // 64 bits, the least significant byte first: all that this library is built for. The loader has its own word for the others.
    if header[4] != 2 || header[5] != 1 {
        return Ok(());
    }
    let cut = |end: Option<u64>| match end {
        Some(end) if end <= length => Ok(()),
        Some(end) => Err(format!("is cut short: {} bytes are missing at its end", end - length)),
        None => Err("is damaged: its header tells of more bytes than a file can have".to_string()),
    };
    let (segments, size, count) = (word(&header, 32), half(&header, 54), half(&header, 56));
    cut(segments.checked_add(size * count))?;
    for nth in 0..count {
        let mut segment = [0; 56];
        if size < 56 || file.read_exact_at(&mut segment, segments + nth * size).is_err() {
            return Err("is damaged: the table of what is to be loaded cannot be read".to_string());
        }
        cut(word(&segment, 8).checked_add(word(&segment, 32)))?;
    }
    // Sections are not needed to load it, and come last: a file without all of them was cut.
    cut(word(&header, 40).checked_add(half(&header, 58) * half(&header, 60)))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn half(bytes: &[u8], at: usize) -> u64 {
    u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// This program is as good as a library: an ELF file.
    fn own() -> Vec<u8> {
        fs::read("/proc/self/exe").expect("this program's file")
    }

    fn said(content: &[u8]) -> Result<(), String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("libx.so");
        fs::write(&file, content).expect("written");
        check(&file, "X_LIB").map_err(|why| why.replace(&file.display().to_string(), "FILE"))
    }

    #[test]
    fn a_whole_file_passes_and_each_cut_is_told() {
        let all = own();
        assert_eq!(said(&all), Ok(()));
        for length in [64, 65, 1000, 4096, all.len() / 2, all.len() - 1] {
            let why = said(&all[..length]).expect_err("cut");
            assert!(why.starts_with("FILE, from X_LIB, is "), "{why}");
            assert!(why.contains("cut short") || why.contains("damaged"), "{length}: {why}");
        }
        for content in [&b""[..], b"no library", &all[..63]] {
            assert!(said(content).expect_err("no ELF file").contains("is no shared library"));
        }
    }

    #[test]
    fn a_header_of_numbers_that_cannot_be_is_damage() {
        for at in [32, 40] {
            let mut all = own();
            all[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
            assert!(said(&all).expect_err("no file is so long").contains("damaged"));
        }
    }

    #[test]
    fn what_is_no_file_is_told_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(check(folder.path(), "X_LIB").expect_err("a folder").contains("is a directory"));
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
        assert!(check(&pipe, "X_LIB").expect_err("a pipe").contains("is a pipe (FIFO)"));
        assert!(
            check(Path::new("/dev/zero"), "X_LIB")
                .expect_err("a device")
                .contains("is a device")
        );
        assert!(
            check(&folder.path().join("none"), "X_LIB")
                .expect_err("nothing")
                .contains("cannot be opened")
        );
        // The loader looks for such a name itself.
        assert_eq!(check(Path::new("libnobody-has-this.so"), "X_LIB"), Ok(()));
    }
}
