//! Graphs: work that is captured once and launched as one, between copies whose outer ends change from run to run.

use super::{CudaError, Stream, checked};
use cudarc::driver::sys;
use parking_lot::{RwLock, RwLockReadGuard};
use std::cell::Cell;

/// Held for writing while a stream is captured: CUDA refuses to wait for a whole device meanwhile, whichever thread asks. Held for
/// reading by whoever waits for a device, or lets TensorRT do what may wait for one. Nobody waits for it for writing, so that a
/// thread may hold it for reading twice.
static CAPTURING: RwLock<()> = RwLock::new(());

thread_local! {
    static CAPTURING_HERE: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread's capture has waited for the device.
    static WAITED_HERE: Cell<bool> = const { Cell::new(false) };
}

/// This thread captures while it lives, however what it does meanwhile ends.
struct Capturing;

impl Capturing {
    fn begin() -> Capturing {
        CAPTURING_HERE.set(true);
        WAITED_HERE.set(false);
        Capturing
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        CAPTURING_HERE.set(false);
    }
}

/// Whether this thread captures; it is remembered that it asked, for only who gives memory back waits for a device.
pub(super) fn captures_here() -> bool {
    WAITED_HERE.set(true);
    CAPTURING_HERE.get()
}

/// While it lives, no stream is captured.
pub struct NoCapture {
    _guard: Option<RwLockReadGuard<'static, ()>>,
}

/// Keeps streams from being captured, for work that may wait for the whole device, which CUDA refuses meanwhile. Waits for the
/// end of a capture of another thread; within one it does nothing.
pub fn no_capture() -> NoCapture {
    NoCapture {
        _guard: (!CAPTURING_HERE.get()).then(|| CAPTURING.read()),
    }
}

/// Whether [`Graph::capture`] would find nothing in its way now.
pub fn may_capture() -> bool {
    !CAPTURING.is_locked()
}

/// A stream of our own, which waits for no other.
pub struct OwnStream(u64);

impl OwnStream {
    /// In the current context.
    pub fn new() -> Result<OwnStream, CudaError> {
        let mut stream = std::ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: writes one pointer.
        checked("make a stream", unsafe { sys::cuStreamCreate(&mut stream, flags) })?;
        Ok(OwnStream(stream as u64))
    }

    pub fn stream(&self) -> Stream {
        Stream(self.0)
    }

    /// What `work` gives to this stream, as a graph instead of being run.
    fn capture<E: From<CudaError>>(&self, work: impl FnOnce() -> Result<(), E>) -> Result<Template, E> {
        let stream = self.stream().raw();
        // Relaxed: this thread may allocate meanwhile, and what other threads do (TensorFlow's among them) is not looked at.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream is ours, and used by nobody else.
        checked("begin a graph", unsafe { sys::cuStreamBeginCapture_v2(stream, mode) })?;
        let here = Capturing::begin();
        let done = work();
        drop(here);
        let mut graph = std::ptr::null_mut();
        // SAFETY: ends what was begun above; writes one pointer, null where the capture was invalidated.
        let ended = checked("end a graph", unsafe { sys::cuStreamEndCapture(stream, &mut graph) });
        let template = Template(graph as u64);
        done?;
        ended?;
        if WAITED_HERE.get() {
            // The next who asks for memory gets it, and the graph would write there.
            let why = "memory that it works in was given back meanwhile".to_string();
            return Err(CudaError { what: "keep a graph", why }.into());
        }
        Ok(template)
    }
}

impl Drop for OwnStream {
    fn drop(&mut self) {
        // SAFETY: ours, dropped once; work on it goes on until it is done.
        let _ = unsafe { sys::cuStreamDestroy_v2(self.stream().raw()) };
    }
}

/// A graph as it is written down, before it is made ready to run. 0 is none.
struct Template(u64);

impl Template {
    fn raw(&self) -> sys::CUgraph {
        self.0 as sys::CUgraph
    }

    /// A copy that waits for `after`.
    fn copy(&self, transfer: &Transfer, after: &[sys::CUgraphNode], context: sys::CUcontext) -> Result<sys::CUgraphNode, CudaError> {
        let (mut node, parameters) = (std::ptr::null_mut(), transfer.parameters());
        // SAFETY: writes one pointer; the nodes are of this graph, and the parameters are read while it runs.
        checked("add a copy to a graph", unsafe {
            sys::cuGraphAddMemcpyNode(&mut node, self.raw(), after.as_ptr(), after.len(), &parameters, context)
        })?;
        Ok(node)
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        if self.0 != 0 {
            // SAFETY: ours, dropped once; what was made ready of it is not touched.
            let _ = unsafe { sys::cuGraphDestroy(self.raw()) };
        }
    }
}

/// A copy within the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub to: u64,
    pub from: u64,
    pub bytes: usize,
}

impl Transfer {
    fn parameters(&self) -> sys::CUDA_MEMCPY3D {
        // One row, from its beginning. What belongs to other kinds of memory is not looked at.
        sys::CUDA_MEMCPY3D {
            srcXInBytes: 0,
            srcY: 0,
            srcZ: 0,
            srcLOD: 0,
            srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
            srcHost: std::ptr::null(),
            srcDevice: self.from,
            srcArray: std::ptr::null_mut(),
            reserved0: std::ptr::null_mut(),
            srcPitch: self.bytes,
            srcHeight: 1,
            dstXInBytes: 0,
            dstY: 0,
            dstZ: 0,
            dstLOD: 0,
            dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
            dstHost: std::ptr::null_mut(),
            dstDevice: self.to,
            dstArray: std::ptr::null_mut(),
            reserved1: std::ptr::null_mut(),
            dstPitch: self.bytes,
            dstHeight: 1,
            WidthInBytes: self.bytes,
            Height: 1,
            Depth: 1,
        }
    }
}

/// A graph that is ready to run: copies into its own memory, work there, copies out of it.
pub struct Graph {
    exec: u64,
    context: u64,
    inputs: Vec<Option<Node>>,
    outputs: Vec<Option<Node>>,
    /// The nodes are its own.
    _template: Template,
}

/// A copy's node, and what it does now.
struct Node {
    node: u64,
    transfer: Transfer,
}

impl Graph {
    /// A graph of `inputs`, then what `work` gives to `stream`, then `outputs`; none of it is run. `None`, without doing anything,
    /// while a [`NoCapture`] lives: an engine's build may take minutes, and is not waited for.
    ///
    /// # Errors
    /// `work`'s own, or CUDA's where something in it cannot be captured; the stream is usable again in either case.
    pub fn capture<E: From<CudaError>>(
        stream: &OwnStream,
        inputs: &[Transfer],
        outputs: &[Transfer],
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Option<Graph>, E> {
        let Some(_alone) = CAPTURING.try_write() else {
            return Ok(None);
        };
        let work = stream.capture(work)?;
        Ok(Some(Graph::around(&work, inputs, outputs)?))
    }

    fn around(work: &Template, inputs: &[Transfer], outputs: &[Transfer]) -> Result<Graph, CudaError> {
        let (mut context, mut graph) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: each writes one pointer.
        unsafe {
            checked("tell the context", sys::cuCtxGetCurrent(&mut context))?;
            checked("make a graph", sys::cuGraphCreate(&mut graph, 0))?;
        }
        let template = Template(graph as u64);
        let add = |transfers: &[Transfer], after: &[sys::CUgraphNode]| -> Result<Vec<Option<Node>>, CudaError> {
            let one = |transfer: &Transfer| match transfer.bytes {
                // CUDA has no copy of nothing.
                0 => Ok(None),
                _ => Ok(Some(Node {
                    node: template.copy(transfer, after, context)? as u64,
                    transfer: *transfer,
                })),
            };
            transfers.iter().map(one).collect()
        };
        // The copies on each side wait for none of the others.
        let inputs = add(inputs, &[])?;
        let copied: Vec<sys::CUgraphNode> = inputs.iter().flatten().map(|input| input.node as sys::CUgraphNode).collect();
        let mut middle = std::ptr::null_mut();
        // SAFETY: writes one pointer; the nodes are of this graph. `work` is copied.
        checked("add the work to a graph", unsafe {
            sys::cuGraphAddChildGraphNode(&mut middle, graph, copied.as_ptr(), copied.len(), work.raw())
        })?;
        let outputs = add(outputs, &[middle])?;
        let mut exec = std::ptr::null_mut();
        // SAFETY: writes one pointer; the graph is the one that was just made.
        checked("make a graph ready", unsafe {
            sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0)
        })?;
        Ok(Graph {
            exec: exec as u64,
            context: context as u64,
            inputs,
            outputs,
            _template: template,
        })
    }

    /// From the next run on input `i` is copied from here.
    pub fn read_from(&mut self, i: usize, address: u64) -> Result<(), CudaError> {
        let (exec, context) = (self.exec, self.context);
        match self.inputs.get_mut(i).and_then(Option::as_mut) {
            Some(node) => node.change(exec, context, |transfer| transfer.from = address),
            None => Ok(()),
        }
    }

    /// From the next run on output `i` is copied to here.
    pub fn write_to(&mut self, i: usize, address: u64) -> Result<(), CudaError> {
        let (exec, context) = (self.exec, self.context);
        match self.outputs.get_mut(i).and_then(Option::as_mut) {
            Some(node) => node.change(exec, context, |transfer| transfer.to = address),
            None => Ok(()),
        }
    }

    /// Runs it behind what `stream` holds already. Runs of one graph do not overlap.
    pub fn launch(&mut self, stream: Stream) -> Result<(), CudaError> {
        // SAFETY: ours and alive.
        checked("launch a graph", unsafe {
            sys::cuGraphLaunch(self.exec as sys::CUgraphExec, stream.raw())
        })
    }
}

impl Node {
    /// Runs that were launched before are not touched (CUDA's documentation of the call).
    fn change(&mut self, exec: u64, context: u64, change: impl FnOnce(&mut Transfer)) -> Result<(), CudaError> {
        let mut transfer = self.transfer;
        change(&mut transfer);
        if transfer == self.transfer {
            return Ok(());
        }
        let parameters = transfer.parameters();
        // SAFETY: the node is one of the template that `exec` was made of, and both live; the parameters are read while it runs.
        checked("change a copy in a graph", unsafe {
            sys::cuGraphExecMemcpyNodeSetParams(
                exec as sys::CUgraphExec,
                self.node as sys::CUgraphNode,
                &parameters,
                context as sys::CUcontext,
            )
        })?;
        self.transfer = transfer;
        Ok(())
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: ours, dropped once; a run that is under way ends first (CUDA's documentation of the call).
        let _ = unsafe { sys::cuGraphExecDestroy(self.exec as sys::CUgraphExec) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::ManuallyDrop;

    #[test]
    fn a_copy_is_one_row_within_the_device() {
        let copy = Transfer {
            to: 512,
            from: 1024,
            bytes: 40,
        };
        let all = copy.parameters();
        assert_eq!((all.dstDevice, all.srcDevice, all.WidthInBytes), (512, 1024, 40));
        assert_eq!((all.Height, all.Depth), (1, 1));
    }

    #[test]
    fn nothing_is_captured_while_somebody_may_wait_for_the_device() {
        let (first, second) = (no_capture(), no_capture());
        drop(first);
        assert!(!may_capture());
        // No stream of CUDA's, which would be told before the work is done.
        let stream = ManuallyDrop::new(OwnStream(0));
        let captured = Graph::capture(&stream, &[], &[], || -> Result<(), CudaError> { panic!("nothing is captured") });
        assert!(matches!(captured, Ok(None)));
        drop(second);
        assert!(may_capture());
    }
}
