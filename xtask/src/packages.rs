//! System packages: installed only where something is missing, this is root, and there is apt-get.

use crate::step::{Failure, Step};
use std::env;
use std::process::Command;

/// Installs a C++ compiler and Python's venv where they are missing. Where they are and cannot be installed from here,
/// the failure says which packages to install.
pub fn install_missing() -> Result<(), Failure> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !(is_root() && on_path("apt-get")) {
        return Err(Failure::new(format!(
            "missing on this machine: {names}; install them with the system's package manager"
        )));
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    Step::new("apt-get update").run(&mut apt(&["update", "-q"]))?;
    let mut install = apt(&["install", "-q", "-y", "--no-install-recommends"]);
    Step::new(&format!("apt-get install {names}")).run(install.args(&missing))
}

fn missing() -> Vec<&'static str> {
    let mut packages = Vec::new();
    // build.rs follows the same rule: CXX names the compiler, else c++.
    if env::var_os("CXX").is_none() && !on_path("c++") && !on_path("g++") {
        packages.push("g++");
    }
    if !on_path("python3") {
        packages.push("python3");
        packages.push("python3-venv");
    } else if !imports_venv() {
        // Debian splits it off; `python3 -m venv` fails without ensurepip.
        packages.push("python3-venv");
    }
    packages
}

fn imports_venv() -> bool {
    Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .output()
        .is_ok_and(|run| run.status.success())
}

fn on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|paths| env::split_paths(&paths).any(|folder| folder.join(program).is_file()))
}

fn is_root() -> bool {
    // `id -u` rather than a system call: std has none for it.
    let run = Command::new("id").arg("-u").output();
    run.is_ok_and(|run| run.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program"));
    }
}
