//! StridedSlice: Python's `x[begin:end:stride, ..., new, index]` with its five masks.
//!
//! begin, end and strides have one entry per item between the brackets (a sparse position). The masks say which items are
//! `...`, a new axis, a single index, or open at one end. ONNX's Slice has only ranges, with the same rules for negative
//! and too large positions: ranges become one Slice, single indices a Gather each, new axes one Unsqueeze.

use super::slicing::{END, Piece, assemble, piece};
use super::{Converter, INTEGERS};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::size::Size;
use crate::convert::value::Form;
use crate::convert::view::View;

/// TensorFlow's masks are int32.
const MOST_ITEMS: usize = 32;

/// The five masks of a node.
#[derive(Clone, Copy, Default)]
struct Masks {
    begin: i64,
    end: i64,
    ellipsis: i64,
    new_axis: i64,
    shrink_axis: i64,
}

/// What an item means for one dimension of the input, or for the result. `usize` is the item's sparse position.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Item {
    /// The whole dimension.
    All,
    /// Part of the dimension; the flags say whether it is open at the beginning and at the end.
    Range(usize, bool, bool),
    /// One index, and the dimension goes.
    Index(usize),
    /// A new dimension of size 1.
    New,
}

/// The items in order, the ellipsis spelled out: all but `New` consume one dimension of an input of rank `rank`.
fn items(masks: Masks, count: usize, rank: usize) -> Result<Vec<Item>, Reason> {
    if count > MOST_ITEMS {
        return Err(format!("StridedSlice has {count} items, and its masks are of {MOST_ITEMS}."));
    }
    let bit = |mask: i64, i: usize| mask >> i & 1 == 1;
    let is_ellipsis = |i: usize| bit(masks.ellipsis, i);
    let is_new = |i: usize| !is_ellipsis(i) && bit(masks.new_axis, i);
    let consumed = (0..count).filter(|&i| !is_ellipsis(i) && !is_new(i)).count();
    let left = rank
        .checked_sub(consumed)
        .ok_or_else(|| format!("StridedSlice takes {consumed} dimensions of a tensor of rank {rank}."))?;
    let mut items = Vec::new();
    let mut ellipsis_seen = false;
    for i in 0..count {
        if is_ellipsis(i) {
            if ellipsis_seen {
                return Err("StridedSlice has more than one ellipsis.".to_string());
            }
            ellipsis_seen = true;
            items.extend(std::iter::repeat_n(Item::All, left));
        } else if is_new(i) {
            items.push(Item::New);
        } else if bit(masks.shrink_axis, i) {
            items.push(Item::Index(i));
        } else {
            items.push(Item::Range(i, bit(masks.begin, i), bit(masks.end, i)));
        }
    }
    if !ellipsis_seen {
        items.extend(std::iter::repeat_n(Item::All, left));
    }
    Ok(items)
}

fn masks(view: View) -> Masks {
    let mask = |name| view.node().attr_i(name).unwrap_or(0);
    Masks {
        begin: mask("begin_mask"),
        end: mask("end_mask"),
        ellipsis: mask("ellipsis_mask"),
        new_axis: mask("new_axis_mask"),
        shrink_axis: mask("shrink_axis_mask"),
    }
}

fn spec(view: View) -> Result<(Vec<Item>, Vec<i64>), Reason> {
    let strides = view.need_ints(3, "strides")?;
    let items = items(masks(view), strides.len(), view.rank(0)?)?;
    Ok((items, strides))
}

fn supports(view: View) -> Result<(), Reason> {
    view.accepts(1, INTEGERS)?;
    view.accepts(2, INTEGERS)?;
    view.accepts_rank(1, 1)?;
    view.accepts_rank(2, 1)?;
    let (_, strides) = spec(view)?;
    match strides.contains(&0) {
        true => Err("StridedSlice has a stride of 0.".to_string()),
        false => Ok(()),
    }
}

fn convert(cx: &mut Context) -> Result<(), Reason> {
    let (items, strides) = spec(cx.view)?;
    let ranges_only = items.iter().all(|item| matches!(item, Item::All | Item::Range(..)));
    let form = match cx.form(0) {
        Form::Wide => Form::Wide,
        // A part of an image: as the image lies.
        Form::ChannelsFirst if ranges_only => Form::ChannelsFirst,
        _ => Form::Plain,
    };
    let mut x = cx.input(0, form)?;
    let (mut starts, mut ends, mut axes, mut steps) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut indices = Vec::new();
    for (axis, &item) in items.iter().filter(|item| **item != Item::New).enumerate() {
        match item {
            Item::Range(_, true, true) if strides_one(&strides, item) => {}
            Item::Range(i, open_begin, open_end) => {
                let (first, last) = if strides[i] > 0 { (0, END) } else { (END, i64::MIN) };
                starts.push(if open_begin { Piece::Known(first) } else { piece(cx, 1, i)? });
                ends.push(if open_end { Piece::Known(last) } else { piece(cx, 2, i)? });
                axes.push(super::axis_in(form, axis) as i64);
                steps.push(strides[i]);
            }
            Item::Index(i) => indices.push((axis, i)),
            Item::All | Item::New => {}
        }
    }
    if !axes.is_empty() {
        let (starts, ends) = (assemble(cx, &starts), assemble(cx, &ends));
        let (axes, steps) = (cx.vector(&axes), cx.vector(&steps));
        x = cx.emit("Slice", &[&x, &starts, &ends, &axes, &steps], &[]);
    }
    // From the last axis on, so that the numbers of those before stay right.
    for (axis, i) in indices.into_iter().rev() {
        let at = match piece(cx, 1, i)? {
            Piece::Known(at) => cx.state.builder.index(at),
            Piece::Named(name) => {
                let zero = cx.vector(&[0]);
                cx.emit("Squeeze", &[&name, &zero], &[])
            }
        };
        x = cx.emit("Gather", &[&x, &at], &[("axis", Attr::I(axis as i64))]);
    }
    let result = items.iter().filter(|item| !matches!(item, Item::Index(_)));
    let new: Vec<i64> = result
        .enumerate()
        .filter(|(_, item)| **item == Item::New)
        .map(|(i, _)| i as i64)
        .collect();
    if !new.is_empty() {
        let axes = cx.vector(&new);
        x = cx.emit("Unsqueeze", &[&x, &axes], &[]);
    }
    cx.give(0, form, x)?;
    let known = known_elements(cx, &items, &strides);
    cx.know(0, known);
    Ok(())
}

fn strides_one(strides: &[i64], item: Item) -> bool {
    matches!(item, Item::Range(i, ..) if strides[i] == 1)
}

/// The elements that a slice of a vector takes, where the positions are known.
fn known_elements(cx: &Context, items: &[Item], strides: &[i64]) -> Option<Vec<Size>> {
    let elements = cx.elements_as_sizes(0).filter(|_| cx.rank(0) == 1)?;
    let at = |input: usize, i: usize| cx.elements(input)?.get(i).copied()?;
    let item = items.iter().find(|item| **item != Item::New)?;
    let places = match *item {
        Item::All | Item::New => (0..elements.len()).collect(),
        Item::Index(i) => {
            let index = at(1, i)?;
            let index = if index < 0 { index + elements.len() as i64 } else { index };
            vec![usize::try_from(index).ok()?]
        }
        Item::Range(i, open_begin, open_end) => {
            let begin = if open_begin { None } else { Some(at(1, i)?) };
            let end = if open_end { None } else { Some(at(2, i)?) };
            positions(elements.len(), begin, end, strides[i])
        }
    };
    places.into_iter().map(|p| elements.get(p).copied()).collect()
}

/// The positions that `begin:end:stride` takes of `len` elements; `None` is an open end.
fn positions(len: usize, begin: Option<i64>, end: Option<i64>, stride: i64) -> Vec<usize> {
    let len = len as i64;
    let (lowest, highest) = if stride > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |at: i64| (if at < 0 { at + len } else { at }).clamp(lowest, highest);
    let begin = begin.map_or(if stride > 0 { lowest } else { highest }, clamp);
    let end = end.map_or(if stride > 0 { highest } else { lowest }, clamp);
    let mut places = Vec::new();
    let mut at = begin;
    while (stride > 0 && at < end) || (stride < 0 && at > end) {
        places.push(at as usize);
        at = at.saturating_add(stride);
    }
    places
}

pub const CONVERTERS: &[Converter] = &[Converter {
    op: "StridedSlice",
    supports,
    convert,
}];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_masks_are_read_as_python_reads_brackets() {
        // x[1:2, ..., tf.newaxis, 3] of rank 4
        let masks = Masks {
            ellipsis: 0b0010,
            new_axis: 0b0100,
            shrink_axis: 0b1000,
            ..Masks::default()
        };
        let expected = [Item::Range(0, false, false), Item::All, Item::All, Item::New, Item::Index(3)];
        assert_eq!(items(masks, 4, 4).unwrap(), expected);
        // x[:, 1:] of rank 3: an ellipsis is implied behind.
        let masks = Masks {
            begin: 0b01,
            end: 0b11,
            ..Masks::default()
        };
        let expected = [Item::Range(0, true, true), Item::Range(1, false, true), Item::All];
        assert_eq!(items(masks, 2, 3).unwrap(), expected);
    }

    #[test]
    fn an_ellipsis_over_nothing_and_a_mask_that_it_hides() {
        // x[0, ...] of rank 1; the new-axis bit of the ellipsis itself does not count.
        let masks = Masks {
            ellipsis: 0b10,
            new_axis: 0b10,
            shrink_axis: 0b01,
            ..Masks::default()
        };
        assert_eq!(items(masks, 2, 1).unwrap(), [Item::Index(0)]);
        assert!(items(Masks::default(), 3, 2).is_err(), "three items of a rank-2 tensor");
        let two = Masks {
            ellipsis: 0b11,
            ..Masks::default()
        };
        assert!(items(two, 2, 2).is_err(), "two ellipses");
        let many = items(Masks::default(), 65, 65).unwrap_err();
        assert_eq!(many, "StridedSlice has 65 items, and its masks are of 32.");
    }

    #[test]
    fn positions_are_those_of_python() {
        assert_eq!(positions(5, None, None, 1), [0, 1, 2, 3, 4]);
        assert_eq!(positions(5, Some(-2), None, 1), [3, 4]);
        assert_eq!(positions(5, Some(1), Some(100), 2), [1, 3]);
        assert_eq!(positions(5, None, None, -2), [4, 2, 0]);
        assert_eq!(positions(5, Some(3), Some(0), -1), [3, 2, 1]);
        assert_eq!(positions(5, Some(3), Some(1), 1), [0usize; 0]);
        assert_eq!(positions(5, Some(-100), Some(2), 1), [0, 1]);
        assert_eq!(positions(5, Some(2), None, i64::MAX), [2]);
        assert_eq!(positions(5, Some(2), None, i64::MIN), [2]);
    }
}
