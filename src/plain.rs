//! Text that goes to a log, an error or a terminal, and may hold what a file or a graph says: one line, without control characters, not too long.

use std::borrow::Cow;

/// Characters of a text that are kept at its begin and at its end; what is in between is left out. A path, which has 4,096 at most, is whole.
const HEAD: usize = 6000;
const TAIL: usize = 2000;

/// `text` as one line of a bounded length.
pub fn plain(text: &str) -> Cow<'_, str> {
    let short = text.len() <= HEAD + TAIL;
    if short && !text.chars().any(is_bad) {
        return Cow::Borrowed(text);
    }
    let count = if short { 0 } else { text.chars().count() };
    if count <= HEAD + TAIL {
        return Cow::Owned(escaped(text));
    }
    let place = |nth: usize| text.char_indices().nth(nth).map_or(text.len(), |(at, _)| at);
    let (head, tail) = (&text[..place(HEAD)], &text[place(count - TAIL)..]);
    let left_out = count - HEAD - TAIL;
    Cow::Owned(format!("{} [{left_out} characters are left out] {}", escaped(head), escaped(tail)))
}

/// Whether a character ends a line, or tells a terminal what to do.
fn is_bad(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_bad(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    #[test]
    fn a_usual_text_stays_as_it_is() {
        for text in ["", "engine 'x': /tmp/é/assets: no profile holds [3, 8]", "模型"] {
            assert!(matches!(plain(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn lines_become_one_and_control_characters_are_written_out() {
        assert_eq!(plain("a\nb\r\n\tc"), "a b   c");
        assert_eq!(plain("\x1b[31m\0\u{2028}\u{9b}"), "\\u{1b}[31m\\u{0}\\u{2028}\\u{9b}");
    }

    #[test]
    fn of_a_long_text_begin_and_end_are_kept() {
        let text = format!("{}{}: why", "é".repeat(HEAD), "\n".repeat(100_000));
        let made = plain(&text);
        assert!(made.starts_with("éé") && made.ends_with("  : why"));
        assert!(made.contains(&format!("[{} characters are left out]", 100_000 + 5 - TAIL)));
        assert!(made.chars().count() < HEAD + TAIL + 50);
    }

    proptest! {
        #[test]
        fn any_text_is_one_line(text in any::<String>()) {
            prop_assert!(!plain(&text).chars().any(is_bad));
        }
    }
}
