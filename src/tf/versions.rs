//! Which TensorFlow this library may register itself in.
//!
//! TensorFlow promises no C++ ABI between 2.20 and 2.21; within a line its releases differ by backported fixes, which keep the
//! headers as they are. So a library serves its own line, and a release candidate serves itself alone.

/// The first release without TF-TRT of its own.
const OLDEST: Line = (2, 18);
/// The lines that the library has been tested with end here.
const NEWEST_TESTED: Line = (2, 21);

type Line = (u32, u32);

/// The line of a release, and whether it is a final one: "2.21.0" is, "2.21.0-rc1" and "2.22.0-dev" are not.
fn line(version: &str) -> Option<(Line, bool)> {
    let mut parts = version.splitn(3, '.');
    let line = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let patch = parts.next()?;
    Some((line, patch.bytes().all(|b| b.is_ascii_digit())))
}

/// Why a library built for `built` does not fit a process with TensorFlow `running`, and what to do; `None` where it fits.
pub fn refusal(running: &str, built: &str) -> Option<String> {
    let (here, own) = (line(running), line(built));
    if let Some((here, _)) = here
        && here < OLDEST
    {
        return Some(format!(
            "this process runs TensorFlow {running}, which has TF-TRT built in; nothing was registered. Use it without tftrt: its op TRTEngineOp and tensorflow.python.compiler.tensorrt.trt_convert are there. tftrt is for TensorFlow 2.18 and newer, which have none."
        ));
    }
    if running == built {
        return None;
    }
    match (here, own) {
        (Some((here, true)), Some((own, true))) if here == own => None,
        _ => Some(format!(
            "libtftrt.so was built for TensorFlow {built}, this process runs {running}{}; nothing was registered. Install the tftrt built for this TensorFlow, or rebuild it here with `cargo build --release`.",
            if untested(running) {
                ", which is newer than any that tftrt has been tested with (up to 2.21)"
            } else {
                ""
            }
        )),
    }
}

/// Whether `version` is newer than what the library has been tested with.
pub fn untested(version: &str) -> bool {
    line(version).is_some_and(|(line, _)| line > NEWEST_TESTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_releases_is_served() {
        assert_eq!(refusal("2.20.0", "2.20.0"), None);
        assert_eq!(refusal("2.18.0", "2.18.1"), None);
        assert_eq!(refusal("2.21.0-rc1", "2.21.0-rc1"), None);
    }

    #[test]
    fn another_line_or_a_candidate_is_refused_with_both_versions() {
        for (running, built) in [
            ("2.20.0", "2.21.0"),
            ("2.21.0", "2.20.0"),
            ("2.21.0-rc1", "2.21.0"),
            ("2.21.0", "2.21.0-rc1"),
            ("what", "2.21.0"),
        ] {
            let why = refusal(running, built).unwrap();
            assert!(
                why.contains(&format!("built for TensorFlow {built}, this process runs {running}")),
                "{why}"
            );
        }
    }

    #[test]
    fn an_old_one_is_sent_to_its_own() {
        for built in ["2.21.0", "2.17.1"] {
            let why = refusal("2.17.1", built).unwrap();
            assert!(why.contains("TensorFlow 2.17.1, which has TF-TRT built in"), "{why}");
            assert!(why.contains("trt_convert"), "{why}");
        }
    }

    #[test]
    fn a_newer_one_gets_a_word() {
        assert!(
            refusal("2.22.0", "2.21.0")
                .unwrap()
                .contains("newer than any that tftrt has been tested with")
        );
        assert!(untested("2.22.0-rc0") && untested("3.0.0") && !untested("2.21.4"));
        // Built for it: it fits.
        assert_eq!(refusal("2.22.0", "2.22.0"), None);
    }
}
