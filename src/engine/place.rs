//! Where a model's files may be: in the model's own folder, and nowhere else.

use std::path::{Component, Path};

/// Whether `file`, which a model names, is in the model's folder: the one above `assets`, or else the one that the file is in. Symbolic
/// links are followed, as long as they stay there; the folder itself may be reached by any.
///
/// A file that is not there is nobody's, and is found out by who opens it.
///
/// # Errors
/// Where the file leads, or that its path climbs.
pub fn in_its_model(file: &Path) -> Result<(), String> {
    if file.components().any(|part| part == Component::ParentDir) {
        return Err("its path climbs by '..'; files of a model are read from its own folder only".to_string());
    }
    let Some(folder) = file.parent() else {
        return Err("it names no file".to_string());
    };
    let model = match folder.file_name() {
        Some(name) if name == "assets" => folder.parent().unwrap_or(folder),
        _ => folder,
    };
    let model = if model.as_os_str().is_empty() { Path::new(".") } else { model };
    let (Ok(file), Ok(model)) = (file.canonicalize(), model.canonicalize()) else {
        return Ok(());
    };
    match file.starts_with(&model) {
        true => Ok(()),
        false => Err(format!(
            "it leads out of the model's folder, to {}; files of a model are read from its own folder only",
            file.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_of_the_model_and_links_within_it_pass() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        fs::create_dir_all(model.join("assets")).unwrap();
        fs::create_dir_all(model.join("data")).unwrap();
        fs::write(model.join("assets/own"), "").unwrap();
        fs::write(model.join("data/other"), "").unwrap();
        symlink("../data/other", model.join("assets/link")).unwrap();
        symlink(&model, folder.path().join("by another name")).unwrap();
        for name in ["own", "link", "not there"] {
            assert_eq!(in_its_model(&model.join("assets").join(name)), Ok(()));
            assert_eq!(in_its_model(&folder.path().join("by another name/assets").join(name)), Ok(()));
        }
        assert_eq!(in_its_model(&model.join("data/other")), Ok(()));
    }

    #[test]
    fn what_leads_out_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let assets = folder.path().join("model/assets");
        fs::create_dir_all(&assets).unwrap();
        fs::write(folder.path().join("secret"), "").unwrap();
        symlink("../../secret", assets.join("file")).unwrap();
        symlink(folder.path(), assets.join("folder")).unwrap();
        assert!(in_its_model(&assets.join("file")).unwrap_err().contains("leads out"));
        assert!(in_its_model(&assets.join("../../secret")).unwrap_err().contains("'..'"));
    }
}
