//! Which nodes compute in half. See the rules in the parent module.

use super::keep::{self, Judged, Reason, Role};
use super::tensors::{Operands, Source, Tensors};
use super::{Half, PrecisionError, Summary};
use std::collections::BTreeMap;

const OVERFLOW: Reason = "a constant is out of the range of half";
const UNDERFLOW: Reason = "a constant vanishes in half";
const WIDE: Reason = "an operand comes of a constant that is out of the range of half";
const WIDENED: Reason = "an operand is the result of an exponential or a reciprocal";
const NOT_IN_ONNX: Reason = "ONNX has no such half for it";

/// Sides are changed in at most so many rounds; two or three do, and the rounds end by themselves.
const ROUNDS: usize = 16;

pub struct Plan {
    /// For each node of the graph whether it computes in half.
    pub half: Vec<bool>,
    /// How many nodes on float32 tensors there are.
    nodes: usize,
    kept: BTreeMap<Reason, usize>,
}

impl Plan {
    pub fn summary(&self, casts: usize) -> Summary {
        let half = self.half.iter().filter(|half| **half).count();
        Summary {
            half,
            float: self.nodes - half,
            casts,
            kept: self.kept.clone(),
        }
    }
}

pub fn assign(tensors: &Tensors, to: Half) -> Result<Plan, PrecisionError> {
    let mut work = Assignment {
        all: tensors,
        to,
        half: vec![false; tensors.nodes.len()],
        free: vec![false; tensors.nodes.len()],
        wide: vec![false; tensors.tensors.len()],
        widened: vec![false; tensors.tensors.len()],
        kept: BTreeMap::new(),
    };
    work.forward()?;
    // Movements first: only then it shows which tensors are needed in half anyway.
    for movements_only in [true, false] {
        for _ in 0..ROUNDS {
            if !work.improve(movements_only)? {
                break;
            }
        }
    }
    let computes = |node: &&super::tensors::Node| !matches!(node.rule.role, Role::Any);
    Ok(Plan {
        nodes: tensors.nodes.iter().flatten().filter(computes).count(),
        half: work.half,
        kept: work.kept,
    })
}

struct Assignment<'t, 'a> {
    all: &'t Tensors<'a>,
    to: Half,
    half: Vec<bool>,
    /// Nodes that may be on either side.
    free: Vec<bool>,
    /// Tensors whose values come of a constant that half cannot hold.
    wide: Vec<bool>,
    /// Tensors that a widening function has just made.
    widened: Vec<bool>,
    kept: BTreeMap<Reason, usize>,
}

impl Assignment<'_, '_> {
    /// Decides every node once, in the order of the graph.
    fn forward(&mut self) -> Result<(), PrecisionError> {
        let all = self.all;
        for (i, node) in all.nodes.iter().enumerate() {
            let Some(node) = node else {
                continue;
            };
            let operands = Operands { all, node: i };
            if !matches!(node.rule.role, Role::Any) {
                match self.reason(i)? {
                    Some(why) => *self.kept.entry(why).or_default() += 1,
                    None if operands.is_seed(node.rule) => self.half[i] = true,
                    None => {
                        self.free[i] = !matches!(node.rule.role, Role::Compare);
                        self.half[i] = self.follow(i)?;
                    }
                }
            }
            self.pass_on(i)?;
        }
        Ok(())
    }

    /// Why the node has to stay in float32.
    fn reason(&self, i: usize) -> Result<Option<Reason>, PrecisionError> {
        let Some(node) = &self.all.nodes[i] else {
            return Ok(None);
        };
        let operands = Operands { all: self.all, node: i };
        let own = match node.rule.role {
            Role::Keep(why) => Some(why),
            _ if operands.is_in_steps() => Some(keep::IN_STEPS),
            Role::KeepIf(condition) => condition(&operands),
            _ => None,
        };
        if own.is_some() {
            return Ok(own);
        }
        if !node.rule.admits.has(self.to) {
            return Ok(Some(NOT_IN_ONNX));
        }
        for &(position, id) in &node.operands {
            if self.wide[id] {
                return Ok(Some(WIDE));
            }
            if self.widened[id] {
                return Ok(Some(WIDENED));
            }
            let Some(loss) = self.all.loss(id)? else {
                continue;
            };
            if loss.overflows {
                return Ok(Some(OVERFLOW));
            }
            let vanishes = match keep::judged(node.rule.op, position) {
                Judged::AsWhole => loss.all_vanish,
                Judged::ByElement => loss.some_vanish,
            };
            if vanishes {
                return Ok(Some(UNDERFLOW));
            }
        }
        Ok(None)
    }

    /// The side of a node that goes where its operands are.
    fn follow(&self, i: usize) -> Result<bool, PrecisionError> {
        let Some(node) = &self.all.nodes[i] else {
            return Ok(false);
        };
        let variable = || {
            node.operands
                .iter()
                .map(|&(_, id)| id)
                .filter(|&id| !self.all.tensors[id].is_constant())
        };
        let (half, float): (Vec<usize>, Vec<usize>) = variable().partition(|&id| self.is_half(id));
        if half.is_empty() {
            return Ok(false);
        }
        if matches!(node.rule.role, Role::Compare) {
            let mut exact = float.is_empty();
            for &(_, id) in &node.operands {
                exact &= self.all.loss(id)?.is_none_or(|loss| loss.exact);
            }
            return Ok(exact);
        }
        // With float32 beside half: float32 if the half operands are cast for others already.
        let cast_already = |&id: &usize| {
            let tensor = &self.all.tensors[id];
            tensor.needed_in_float || tensor.users.iter().any(|&user| user < i && self.wants(user) == Some(false))
        };
        Ok(float.is_empty() || !half.iter().all(cast_already))
    }

    /// Marks what comes of constants that half cannot hold, and of widening functions.
    fn pass_on(&mut self, i: usize) -> Result<(), PrecisionError> {
        let Some(node) = &self.all.nodes[i] else {
            return Ok(());
        };
        let (mut wide, mut widened) = (false, false);
        for &(_, id) in &node.operands {
            wide |= self.wide[id] || self.all.loss(id)?.is_some_and(|loss| loss.overflows);
            widened |= self.widened[id];
        }
        wide &= !keep::is_bounded(node.rule.op);
        widened &= matches!(node.rule.role, Role::Move);
        // BF16's range is float32's.
        widened |= self.to == Half::Float16 && keep::is_widening(node.rule.op);
        for &(_, id) in &node.results {
            self.wide[id] = wide;
            self.widened[id] = widened;
        }
        Ok(())
    }

    /// Whether the tensor is made in half.
    fn is_half(&self, id: usize) -> bool {
        let tensor = &self.all.tensors[id];
        match tensor.source {
            Source::Node(i) => tensor.widened.is_some() || (self.half[i] && self.all.nodes[i].is_some()),
            Source::Input | Source::Constant(_) => false,
        }
    }

    /// Whether a node wants its operands in half; `None` where it does not care.
    fn wants(&self, user: usize) -> Option<bool> {
        match &self.all.nodes[user] {
            Some(node) if matches!(node.rule.role, Role::Any) => None,
            _ => Some(self.half[user]),
        }
    }

    /// The Casts that a tensor takes, 0 or 1.
    fn casts(&self, id: usize) -> usize {
        let tensor = &self.all.tensors[id];
        if tensor.is_constant() {
            return 0;
        }
        let half = self.is_half(id);
        let pinned = if half { tensor.needed_in_float } else { tensor.needed_in_half };
        (pinned || tensor.users.iter().any(|&user| self.wants(user) == Some(!half))).into()
    }

    /// The Casts of all tensors of a node.
    fn casts_around(&self, i: usize) -> usize {
        let Some(node) = &self.all.nodes[i] else {
            return 0;
        };
        let mut around: Vec<usize> = node.operands.iter().chain(&node.results).map(|&(_, id)| id).collect();
        around.sort_unstable();
        around.dedup();
        around.into_iter().map(|id| self.casts(id)).sum()
    }

    /// One round, against the order of the graph: a node changes sides where that saves Casts; one that only moves elements goes
    /// to half where it costs none. Says whether any did.
    ///
    /// Each change lowers the number of Casts or, at the same number, raises that of half nodes, so the rounds come to an end.
    fn improve(&mut self, movements_only: bool) -> Result<bool, PrecisionError> {
        let mut changed = false;
        for i in (0..self.half.len()).rev() {
            let Some(node) = &self.all.nodes[i] else {
                continue;
            };
            let moves = matches!(node.rule.role, Role::Move);
            if self.free[i] {
                if movements_only && !moves {
                    continue;
                }
                let before = self.casts_around(i);
                self.half[i] = !self.half[i];
                let after = self.casts_around(i);
                // What takes the result in float32 would get it rounded, so there must be nobody who does.
                let for_free = self.half[i] && after == before && moves && node.results.iter().all(|&(_, id)| self.casts(id) == 0);
                if after < before || for_free {
                    changed = true;
                } else {
                    self.half[i] = !self.half[i];
                }
            } else if matches!(node.rule.role, Role::Compare) && self.half[i] && !self.follow(i)? {
                // What it compares is float32 by now, and must not be rounded for it.
                self.half[i] = false;
                changed = true;
            }
        }
        Ok(changed)
    }
}
