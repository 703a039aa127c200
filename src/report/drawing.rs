//! The graph in Graphviz's language (guide, section 6.12): before its conversion, each node in the colour of what becomes of it,
//! and after it, each engine as a cluster of its nodes.
//!
//! Constants are left out, and what is computed from them alone: weights would be half of every drawing.

use crate::graph::{Graph, NodeId};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What becomes of a node.
#[derive(Clone, Copy, Debug)]
pub enum Fate<'a> {
    /// Into the engine of that place.
    Engine(usize),
    /// It stays native, for a reason.
    Native(&'a str),
}

/// A graph and what its conversion makes of it.
pub struct Drawing<'a> {
    /// "tf_graph", or a function's name.
    pub id: &'a str,
    pub graph: &'a Graph,
    /// A topological order of all nodes.
    pub order: &'a [NodeId],
    /// Of each node.
    pub fates: &'a [Fate<'a>],
    pub engines: &'a [String],
}

/// Fill and border.
const CONVERTED: (&str, &str) = ("#dafbe1", "#2da44e");
const NATIVE: (&str, &str) = ("#f6f8fa", "#8c959f");

impl Drawing<'_> {
    pub fn before(&self) -> String {
        let mut text = self.head("before its conversion");
        for id in self.drawn() {
            self.node(&mut text, "  ", id);
        }
        self.edges(&mut text);
        text
    }

    pub fn after(&self) -> String {
        let mut text = self.head("after its conversion");
        let mut engines: BTreeMap<usize, Vec<NodeId>> = BTreeMap::new();
        for id in self.drawn() {
            match self.fates[id] {
                Fate::Engine(at) => engines.entry(at).or_default().push(id),
                Fate::Native(_) => self.node(&mut text, "  ", id),
            }
        }
        for (at, nodes) in engines {
            let name = &self.engines[at];
            let _ = writeln!(text, "  subgraph {} {{", quoted(&format!("cluster_{name}")));
            let label = format!(
                "{} ({} nodes)",
                escaped(name),
                self.fates.iter().filter(|f| matches!(f, Fate::Engine(e) if *e == at)).count()
            );
            let _ = writeln!(
                text,
                "    label={}; style=\"rounded,filled\"; fillcolor=\"#f0fff4\"; color=\"#1a7f37\"; penwidth=2;",
                quoted_label(&label)
            );
            for id in nodes {
                self.node(&mut text, "    ", id);
            }
            text.push_str("  }\n");
        }
        self.edges(&mut text);
        text
    }

    fn head(&self, when: &str) -> String {
        let count = self.graph.nodes.len();
        let constants = self.graph.nodes.iter().filter(|node| node.op() == "Const").count();
        let hidden = count - self.drawn().count();
        let label = format!(
            "{} {when}: {count} nodes, of which {hidden} (constants and what follows from them alone) are not drawn",
            escaped(self.id)
        );
        let mut text = format!("digraph {} {{\n", quoted(self.id));
        // `nodes` and `constants` mean nothing to Graphviz, and are for other readers.
        let _ = writeln!(
            text,
            "  graph [label={}, labelloc=t, fontname=\"Helvetica\", nodes={count}, constants={constants}];",
            quoted_label(&label)
        );
        text.push_str("  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=11];\n");
        text.push_str("  edge [color=\"#57606a\"];\n");
        text
    }

    /// The nodes that depend on something else than constants.
    fn drawn(&self) -> impl Iterator<Item = NodeId> + '_ {
        let varies = self.varies();
        self.order.iter().copied().filter(move |&id| varies[id])
    }

    fn varies(&self) -> Vec<bool> {
        let mut varies = vec![false; self.graph.nodes.len()];
        for &id in self.order {
            let node = &self.graph.nodes[id];
            let from = |source: &NodeId| varies[*source];
            varies[id] = match (node.op(), node.inputs.is_empty()) {
                ("Const", _) => false,
                (_, true) => true,
                (_, false) => node.inputs.iter().any(|port| from(&port.node)),
            };
        }
        varies
    }

    fn node(&self, text: &mut String, indent: &str, id: NodeId) {
        let node = &self.graph.nodes[id];
        let mut label = escaped(node.op());
        if let Some(info) = node.outputs.first() {
            let _ = write!(label, "\\n{} {}", info.dtype, info.shape);
        }
        let ((fill, border), tooltip) = match self.fates[id] {
            Fate::Engine(at) => (CONVERTED, format!("{}\\nin {}", escaped(node.name()), escaped(&self.engines[at]))),
            Fate::Native(reason) => (NATIVE, format!("{}\\nstays native: {}", escaped(node.name()), escaped(reason))),
        };
        let _ = writeln!(
            text,
            "{indent}{} [label={}, tooltip={}, fillcolor=\"{fill}\", color=\"{border}\", op={}];",
            quoted(node.name()),
            quoted_label(&label),
            quoted_label(&tooltip),
            quoted(node.op())
        );
    }

    fn edges(&self, text: &mut String) {
        let varies = self.varies();
        for id in self.drawn() {
            let node = &self.graph.nodes[id];
            let to = quoted(node.name());
            let mut sources: Vec<NodeId> = node.inputs.iter().map(|port| port.node).filter(|&from| varies[from]).collect();
            sources.dedup();
            for from in sources {
                let _ = writeln!(text, "  {} -> {to};", quoted(self.graph.nodes[from].name()));
            }
            for &from in node.control_inputs.iter().filter(|&&from| varies[from]) {
                let _ = writeln!(text, "  {} -> {to} [style=dashed];", quoted(self.graph.nodes[from].name()));
            }
        }
        text.push_str("}\n");
    }
}

/// An identifier. In names, a backslash stands for itself but before a quotation mark.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Text inside a label: there, backslashes begin an escape.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

/// A label whose parts are [`escaped`].
fn quoted_label(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}

/// `g.dot` beside which `g.before.dot` and `g.after.dot` are written; a function's name is put between.
pub fn beside(path: &Path, id: &str, when: &str) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.strip_suffix(".dot").unwrap_or(&name);
    let of = match id {
        "tf_graph" => String::new(),
        id => format!(".{}", id.replace('/', "_")),
    };
    path.with_file_name(format!("{stem}{of}.{when}.dot"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;
    use crate::segment::test_graphs::Builder;

    #[test]
    fn engines_are_clusters_and_constants_are_not_drawn() {
        let mut b = Builder::default();
        b.add("in", "Placeholder", &[]);
        b.add("w", "Const", &[]);
        b.add("w2", "Identity", &["w"]);
        b.add("first", "NoOp", &[]);
        b.outputs("a", "MatMul", &["in", "w2", "^first"], &[(DType::FLOAT, &[-1, 3])]);
        b.add("out", "Odd\"Op\\", &["a", "a"]);
        let graph = b.graph();
        let fates = [
            Fate::Native("an \"input\""),
            Fate::Native(""),
            Fate::Native(""),
            Fate::Native("r"),
            Fate::Engine(0),
            Fate::Native("r"),
        ];
        let drawing = Drawing {
            id: "tf_graph",
            graph: &graph,
            order: &[0, 1, 2, 3, 4, 5],
            fates: &fates,
            engines: &["TRTEngineOp_000_000".to_string()],
        };
        let after = drawing.after();
        assert!(
            after.contains("subgraph \"cluster_TRTEngineOp_000_000\" {\n    label=\"TRTEngineOp_000_000 (1 nodes)\";"),
            "{after}"
        );
        assert!(after.contains("    \"a\" [label=\"MatMul\\nfloat32 [?,3]\""), "{after}");
        assert!(after.contains("stays native: an \\\"input\\\"\""), "{after}");
        assert!(after.contains("op=\"Odd\\\"Op\\\\\"]"), "{after}");
        assert!(!after.contains("\"w\"") && !after.contains("\"w2\""), "{after}");
        let edges: Vec<&str> = after.lines().filter(|line| line.contains("->")).collect();
        assert_eq!(
            edges,
            ["  \"in\" -> \"a\";", "  \"first\" -> \"a\" [style=dashed];", "  \"a\" -> \"out\";"]
        );
        let before = drawing.before();
        assert!(!before.contains("subgraph") && before.contains("6 nodes, of which 2"), "{before}");
        assert_eq!(before.lines().filter(|line| line.contains("->")).count(), 3);
    }

    #[test]
    fn the_files_lie_beside_the_one_that_is_asked_for() {
        let at = |path: &str, id| beside(Path::new(path), id, "after").display().to_string();
        assert_eq!(at("/tmp/g.dot", "tf_graph"), "/tmp/g.after.dot");
        assert_eq!(at("graph", "tf_graph"), "graph.after.dot");
        assert_eq!(at("/tmp/g.dot", "f/inner"), "/tmp/g.f_inner.after.dot");
    }
}
