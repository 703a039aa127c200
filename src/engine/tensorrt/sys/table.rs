//! What `abi.tsv` says of one version.

use super::version::Version;
use std::collections::HashMap;
use std::sync::LazyLock;

/// `kind, class, member`, then one cell a version; "-" where that version lacks it. See the module's head for where it is from.
const ABI: &str = include_str!("abi.tsv");

/// The facts about the ABI of one version, by class and member as the C++ headers spell them.
#[derive(Debug)]
pub struct Table {
    /// The version whose headers these facts are from.
    pub version: Version,
    slots: HashMap<(&'static str, &'static str), u16>,
    enums: HashMap<(&'static str, &'static str), i32>,
    sizes: HashMap<&'static str, usize>,
    arguments: HashMap<&'static str, i32>,
}

static TABLES: LazyLock<Vec<Table>> = LazyLock::new(parse);

fn parse() -> Vec<Table> {
    let mut lines = ABI.lines();
    let heads = lines.next().unwrap_or_default().split('\t').skip(3);
    let mut tables: Vec<Table> = heads
        .map(|head| Table {
            version: Version::from_column(head)
                .unwrap_or_else(|| unreachable!("abi.tsv is part of the program; a test reads every column")),
            slots: HashMap::new(),
            enums: HashMap::new(),
            sizes: HashMap::new(),
            arguments: HashMap::new(),
        })
        .collect();
    for line in lines {
        let mut cells = line.split('\t');
        let (Some(kind), Some(class), Some(member)) = (cells.next(), cells.next(), cells.next()) else {
            continue;
        };
        for (table, cell) in tables.iter_mut().zip(cells) {
            // "-", absent, is not a number: no entry.
            match kind {
                "slot" => drop(cell.parse().map(|slot| table.slots.insert((class, member), slot))),
                "enum" => drop(cell.parse().map(|value| table.enums.insert((class, member), value))),
                "sizeof" => drop(cell.parse().map(|size| table.sizes.insert(class, size))),
                "version" => drop(cell.parse().map(|number| table.arguments.insert(class, number))),
                _ => {}
            }
        }
    }
    tables
}

/// The versions that there are facts for, lowest first within a family.
pub fn supported_versions() -> impl Iterator<Item = Version> {
    TABLES.iter().map(|table| table.version)
}

impl Table {
    /// The table for a loaded library: that of the same product and major with the highest minor not above the library's.
    /// Slots are only ever added within a major, so all it lists is there; what is newer is simply not called. `None` where
    /// the library is older than every table of its major, or its major is unknown.
    pub fn of(version: Version) -> Option<&'static Table> {
        TABLES
            .iter()
            .filter(|t| t.version.family == version.family && t.version.major == version.major && t.version.minor <= version.minor)
            .max_by_key(|t| t.version.minor)
    }

    /// The index of a method in its class's vtable.
    pub fn slot(&self, class: &str, member: &str) -> Option<u16> {
        self.slots.get(&(class, member)).copied()
    }

    /// The number of an enumerator.
    pub fn value(&self, class: &str, member: &str) -> Option<i32> {
        self.enums.get(&(class, member)).copied()
    }

    /// `sizeof` of a class.
    pub fn size_of(&self, class: &str) -> Option<usize> {
        self.sizes.get(class).copied()
    }

    /// A version number that is handed to one of TensorRT's entry points (`NV_TENSORRT_VERSION`).
    pub fn argument(&self, name: &str) -> Option<i32> {
        self.arguments.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: i32) -> Option<&'static Table> {
        Table::of(Version::from_number(number).expect("a version"))
    }

    /// Every cell of the file, read here by its text, is what the tables answer.
    #[test]
    fn every_cell_of_the_file() {
        let rows: Vec<Vec<&str>> = ABI.lines().map(|l| l.split('\t').collect()).collect();
        assert_eq!(TABLES.len(), rows[0].len() - 3);
        let mut slots = 0;
        for row in &rows[1..] {
            assert_eq!(row.len(), rows[0].len(), "{row:?}");
            for (table, cell) in TABLES.iter().zip(&row[3..]) {
                match row[0] {
                    "slot" => {
                        assert_eq!(table.slot(row[1], row[2]), cell.parse().ok(), "{row:?}");
                        slots += 1;
                    }
                    "enum" => assert_eq!(table.value(row[1], row[2]), cell.parse().ok(), "{row:?}"),
                    "sizeof" => assert_eq!(table.size_of(row[1]), cell.parse().ok(), "{row:?}"),
                    "version" => assert_eq!(table.argument(row[1]), cell.parse().ok(), "{row:?}"),
                    other => panic!("a row of unknown kind {other}"),
                }
            }
        }
        assert!(slots > 900, "{slots} slots");
    }

    #[test]
    fn chosen_by_version() {
        let minor_of = |number| of(number).map(|t| (t.version.major, t.version.minor));
        assert_eq!(minor_of(8600), Some((8, 6)));
        assert_eq!(minor_of(8601), Some((8, 6)));
        assert_eq!(minor_of(100000), Some((10, 0)));
        // Between two columns: the lower one.
        assert_eq!(minor_of(101301), Some((10, 0)));
        assert_eq!(minor_of(101600), Some((10, 16)));
        assert_eq!(minor_of(101900), Some((10, 16)));
        assert_eq!(minor_of(110100), Some((11, 1)));
        assert_eq!(minor_of(110300), Some((11, 1)));
        assert_eq!(minor_of(110400), Some((11, 4)));
        assert_eq!(minor_of(10701), Some((1, 7)));
        // Older than every table of the major, or of an unknown major.
        for unknown in [8501, 7203, 9000, 110000, 120000, 10600, 20000] {
            assert_eq!(minor_of(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn methods_newer_than_the_minor_are_absent() {
        let between = of(100500).expect("10.5 has a table");
        assert_eq!(between.slot("VOptimizationProfile", "setShapeValuesV2"), None);
        assert_eq!(between.slot("VOptimizationProfile", "setShapeValues"), Some(4));
        assert_eq!(
            of(101600).and_then(|t| t.slot("VOptimizationProfile", "setShapeValuesV2")),
            Some(10)
        );
        assert_eq!(of(10701).and_then(|t| t.slot("VOptimizationProfile", "setShapeValues")), None);
    }

    #[test]
    fn the_shapes_of_each_major() {
        assert_eq!(of(8600).and_then(|t| t.size_of("Dims_element")), Some(4));
        assert_eq!(of(100001).and_then(|t| t.size_of("Dims_element")), Some(8));
        assert_eq!(of(101600).and_then(|t| t.slot("ILogger", "log")), Some(0));
        assert_eq!(of(110100).and_then(|t| t.slot("ILogger", "log")), Some(4));
        // The parser's destructors stand between clearErrors and what was added after it.
        for table in TABLES.iter() {
            assert_eq!(
                table.slot("IParser", "(deleting destructor)"),
                table.slot("IParser", "clearErrors").map(|slot| slot + 2),
                "{}",
                table.version
            );
        }
    }
}
