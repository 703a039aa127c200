//! What a converter works with: its node, the values that its inputs have become, and the builder.

use super::bounds::{self, Bounds};
use super::builder::{Attr, Builder, Declared, Outer};
use super::guard::{Claims, Guards};
use super::layout::{TO_FIRST, TO_LAST, as_ints, axis_first, constant_first};
use super::size::{self, Origin, Size};
use super::value::{Form, Steps, Value, ValueId};
use super::view::View;
use super::{Layout, Options, Quantization, Reason, carried};
use crate::graph::{Constant, DType, Port};
use crate::memory;
use crate::proto::onnx;
use std::collections::HashMap;

/// What there was before a graph inside a node.
pub struct Scope {
    values: Vec<Value>,
    quantization: Quantization,
    guards: Vec<String>,
    outer: Outer,
}

/// The values of a segment that is being converted.
#[derive(Default)]
pub struct State {
    pub builder: Builder,
    pub options: Options,
    values: Vec<Value>,
    ports: HashMap<Port, ValueId>,
    pub guards: Guards,
}

impl State {
    pub fn new(options: Options) -> State {
        State {
            options,
            ..State::default()
        }
    }

    pub fn add(&mut self, port: Port, value: Value) {
        let id = self.variable(value);
        self.ports.insert(port, id);
    }

    pub fn find(&self, port: Port) -> Option<ValueId> {
        self.ports.get(&port).copied()
    }

    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id]
    }

    /// A value that no node gives: a variable of a loop.
    pub fn variable(&mut self, mut value: Value) -> ValueId {
        let id = self.values.len();
        value.origins = (0..value.dims.len()).map(|axis| Origin { value: id, axis }).collect();
        self.values.push(value);
        id
    }

    /// Runs `work` on another graph, whose nodes' values are its own, as are the sizes that are claimed of them.
    pub fn on_graph<T>(&mut self, claims: Claims, work: impl FnOnce(&mut State) -> T) -> T {
        let (ports, scope) = (std::mem::take(&mut self.ports), self.builder.scope.clone());
        let outer = std::mem::replace(&mut self.guards.claims, claims);
        let done = work(self);
        self.ports = ports;
        self.guards.claims = outer;
        self.builder.scope = scope;
        done
    }

    /// Makes `port` the value `id`.
    pub fn set(&mut self, port: Port, id: ValueId) {
        self.ports.insert(port, id);
    }

    /// Begins a graph inside a node: forms of values that are made there can be seen there only.
    pub fn enter(&mut self) -> Scope {
        Scope {
            values: self.values.clone(),
            quantization: std::mem::take(&mut self.options.quantization),
            guards: std::mem::take(&mut self.guards.holds),
            outer: self.builder.enter(),
        }
    }

    /// Ends it, with its inputs and outputs.
    pub fn leave(&mut self, scope: Scope, name: &str, inputs: &[Declared], outputs: &[Declared]) -> Result<onnx::GraphProto, Reason> {
        self.values.truncate(scope.values.len());
        for (now, mut before) in self.values.iter_mut().zip(scope.values) {
            // The forms of a plain constant are constants, too, and those are outside.
            if before.constant.is_some() && before.steps.is_none() {
                before.take_names(now);
            }
            *now = before;
        }
        self.options.quantization = scope.quantization;
        self.guards.holds = scope.guards;
        self.builder.leave(scope.outer, name, inputs, outputs)
    }

    /// The ONNX name of `value` in `form`; makes the form where it does not exist.
    pub fn name(&mut self, id: ValueId, form: Form) -> Result<String, Reason> {
        let value = &self.values[id];
        let overflows = form == Form::Wide && value.overflows();
        if let Some(name) = value.name(form).filter(|_| !overflows) {
            return Ok(name.to_string());
        }
        let (dtype, rank) = (value.dtype, value.dims.len());
        let made = if let Some(constant) = value.constant.clone() {
            let steps = value.steps.clone();
            let steps = steps.and_then(|steps| steps_in(steps, form, rank));
            self.constant_form(&constant, form, steps.as_ref())?
        } else {
            match form {
                // A scalar is the same in every order.
                Form::ChannelsFirst if rank == 0 => self.name(id, Form::Plain)?,
                Form::ChannelsFirst if value.pixel_batch() => {
                    let sizes = value.pixel_sizes(&TO_FIRST);
                    let plain = self.name(id, Form::Plain)?;
                    self.reshape(&plain, &sizes)
                }
                Form::ChannelsFirst if rank <= 4 => {
                    let plain = self.name(id, Form::Plain)?;
                    self.make_first(&plain, rank)
                }
                Form::Wide if carried::held(dtype) == DType::INT32 => {
                    let plain = self.name(id, Form::Plain)?;
                    self.cast(&plain, DType::INT64)?
                }
                Form::Plain => self.plain_form(id)?,
                _ => return Err(format!("a tensor of type {dtype} and rank {rank} has no form {form:?}")),
            }
        };
        if form != Form::ChannelsFirst || self.options.layout == Layout::Kept {
            self.values[id].set_name(form, made.clone());
        }
        if overflows {
            // It came by way of int32, which wraps around.
            self.values[id].bounds = Bounds::INT32;
        }
        Ok(made)
    }

    /// The ONNX name of int32 `value` as int64, equal to it modulo 2^32.
    fn congruent(&mut self, id: ValueId) -> Result<String, Reason> {
        match self.values[id].name(Form::Wide) {
            Some(name) => Ok(name.to_string()),
            None => self.name(id, Form::Wide),
        }
    }

    /// `constant` as an initializer; where it is kept in steps, behind a QuantizeLinear, which the engine computes when it is built,
    /// and a DequantizeLinear, which it does without where it computes in int8.
    pub fn initializer_in_steps(&mut self, constant: &Constant, steps: Option<&Steps>) -> Result<String, Reason> {
        let name = self.builder.initializer(constant)?;
        match steps {
            Some(steps) => self.in_steps(&name, steps),
            None => Ok(name),
        }
    }

    /// `x`, float32, rounded to whole steps from -128 to 127 of them.
    pub fn in_steps(&mut self, x: &str, steps: &Steps) -> Result<String, Reason> {
        let count = steps.sizes.len();
        let dims = if steps.axis.is_some() { vec![count as i64] } else { Vec::new() };
        let scale = self.builder.initializer(&Constant {
            dtype: DType::FLOAT,
            dims: dims.clone(),
            data: steps.sizes.iter().flat_map(|size| size.to_le_bytes()).collect::<Vec<u8>>().into(),
        })?;
        let zero = self.builder.initializer_as_it_is(&Constant {
            dtype: DType::INT8,
            dims,
            data: vec![0; count].into(),
        })?;
        let axis = steps.axis.map(|axis| ("axis", Attr::I(axis as i64)));
        let quantized = self.builder.emit("QuantizeLinear", &[x, &scale, &zero], axis.as_slice());
        let axis = steps.axis.map(|axis| ("axis", Attr::I(axis as i64)));
        Ok(self.builder.emit("DequantizeLinear", &[&quantized, &scale, &zero], axis.as_slice()))
    }

    /// `Form::Plain` out of the form that there is.
    fn plain_form(&mut self, id: ValueId) -> Result<String, Reason> {
        let value = &self.values[id];
        let dtype = value.dtype;
        let of = |form| value.name(form).map(str::to_string);
        if let Some(first) = of(Form::ChannelsFirst) {
            if value.pixel_batch() {
                let sizes = value.pixel_sizes(&[0, 1, 2, 3]);
                return Ok(self.reshape(&first, &sizes));
            }
            return Ok(self.channels_last(&first));
        }
        if let (Some(images), &[_, Some(channels)]) = (of(Form::Pixels), &value.dims[..]) {
            let last = self.channels_last(&images);
            return Ok(self.reshape(&last, &[-1, channels]));
        }
        match of(Form::Wide) {
            Some(wide) => self.cast(&wide, dtype),
            None => Err("a tensor without a value was asked for".to_string()),
        }
    }

    fn channels_last(&mut self, first: &str) -> String {
        self.builder
            .emit("Transpose", &[first], &[("perm", Attr::Ints(&as_ints(&TO_LAST)))])
    }

    fn reshape(&mut self, name: &str, sizes: &[i64]) -> String {
        let sizes = self.builder.vector(sizes);
        self.builder.emit("Reshape", &[name, &sizes], &[])
    }

    fn constant_form(&mut self, constant: &Constant, form: Form, steps: Option<&Steps>) -> Result<String, Reason> {
        match form {
            Form::Plain => self.initializer_in_steps(constant, steps),
            Form::ChannelsFirst => self.initializer_in_steps(&constant_first(constant)?, steps),
            Form::Pixels => Err("a constant is no batch of images".to_string()),
            Form::Wide => {
                let values = constant.i64s().ok_or("integers were expected")?;
                self.builder.initializer(&Constant {
                    dtype: DType::INT64,
                    dims: constant.dims.clone(),
                    data: memory::elements("a constant in int64", constant.len(), values.map(i64::to_le_bytes))?,
                })
            }
        }
    }

    /// `plain`, of rank 1 to 4, as it has to stand to be broadcast against channels-first tensors.
    fn make_first(&mut self, plain: &str, rank: usize) -> String {
        if rank == 1 {
            let axes = self.builder.vector(&[0, 2, 3]);
            return self.builder.emit("Unsqueeze", &[plain, &axes], &[]);
        }
        let mut name = plain.to_string();
        if rank < 4 {
            let axes = self.builder.vector(&(0..4 - rank as i64).collect::<Vec<_>>());
            name = self.builder.emit("Unsqueeze", &[&name, &axes], &[]);
        }
        self.builder
            .emit("Transpose", &[&name], &[("perm", Attr::Ints(&as_ints(&TO_FIRST)))])
    }

    pub fn cast(&mut self, name: &str, to: DType) -> Result<String, Reason> {
        let number = carried::held(to).onnx().ok_or_else(|| format!("ONNX has no element type {to}"))? as i64;
        Ok(self.builder.emit("Cast", &[name], &[("to", Attr::I(number))]))
    }

    /// The name of an int64 vector with the shape of `value` as TensorFlow sees it.
    fn shape_of(&mut self, id: ValueId) -> Result<String, Reason> {
        let value = &self.values[id];
        if let Some(name) = &value.shape_name {
            return Ok(name.clone());
        }
        let known: Option<Vec<i64>> = value.dims.iter().copied().collect();
        let name = if let Some(dims) = known {
            self.builder.vector(&dims)
        } else if let Some(name) = value.name(Form::Plain).or(value.name(Form::Wide)) {
            let name = name.to_string();
            self.builder.emit("Shape", &[&name], &[])
        } else if value.name(Form::Pixels).is_some() {
            let name = self.name(id, Form::Plain)?;
            self.builder.emit("Shape", &[&name], &[])
        } else {
            // Asking for the shape must not make the transposed copy.
            let name = self.name(id, Form::ChannelsFirst)?;
            let shape = self.builder.emit("Shape", &[&name], &[]);
            let order = self.builder.vector(&as_ints(&TO_LAST));
            self.builder.emit("Gather", &[&shape, &order], &[("axis", Attr::I(0))])
        };
        self.values[id].shape_name = Some(name.clone());
        Ok(name)
    }
}

/// The steps of a constant of rank `rank` when it stands in `form`.
fn steps_in(steps: Steps, form: Form, rank: usize) -> Option<Steps> {
    let count = steps.sizes.len();
    match (form, steps.axis) {
        (Form::ChannelsFirst, Some(axis)) => steps.along(axis_first(axis + 4usize.checked_sub(rank)?), |_| Some((0..count).collect())),
        _ => Some(steps),
    }
}

/// One node's conversion.
pub struct Context<'a, 's> {
    pub view: View<'a>,
    pub state: &'s mut State,
    inputs: Vec<ValueId>,
}

impl<'a, 's> Context<'a, 's> {
    pub fn new(view: View<'a>, state: &'s mut State) -> Result<Self, Reason> {
        let inputs = view.node().inputs.iter().enumerate().map(|(i, &port)| {
            let input = &view.node().def.input[i];
            let id = state.find(port).ok_or_else(|| format!("input {i} ('{input}') has no value"))?;
            // Converters take sizes from either. In a graph from elsewhere a constant may have another shape than is said of it.
            let (said, found) = (view.dims(i)?, &state.values[id].dims);
            let fits = |(a, b): (&Option<i64>, &Option<i64>)| a.is_none() || b.is_none() || a == b;
            match said.len() == found.len() && said.iter().zip(found).all(fits) {
                true => Ok(id),
                false => Err(format!(
                    "input {i} ('{input}') has the shape {found:?}, and is said to have {said:?}"
                )),
            }
        });
        let inputs = inputs.collect::<Result<_, Reason>>()?;
        state.builder.scope = view.node().name().to_string();
        Ok(Context { view, state, inputs })
    }

    /// Input `i` as a value. `ops::check_tensors` has seen to it that those of the op are there; how many there are of a list, `view.count()`
    /// says.
    pub fn value(&self, i: usize) -> &Value {
        &self.state.values[self.inputs[i]]
    }

    /// What the inputs have become.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    pub fn dtype(&self, i: usize) -> DType {
        self.value(i).dtype
    }

    pub fn rank(&self, i: usize) -> usize {
        self.value(i).dims.len()
    }

    /// The ONNX name of input `i` in `form`.
    pub fn input(&mut self, i: usize, form: Form) -> Result<String, Reason> {
        self.note_int64(i);
        match form == Form::Wide && bounds::keeps_modulo(self.view.op(), i) {
            true => self.state.congruent(self.inputs[i]),
            false => self.state.name(self.inputs[i], form),
        }
    }

    /// Notes that the node looks at int64 numbers which int32 may not hold. Sizes are taken to be ones of tensors that there can be.
    fn note_int64(&mut self, i: usize) {
        let value = self.value(i);
        let large = value.dtype == DType::INT64 && !value.of_sizes && !value.bounds.is_within(Bounds::INT32);
        if large && !bounds::bears_narrowing(self.view, i) {
            let node = || self.view.node().name().to_string();
            self.state.builder.int64.get_or_insert_with(node);
        }
    }

    /// Between which numbers the elements of input `i` lie in `form`, as this op sees it.
    pub fn bounds(&self, i: usize, form: Form) -> Bounds {
        let value = self.value(i);
        match value.overflows() && !(form == Form::Wide && bounds::keeps_modulo(self.view.op(), i)) {
            true => Bounds::INT32,
            false => value.bounds,
        }
    }

    /// Between which numbers the elements of output `i`, of type `dtype`, lie when the node gives it in `form`. Where int32 is kept as int64
    /// they may go beyond int32.
    fn given_bounds(&self, i: usize, dtype: DType, form: Form) -> Bounds {
        let inputs: Vec<Bounds> = (0..self.inputs.len()).map(|input| self.bounds(input, form)).collect();
        let bounds = bounds::of(self.view, i, dtype, &inputs);
        match form == Form::Wide || bounds.is_within(Bounds::of_type(dtype)) {
            true => bounds,
            false => Bounds::of_type(dtype),
        }
    }

    /// The ONNX name of input `i` as TensorFlow has it.
    pub fn plain(&mut self, i: usize) -> Result<String, Reason> {
        self.input(i, Form::Plain)
    }

    /// The ONNX name of integer input `i` as int64.
    pub fn wide(&mut self, i: usize) -> Result<String, Reason> {
        let form = if self.dtype(i) == DType::INT64 { Form::Plain } else { Form::Wide };
        self.input(i, form)
    }

    /// The name of the int64 vector that is input `i`'s shape.
    pub fn shape_of(&mut self, i: usize) -> Result<String, Reason> {
        self.state.shape_of(self.inputs[i])
    }

    pub fn emit(&mut self, op: &str, inputs: &[&str], attrs: &[(&str, Attr)]) -> String {
        self.state.builder.emit(op, inputs, attrs)
    }

    pub fn vector(&mut self, values: &[i64]) -> String {
        self.state.builder.vector(values)
    }

    pub fn scalar(&mut self, dtype: DType, value: f64) -> Result<String, Reason> {
        self.state.builder.scalar(dtype, value)
    }

    /// The form in which one input lies now: the one that costs nothing.
    pub fn form(&self, i: usize) -> Form {
        self.shared_form(&[i])
    }

    /// The form in which an op that treats every element alike, and broadcasts `inputs` together, costs least.
    pub fn shared_form(&self, inputs: &[usize]) -> Form {
        let values: Vec<&Value> = inputs.iter().map(|&i| self.value(i)).collect();
        let has_wide = values.iter().any(|v| v.name(Form::Wide).is_some());
        // What has to be wrapped around is int32 then.
        let as_it_is = |i: usize| bounds::keeps_modulo(self.view.op(), i) || !self.value(i).overflows();
        let stays = inputs.iter().all(|&i| as_it_is(i));
        if has_wide && stays && values.iter().all(|v| v.dtype == DType::INT32 && v.has(Form::Wide)) {
            return Form::Wide;
        }
        let rank = values.iter().map(|v| v.dims.len()).max().unwrap_or(0);
        let first = values.iter().any(|v| v.dims.len() == 4 && v.name(Form::ChannelsFirst).is_some());
        if rank != 4 || !first {
            return Form::Plain;
        }
        // A vector needs no Transpose to stand beside channels-first tensors, a scalar needs nothing.
        let to_make = |form| values.iter().filter(|v| v.dims.len() > 1 && !v.has(form)).count();
        if to_make(Form::ChannelsFirst) <= to_make(Form::Plain) {
            Form::ChannelsFirst
        } else {
            Form::Plain
        }
    }

    /// Makes `name`, which has `form`, the node's output `i`; rounded or wrapped around where its type is carried in another, and the op
    /// computes.
    pub fn give(&mut self, i: usize, form: Form, name: String) -> Result<(), Reason> {
        if form == Form::ChannelsFirst && self.state.options.layout == Layout::Restored {
            let name = self.state.channels_last(&name);
            return self.give(i, Form::Plain, name);
        }
        let info = self.view.out(i)?;
        let name = self.settled(info.dtype, name)?;
        let mut value = Value::new(info.dtype, self.view.out_dims(i)?.to_vec());
        // Only int32 has a wide form: an op that turned wide integers into another type gave that type itself.
        let form = if form == Form::Wide && info.dtype != DType::INT32 {
            Form::Plain
        } else {
            form
        };
        value.bounds = self.given_bounds(i, info.dtype, form);
        let sizes = (0..self.inputs.len())
            .map(|input| self.value(input))
            .map(|v| v.of_sizes || v.constant.is_some());
        value.of_sizes = bounds::of_sizes(self.view.op(), sizes);
        value.set_name(form, name);
        let port = Port {
            node: self.view.id,
            index: i,
        };
        self.state.add(port, value);
        Ok(())
    }

    /// Makes `name`, which has `form` and the shape of all inputs, broadcast together, the node's output 0.
    pub fn give_broadcast(&mut self, form: Form, name: String) -> Result<(), Reason> {
        let shapes: Vec<Vec<Size>> = (0..self.inputs.len()).map(|i| self.value(i).sizes()).collect();
        self.give_sized(form, name, &size::broadcast(&shapes))
    }

    /// Makes `name`, which has `form`, the node's output 0. Its dimensions have these sizes, which inference need not know.
    pub fn give_sized(&mut self, form: Form, name: String, sizes: &[Size]) -> Result<(), Reason> {
        self.give(0, form, name)?;
        let port = Port {
            node: self.view.id,
            index: 0,
        };
        if let Some(id) = self.state.find(port) {
            self.state.values[id].know_sizes(sizes);
        }
        Ok(())
    }

    /// `name`, what the op computed, brought to the values of `dtype`, where that is carried in another type.
    fn settled(&mut self, dtype: DType, name: String) -> Result<String, Reason> {
        match carried::computes(self.view.op(), dtype) {
            true => carried::settle(&mut self.state.builder, dtype, name),
            false => Ok(name),
        }
    }

    /// Makes `name`, a batch of images (batch, height and width are `images`) with so many channels, channels first, the node's output `i`:
    /// the matrix of their pixels. Nothing is emitted before an op asks for the matrix itself.
    pub fn give_pixels(&mut self, i: usize, images: [Size; 3], channels: i64, name: String) -> Result<(), Reason> {
        let rows = self.view.out_dims(i)?.first().copied().flatten();
        let name = self.settled(self.view.out(i)?.dtype, name)?;
        let mut value = Value::new(self.view.out(i)?.dtype, vec![rows, Some(channels)]);
        value.images = Some(images);
        value.set_name(Form::Pixels, name);
        let port = Port {
            node: self.view.id,
            index: i,
        };
        self.state.add(port, value);
        Ok(())
    }

    /// Batch, height and width of the images whose pixels are the rows of input `i`, their channels, and their ONNX name, channels first.
    pub fn pixels(&self, i: usize) -> Option<([Size; 3], i64, String)> {
        let value = self.value(i);
        Some((value.images?, value.dims[1]?, value.name(Form::Pixels)?.to_string()))
    }

    /// Makes `name`, of type int64, the node's output `i`, which is int32 or int64 to TensorFlow.
    pub fn give_wide(&mut self, i: usize, name: String) -> Result<(), Reason> {
        self.give(i, Form::Wide, name)
    }

    /// Makes output `i` the value of input `input`: the op does nothing here.
    pub fn alias(&mut self, i: usize, input: usize) {
        let port = Port {
            node: self.view.id,
            index: i,
        };
        self.state.ports.insert(port, self.inputs[input]);
    }

    pub fn give_constant(&mut self, i: usize, constant: Constant) {
        self.give_constant_in_steps(i, constant, None);
    }

    /// Makes `constant`, whose values are whole `steps`, output `i`.
    pub fn give_constant_in_steps(&mut self, i: usize, constant: Constant, steps: Option<Steps>) {
        let port = Port {
            node: self.view.id,
            index: i,
        };
        let mut value = Value::from_constant(constant);
        value.steps = steps;
        self.state.add(port, value);
    }

    /// The known elements of input `i`, where it is a small integer tensor of which something is known.
    pub fn elements(&self, i: usize) -> Option<Vec<Option<i64>>> {
        let elements = self.value(i).elements.as_ref()?;
        Some(elements.iter().map(|size| size.known()).collect())
    }

    /// The elements of input `i` as sizes, where it is a small integer tensor of which something is known.
    pub fn elements_as_sizes(&self, i: usize) -> Option<Vec<Size>> {
        self.value(i).elements.clone()
    }

    /// Adds what is known of the elements of output `i`, which was given before.
    pub fn know<S: Into<Size>>(&mut self, i: usize, elements: Option<Vec<S>>) {
        let port = Port {
            node: self.view.id,
            index: i,
        };
        if let (Some(elements), Some(id)) = (elements, self.state.find(port)) {
            self.state.values[id].know(elements.into_iter().map(S::into).collect());
        }
    }
}
