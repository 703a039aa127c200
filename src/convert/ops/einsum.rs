//! Einsum. Engines read equations of distinct lower-case letters only, so every label gets such a letter, an ellipsis becomes the
//! axes that it stands for, and an operand with a label twice is cut to its diagonal first.

use super::{Converter, FLOATS, all_inputs};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::layout::as_ints;
use crate::convert::value::Form;
use crate::convert::view::View;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Letter(char),
    /// An axis of an ellipsis, counted from its last.
    Dots(usize),
}

/// One operand: what its axes are called.
struct Term {
    labels: Vec<Label>,
    /// Axes of size 1 that are broadcast: they go before the product.
    squeezed: Vec<usize>,
}

struct Equation {
    terms: Vec<Term>,
    output: Vec<Label>,
}

/// The labels of a term; its ellipsis stands for `dots` axes.
fn labels(term: &str, dots: usize) -> Result<Vec<Label>, Reason> {
    let mut labels = Vec::new();
    let mut rest = term;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            labels.extend((0..dots).rev().map(Label::Dots));
            rest = after;
            continue;
        }
        if !letter.is_ascii_alphabetic() {
            return Err(format!("Einsum with the term '{term}' is not supported."));
        }
        labels.push(Label::Letter(letter));
        rest = &rest[1..];
    }
    Ok(labels)
}

fn letters(term: &str) -> usize {
    term.chars().filter(|c| *c != '.').count()
}

fn parse(view: View) -> Result<Equation, Reason> {
    let equation: String = view.attr_or("equation", "").split_whitespace().collect();
    let (left, right) = equation.split_once("->").ok_or("The equation has no output.")?;
    let left: Vec<&str> = left.split(',').collect();
    if left.len() > 2 || left.len() != view.count() {
        return Err(format!("Einsum of {} inputs by '{equation}' is not supported.", view.count()));
    }
    let mut most = 0;
    let mut terms = Vec::new();
    for (i, term) in left.iter().enumerate() {
        let rank = view.rank(i)?;
        let dots = rank.checked_sub(letters(term)).filter(|&dots| dots == 0 || term.contains("..."));
        let dots = dots.ok_or_else(|| format!("Einsum's term '{term}' does not fit an input of rank {rank}."))?;
        most = most.max(dots);
        terms.push(Term {
            labels: labels(term, dots)?,
            squeezed: Vec::new(),
        });
    }
    let output = labels(right, most)?;
    if most > 0 && !right.contains("...") {
        return Err(format!("Einsum that sums over an ellipsis ('{equation}') is not supported."));
    }
    if (1..output.len()).any(|i| output[..i].contains(&output[i])) {
        return Err(format!("Einsum with a label twice in its output ('{right}') is not supported."));
    }
    if let Some(label) = output.iter().find(|l| !terms.iter().any(|t| t.labels.contains(l))) {
        return Err(format!("Einsum's output has {label:?}, which no input has."));
    }
    broadcast(view, &mut terms)?;
    Ok(Equation { terms, output })
}

/// Takes out axes of size 1 of one ellipsis that stand for all of the other's.
fn broadcast(view: View, terms: &mut [Term]) -> Result<(), Reason> {
    let [first, second] = terms else { return Ok(()) };
    first.squeezed = stretched(view, (0, &first.labels), (1, &second.labels))?;
    second.squeezed = stretched(view, (1, &second.labels), (0, &first.labels))?;
    Ok(())
}

/// The axes of an ellipsis of operand `i` that have size 1 where those of operand `j` have not.
fn stretched(view: View, (i, mine): (usize, &[Label]), (j, other): (usize, &[Label])) -> Result<Vec<usize>, Reason> {
    let (sizes, others) = (view.dims(i)?, view.dims(j)?);
    let is_stretched = |axis: &usize| {
        let at = other.iter().position(|label| *label == mine[*axis]);
        matches!(mine[*axis], Label::Dots(_)) && sizes[*axis] == Some(1) && at.is_some_and(|at| others[at] != Some(1))
    };
    Ok((0..mine.len()).filter(is_stretched).collect())
}

/// The axes of each label that an operand has more than once, and their size.
fn diagonals(view: View, i: usize, labels: &[Label]) -> Result<Vec<(Vec<usize>, i64)>, Reason> {
    let mut found = Vec::new();
    for (first, label) in labels.iter().enumerate() {
        let axes: Vec<usize> = (0..labels.len()).filter(|&axis| labels[axis] == *label).collect();
        if axes.len() < 2 || axes[0] != first {
            continue;
        }
        let sizes: Vec<Option<i64>> = axes.iter().map(|&axis| view.dims(i).map(|d| d[axis])).collect::<Result<_, _>>()?;
        match sizes[0] {
            Some(size) if sizes.iter().all(|s| *s == sizes[0]) => found.push((axes, size)),
            _ => return Err("Einsum of a diagonal needs its size.".to_string()),
        }
    }
    Ok(found)
}

fn supports(view: View) -> Result<(), Reason> {
    all_inputs(view, FLOATS)?;
    let equation = parse(view)?;
    for (i, term) in equation.terms.iter().enumerate() {
        diagonals(view, i, &term.labels)?;
    }
    let mut all: Vec<Label> = Vec::new();
    for label in equation.terms.iter().flat_map(|t| &t.labels) {
        if !all.contains(label) {
            all.push(*label);
        }
    }
    match all.len() {
        0..=26 => Ok(()),
        count => Err(format!("Einsum of {count} labels is not supported.")),
    }
}

/// Operand `i` with distinct labels, and those.
fn operand(cx: &mut Context, i: usize, term: &Term) -> Result<(String, Vec<Label>), Reason> {
    let mut x = cx.plain(i)?;
    let mut labels = term.labels.clone();
    // A label of an ellipsis stands once in a term, so what is cut to a diagonal is not squeezed.
    for (axes, size) in diagonals(cx.view, i, &term.labels)? {
        let label = term.labels[axes[0]];
        let here: Vec<usize> = (0..labels.len()).filter(|&axis| labels[axis] == label).collect();
        let others: Vec<usize> = (0..labels.len()).filter(|axis| !here.contains(axis)).collect();
        let perm: Vec<usize> = here.iter().chain(&others).copied().collect();
        x = cx.emit("Transpose", &[&x], &[("perm", Attr::Ints(&as_ints(&perm)))]);
        let rows: Vec<i64> = (0..size).flat_map(|at| vec![at; here.len()]).collect();
        let (rows, dims) = (cx.vector(&rows), cx.vector(&[size, here.len() as i64]));
        let rows = cx.emit("Reshape", &[&rows, &dims], &[]);
        x = cx.emit("GatherND", &[&x, &rows], &[]);
        labels = std::iter::once(label).chain(others.into_iter().map(|axis| labels[axis])).collect();
    }
    let gone: Vec<Label> = term.squeezed.iter().map(|&axis| term.labels[axis]).collect();
    let axes: Vec<i64> = (0..labels.len()).filter(|&a| gone.contains(&labels[a])).map(|a| a as i64).collect();
    if !axes.is_empty() {
        let axes = cx.vector(&axes);
        x = cx.emit("Squeeze", &[&x, &axes], &[]);
        labels.retain(|label| !gone.contains(label));
    }
    Ok((x, labels))
}

/// States that a letter has one size: only the axes of an ellipsis are broadcast.
fn letters_agree(cx: &mut Context, terms: &[Term]) -> Result<(), Reason> {
    let [first, second] = terms else { return Ok(()) };
    for (axis, label) in first.labels.iter().enumerate() {
        let other = second.labels.iter().position(|one| one == label);
        if let (Label::Letter(_), Some(other)) = (label, other) {
            guard::require_same(cx, (0, axis), (1, other))?;
        }
    }
    Ok(())
}

fn einsum(cx: &mut Context) -> Result<(), Reason> {
    let equation = parse(cx.view)?;
    letters_agree(cx, &equation.terms)?;
    let (mut names, mut terms) = (Vec::new(), Vec::new());
    for (i, term) in equation.terms.iter().enumerate() {
        let (name, labels) = operand(cx, i, term)?;
        names.push(name);
        terms.push(labels);
    }
    let mut known: Vec<Label> = Vec::new();
    let mut write = |labels: &[Label]| -> String {
        let letter = |label: &Label| {
            let at = known.iter().position(|k| k == label).unwrap_or_else(|| {
                known.push(*label);
                known.len() - 1
            });
            char::from(b'a' + at.min(25) as u8)
        };
        labels.iter().map(letter).collect()
    };
    let left: Vec<String> = terms.iter().map(|labels| write(labels)).collect();
    let text = format!("{}->{}", left.join(","), write(&equation.output));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let out = cx.emit("Einsum", &names, &[("equation", Attr::S(&text))]);
    cx.give(0, Form::Plain, out)
}

pub const CONVERTERS: &[Converter] = &[Converter {
    op: "Einsum",
    supports,
    convert: einsum,
}];
