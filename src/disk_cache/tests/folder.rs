use super::{engine_key, fresh, stores, timing_key, tree, warnings};
use crate::disk_cache::{CacheDir, CacheDirError, EngineStore};
use crate::settings::{CacheFolder, Settings};
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_made_is_private() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("a/b");
    let (engines, timings) = stores(&folder, false);
    assert!(engines.put(&engine_key(), b"engine"));
    assert!(timings.update(&timing_key(), |_| Some(b"timings".to_vec())));
    for made in ["a", "a/b", "a/b/engines", "a/b/timing"] {
        assert_eq!(mode(&above.path().join(made)), 0o700, "{made}");
    }
    let lock = timings.path(&timing_key()).with_extension("lock");
    for made in [&engines.path(&engine_key()), &timings.path(&timing_key()), &lock] {
        assert_eq!(mode(made), 0o600, "{}", made.display());
    }
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for shared in [0o777, 0o770, 0o720, 0o702] {
        chmod(folder.path(), shared);
        for readonly in [false, true] {
            match CacheDir::open(folder.path(), readonly) {
                Err(why @ CacheDirError::WritableByOthers { .. }) => {
                    let text = why.to_string();
                    assert!(
                        text.contains(&*folder.path().to_string_lossy()) && text.contains(&format!("{shared:o}")),
                        "{text}"
                    );
                }
                other => panic!("{shared:o}: {other:?}"),
            }
        }
    }
    for own in [0o700, 0o755, 0o500] {
        chmod(folder.path(), own);
        assert!(CacheDir::open(folder.path(), false).is_ok(), "{own:o}");
    }
}

#[test]
fn a_folder_that_others_can_exchange_is_refused() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("open/inner/cache");
    fs::create_dir_all(&path).unwrap();
    chmod(&path, 0o700);
    chmod(&above.path().join("open"), 0o777);
    let why = CacheDir::open(&path, false).unwrap_err().to_string();
    assert!(
        why.contains("exchanged") && why.contains(&*above.path().join("open").to_string_lossy()) && why.contains("777"),
        "{why}"
    );
    // As /tmp is.
    chmod(&above.path().join("open"), 0o1777);
    CacheDir::open(&path, false).unwrap();
    // Whose group may write is a group of one, mostly.
    chmod(&above.path().join("open"), 0o775);
    CacheDir::open(&path, false).unwrap();
}

#[test]
fn another_users_folder_is_refused_and_roots_is_not() {
    let folder = tempfile::tempdir().unwrap();
    // Only root can give folders away; anybody else is stopped here, and tests the rest.
    if chown(folder.path(), Some(12345), None).is_ok() {
        let refused = CacheDir::open(folder.path(), false).unwrap_err();
        assert!(matches!(refused, CacheDirError::ForeignOwner { owner: 12345, .. }), "{refused}");
    }
    assert_eq!(CacheDir::open("/usr", true).unwrap().path(), Path::new("/usr"));
}

#[test]
fn what_is_no_folder_is_refused() {
    let above = tempfile::tempdir().unwrap();
    let file = above.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(CacheDir::open(&file, false), Err(CacheDirError::NotAFolder { .. })));
    assert!(matches!(CacheDir::open(file.join("below"), false), Err(CacheDirError::Io { .. })));
    assert!(matches!(
        CacheDir::open(above.path().join("none"), true),
        Err(CacheDirError::Io { .. })
    ));
}

/// The stores' own folders are judged as the whole is, and said once.
#[test]
fn a_folder_inside_that_is_open_or_led_elsewhere_is_not_used() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (folder, engines, timings) = fresh();
    symlink(elsewhere.path(), folder.path().join("timing")).unwrap();
    assert!(engines.put(&engine_key(), b"engine"));
    chmod(&folder.path().join("engines"), 0o777);
    let ((), heard) = warnings(|| {
        for _ in 0..2 {
            assert_eq!(engines.get(&engine_key()), None);
            assert!(!engines.put(&engine_key(), b"other"));
            assert_eq!(timings.read(&timing_key()), None);
            assert!(!timings.update(&timing_key(), |_| panic!("there is no place for it")));
        }
    });
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].contains("engines can be written by others"), "{heard:?}");
    assert!(heard[1].contains("timing is not a folder"), "{heard:?}");
    assert!(tree(elsewhere.path()).is_empty());
    chmod(&folder.path().join("engines"), 0o700);
    assert_eq!(engines.get(&engine_key()).unwrap(), b"engine"[..]);
}

#[test]
fn readonly_writes_nothing() {
    let (folder, engines, timings) = fresh();
    let (reader, timing_reader) = stores(folder.path(), true);
    let nothing = tree(folder.path());
    assert_eq!((reader.get(&engine_key()), timing_reader.read(&timing_key())), (None, None));
    assert!(!reader.put(&engine_key(), b"engine"));
    assert_eq!(tree(folder.path()), nothing);

    assert!(engines.put(&engine_key(), b"engine"));
    assert!(timings.update(&timing_key(), |_| Some(b"timings".to_vec())));
    let before = tree(folder.path());
    assert!(!reader.put(&engine_key(), b"other"));
    assert!(!timing_reader.update(&timing_key(), |_| panic!("what it gives could not be kept")));
    assert_eq!(reader.get(&engine_key()).unwrap(), b"engine"[..]);
    assert_eq!(timing_reader.read(&timing_key()).unwrap(), b"timings"[..]);
    assert_eq!(tree(folder.path()), before);
}

#[test]
fn the_settings_say_where() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let find = |cache_dir: CacheFolder, cache_readonly, environment: &[(&str, OsString)]| {
        let settings = Settings {
            cache_dir,
            cache_readonly,
            ..Settings::default()
        };
        let env = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
        CacheDir::of(&settings, env)
    };
    let [xdg, user] = [at("xdg"), at("user")].map(OsString::from);
    let both = [("XDG_CACHE_HOME", xdg), ("HOME", user.clone())];
    let relative = [("XDG_CACHE_HOME", "here".into()), ("HOME", user)];
    assert_eq!(find(CacheFolder::Nowhere, false, &both), None);
    assert_eq!(find(CacheFolder::User, true, &both), None);
    assert!(tree(home.path()).is_empty());

    let path = |found: Option<CacheDir>| found.unwrap().path().to_path_buf();
    assert_eq!(path(find(CacheFolder::User, false, &both)), at("xdg/tftrt"));
    assert_eq!(path(find(CacheFolder::User, false, &relative)), at("user/.cache/tftrt"));
    assert_eq!(path(find(CacheFolder::At(at("mine")), false, &both)), at("mine"));
    assert!(at("mine").is_dir());
    let readonly = find(CacheFolder::At(at("mine")), true, &both).unwrap();
    assert!(readonly.readonly());
    assert!(!EngineStore::new(readonly, None).put(&engine_key(), b"engine"));

    let (found, heard) = warnings(|| [find(CacheFolder::User, false, &[]), find(CacheFolder::User, false, &relative[..1])]);
    assert_eq!(found, [None, None]);
    assert!(heard.len() == 1 && heard[0].contains("TFTRT_CACHE_DIR"), "{heard:?}");
    chmod(&at("mine"), 0o777);
    let (found, heard) = warnings(|| [false, true].map(|readonly| find(CacheFolder::At(at("mine")), readonly, &both)));
    assert_eq!(found, [None, None]);
    assert!(heard.len() == 1 && heard[0].contains(&*at("mine").to_string_lossy()), "{heard:?}");
}
