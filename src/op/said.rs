//! What the log says of an engine: a budget of lines, by engine and by model, over reloads.
//!
//! The first of every topic is said. Later ones are said at the 10th, 30th, 100th time and so on, or if their words are new, as long as the
//! engine has lines left. A model of many engines has a budget of its own. What is not said is counted in `tftrt.stats()`.

use super::fallback::Kind;
use crate::process::Mutex;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// What a line is about. Each topic has a first line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// An engine file that is not read, or is damaged.
    File,
    /// A plan that does not fit this library, backend or GPU.
    Plan,
    /// A call that runs natively.
    Native(Kind),
    /// Another precision than the node asks for.
    Precision,
    /// Calibration data that is not used.
    Calibration,
    /// An engine that was built for a saved one.
    Rebuilt,
    /// A setting of a node that comes too late.
    Setting,
    /// An engine that could not be exported.
    Export,
}

impl Topic {
    /// Whether loading says it, where one file may hold thousands.
    fn of_a_load(self) -> bool {
        matches!(self, Topic::File | Topic::Plan | Topic::Setting)
    }
}

/// Lines of one engine, after which only a new topic is said.
const LINES: u64 = 8;
/// Lines of one model's loads, after which only a new topic is said.
const LOAD_LINES: u64 = 8;
/// Engines of one model that say the same topic one by one. Then the 10th, 30th, 100th does.
const ENGINES: u64 = 8;
/// Different words of one engine that are told apart.
const WORDS: usize = 64;
/// Engines and models that are remembered. The oldest is forgotten for another.
const REMEMBERED: usize = 4096;

/// What one engine has said.
#[derive(Default)]
pub struct Lines {
    lines: u64,
    topics: HashMap<Topic, u64>,
    words: HashSet<u64>,
}

/// What the engines of one model have said.
#[derive(Default)]
struct ModelLines {
    of_loads: u64,
    topics: HashMap<Topic, u64>,
}

/// A map that forgets its oldest entry for a new one.
struct Remembered<T> {
    entries: HashMap<u64, T>,
    order: VecDeque<u64>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Remembered {
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<T: Default> Remembered<T> {
    fn entry(&mut self, key: u64) -> &mut T {
        if !self.entries.contains_key(&key) {
            if self.order.len() == REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.order.push_back(key);
        }
        self.entries.entry(key).or_default()
    }
}

static ENGINE_LINES: LazyLock<Mutex<Remembered<Arc<Mutex<Lines>>>>> = LazyLock::new(Mutex::default);
static MODEL_LINES: LazyLock<Mutex<Remembered<ModelLines>>> = LazyLock::new(Mutex::default);

/// The budget of one engine. Those of the same engine of the same model are one, as a reload makes them.
#[derive(Clone)]
pub struct Budget {
    model: u64,
    lines: Arc<Mutex<Lines>>,
}

impl Budget {
    /// The budget of the engine `name`, in the model that `file` belongs to.
    pub fn of_file(name: &str, file: &Path) -> Budget {
        Budget::of(name, hash(&("file", file.parent())))
    }

    /// The budget of an engine without a file, which is known by its node: models that do not know of each other name engines alike.
    pub fn of_node(name: &str, node: u64) -> Budget {
        Budget::of(name, hash(&("node", name, node)))
    }

    fn of(name: &str, model: u64) -> Budget {
        let lines = ENGINE_LINES.lock().entry(hash(&(model, name))).clone();
        Budget { model, lines }
    }

    /// Counts `text`; how it is to be said, if it is.
    pub fn count(&self, topic: Topic, text: &str) -> Option<Nth> {
        let mut lines = self.lines.lock();
        let times = lines.topics.entry(topic).or_default();
        *times += 1;
        let times = *times;
        let words = hash(&words(text));
        let new = lines.words.len() < WORDS && lines.words.insert(words);
        let wanted = times == 1 || (lines.lines < LINES && (new || is_a_step(times)));
        if !wanted || !self.model_has_room(topic, times == 1) {
            return None;
        }
        lines.lines += 1;
        Some(Nth(times))
    }

    fn model_has_room(&self, topic: Topic, first: bool) -> bool {
        let mut models = MODEL_LINES.lock();
        let model = models.entry(self.model);
        let times = model.topics.entry(topic).or_default();
        // Of an engine that has said the topic before, it is no other engine's turn.
        *times += u64::from(first);
        let room = match topic.of_a_load() {
            true => *times == u64::from(first) || model.of_loads < LOAD_LINES,
            false => !first || *times <= ENGINES || is_a_step(*times),
        };
        model.of_loads += u64::from(room && topic.of_a_load());
        room
    }
}

/// Which time of its topic a line is: nothing at the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nth(u64);

impl fmt::Display for Nth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => Ok(()),
            n => write!(f, " (number {n} of this kind for this engine; tftrt.stats() counts them all)"),
        }
    }
}

/// 1, 10, 30, 100, 300, 1000 and so on.
fn is_a_step(n: u64) -> bool {
    let mut first = n;
    while first >= 10 && first.is_multiple_of(10) {
        first /= 10;
    }
    first == 1 || first == 3 && n > 3
}

pub fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The words of a text, without numbers and lists: the same for two shapes.
fn words(text: &str) -> String {
    let mut depth = 0usize;
    let mut out = String::new();
    for c in text.chars().take(400) {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ if depth == 0 && !c.is_ascii_digit() => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn budget(name: &str, model: &str) -> Budget {
        Budget::of_file(name, &PathBuf::from(model).join("assets"))
    }

    fn said(budget: &Budget, topic: Topic, texts: impl Iterator<Item = String>) -> usize {
        texts.filter(|text| budget.count(topic, text).is_some()).count()
    }

    #[test]
    fn what_goes_on_is_said_at_growing_intervals_over_reloads() {
        let no_engine = Topic::Native(Kind::NoEngine);
        let mut times = Vec::new();
        for n in 0..1600 {
            // A reload asks for the budget anew.
            let one = budget("e", "/reloaded").count(no_engine, &format!("no profile holds [{n}, 8], of 3 there are"));
            times.extend(one.map(|times| times.0));
        }
        assert_eq!(times, [1, 10, 30, 100, 300, 1000]);
        assert_eq!(Nth(1).to_string(), "");
        assert!(Nth(10).to_string().contains("number 10 of this kind"));
    }

    #[test]
    fn a_new_topic_is_said_after_any_flood() {
        let one = budget("e", "/flooded");
        let flood = said(&one, Topic::Native(Kind::NoEngine), (0..5000).map(|n| "x".repeat(n % 300)));
        assert!((1..=LINES as usize).contains(&flood), "{flood}");
        assert!(one.count(Topic::Native(Kind::EngineFailed), "it failed").is_some());
        assert!(one.count(Topic::Plan, "its plan").is_some());
    }

    #[test]
    fn other_words_are_said_as_long_as_there_are_lines() {
        let one = budget("e", "/worded");
        let topic = Topic::Native(Kind::NoEngine);
        assert!(one.count(topic, "no profile holds [3]").is_some());
        assert!(one.count(topic, "no profile holds [4]").is_none());
        assert!(one.count(topic, "the build failed").is_some());
    }

    #[test]
    fn a_load_of_many_engines_says_few_lines_and_another_model_its_own() {
        let mut lines = 0;
        for engine in 0..1000 {
            let one = budget(&format!("e_{engine}"), "/many");
            lines += said(&one, Topic::Plan, (0..100).map(|n| format!("plan {n} is bare")));
            lines += said(&one, Topic::File, (0..10).map(|n| format!("record {n} is cut")));
        }
        assert!((2..=10).contains(&lines), "{lines}");
        assert!(budget("e_0", "/another").count(Topic::Plan, "plan 0 is bare").is_some());
        // Calls: each engine says its own, until there are many.
        let calls = (0..1000).filter(|engine| {
            let one = budget(&format!("e_{engine}"), "/many");
            one.count(Topic::Native(Kind::NoBackend), "none").is_some()
        });
        assert_eq!(calls.count(), 8 + 5);
    }

    #[test]
    fn engines_without_files_are_told_apart_by_their_nodes() {
        let topic = Topic::Native(Kind::NoBackend);
        assert!(Budget::of_node("n", 1).count(topic, "none").is_some());
        assert!(Budget::of_node("n", 1).count(topic, "none").is_none());
        assert!(Budget::of_node("n", 2).count(topic, "none").is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut map = Remembered::<u8>::default();
        for key in 0..2 * REMEMBERED as u64 {
            *map.entry(key) = 1;
        }
        assert_eq!((map.entries.len(), map.order.len()), (REMEMBERED, REMEMBERED));
        assert_eq!((*map.entry(0), *map.entry(2 * REMEMBERED as u64 - 1)), (0, 1));
    }
}
