"""A process that forks: the child ends, and what cannot work there is said and does not hang.

Native TensorFlow is the measure. In a child of a process that has called a function it hangs in the next call of one, with and without this
library. It ends, converts, and runs TF1 sessions that have no threads of their own; so do processes with this library. Every child has a
limit of time here, and every process of a test forks several times, for a start of TensorFlow takes seconds.
"""

import pathlib

import pytest

HERE = str(pathlib.Path(__file__).resolve().parent)

# What the processes of these tests begin with. `child` forks, and gives the exit code, or "hangs".
BEGIN = f"""
    import functools, os, sys, threading, time
    sys.path.insert(0, {HERE!r})
    print = functools.partial(print, flush=True)

    def child(work, seconds=40):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            work()
            os._exit(0)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        return "hangs"

    def converted(layers=4):
        import numpy as np, tensorflow as tf, tftrt, conftest
        def network(x):
            for i in range(layers):
                x = tf.tanh(tf.matmul(x, tf.ones([32, 32]) / 32.0) + float(i))
            return x
        return conftest._convert_function(network, [tf.TensorSpec([None, 32])], dynamic=False, maximum_cached_engines=4)

    def right(found, layers=4):
        import numpy as np
        expected = 1.0
        for i in range(layers):
            expected = np.tanh(expected + i)
        found = np.asarray(found)
        assert found.size and abs(found - expected).max() < 1e-5, (found, expected)

    def totals():
        import tftrt
        return tftrt.stats()["totals"]

    def converts_and_calls():
        import tensorflow as tf
        model = converted()
        for n in (4, 4, 700):
            right(model(tf.ones([n, 32])))
        now = totals()
        assert (now["builds"], now["engine_calls"], now["native_fallbacks"]) == (2, 3, 0), now
        sys.exit(5)

    def converts():
        assert "TRTEngineOp" in [node.op for node in converted().graph_def.node]
        sys.exit(6)

    def exits():
        sys.exit(7)

    def exits_at_once():
        os._exit(8)
"""


def lines(done) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.startswith("> ")]


def test_before_and_after_the_import(run_isolated):
    done = run_isolated(
        BEGIN
        + """
    print("> before the import", child(converts_and_calls))
    import tensorflow as tf, tftrt
    print("> after the import", child(converts_and_calls), child(exits))
    # Loads ONNX Runtime, whose threads the child does not have: its engines get threads of their own.
    assert tftrt.versions()["backends"]["onnxruntime"]["available"]
    print("> after ONNX Runtime is there", child(converts_and_calls), child(exits))
    os._exit(0)
    """
    )
    assert lines(done) == ["> before the import 5", "> after the import 5 7", "> after ONNX Runtime is there 5 7"]


def test_after_a_call_and_during_a_build_in_the_background(run_isolated, tmp_path):
    hold = tmp_path / "hold"
    hold.touch()
    done = run_isolated(
        BEGIN
        + """
    import multiprocessing
    import tensorflow as tf, tftrt
    model = converted()
    hold = os.environ["TFTRT_FAULT"].split(":", 1)[1]
    os.rename(hold, hold + ".later")
    right(model(tf.ones([4, 32])))
    os.rename(hold + ".later", hold)
    print("> after a call", child(exits), child(exits_at_once), child(converts))
    process = multiprocessing.get_context("fork").Process(target=exits)
    process.start(); process.join(60)
    print("> multiprocessing", process.exitcode)
    os.environ["TFTRT_BUILD"] = "background"
    before = totals()["builds"]
    right(model(tf.ones([9, 32])))
    time.sleep(0.2)
    print("> during a build", child(exits), child(exits_at_once), child(converts))
    assert totals()["native_building"] == 1 and totals()["builds"] == before
    os.remove(hold)
    end = time.monotonic() + 60
    while totals()["builds"] == before and time.monotonic() < end: time.sleep(0.02)
    right(model(tf.ones([9, 32])))
    assert totals()["engine_calls"] == 2
    os._exit(0)
    """,
        env={"TFTRT_FAULT": f"hold:{hold}"},
        timeout=200,
    )
    assert lines(done) == ["> after a call 7 8 6", "> multiprocessing 7", "> during a build 7 8 6"]


# A TF1 session that runs in the thread of its caller, so that native TensorFlow runs in a child, too.
SESSION = (
    BEGIN
    + """
    import numpy as np, tensorflow as tf, tftrt
    v1 = tf.compat.v1
    model = converted()
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(model.graph_def, name="")
    engine = next(node.name for node in model.graph_def.node if node.op == "TRTEngineOp") + ":0"
    session = v1.Session(graph=graph, config=v1.ConfigProto(inter_op_parallelism_threads=-1, intra_op_parallelism_threads=1))
    run = lambda n: session.run(engine, {"x:0": np.ones([n, 32], np.float32)})
    right(run(4))
    """
)


def test_a_child_runs_natively_what_its_parent_built_and_its_own_engines(run_isolated):
    done = run_isolated(
        SESSION
        + """
    def calls():
        before = totals()
        for n in (4, 3, 9, 9):
            right(run(n))
        count = lambda name: totals()[name] - before[name]
        assert (count("native_engine_failed"), count("builds"), count("engine_calls")) == (2, 1, 2), totals()
    print("> calls", child(calls))
    before = totals()
    right(run(4))
    assert totals()["engine_calls"] == before["engine_calls"] + 1
    os._exit(0)
    """,
        env={"TF_CPP_MIN_LOG_LEVEL": "1"},
    )
    assert lines(done) == ["> calls 0"]
    assert done.stderr.count("it was made before this process was forked") == 1, done.stderr[-3000:]


def test_forked_while_another_thread_is_inside_onnx_runtime(run_isolated):
    """Its locks may be locked for good in the child: there ONNX Runtime is not touched, and calls run natively."""
    done = run_isolated(
        SESSION
        + """
    stop = False
    def load():
        while not stop: run(4000)
    thread = threading.Thread(target=load); thread.start()
    def calls():
        backend = tftrt.versions()["backends"]["onnxruntime"]
        if backend["available"]: os._exit(3)  # The thread was between two calls.
        assert "forked while another thread was inside ONNX Runtime" in backend["error"], backend
        before = totals()
        for n in (4, 5): right(run(n))
        assert totals()["engine_calls"] == before["engine_calls"], totals()
    codes = []
    while len(codes) < 20 and 0 not in codes:
        codes.append(child(calls))
    stop = True; thread.join()
    print(">", codes[-1], set(codes) <= {0, 3})
    os._exit(0)
    """
    )
    assert lines(done) == ["> 0 True"]


def test_forked_while_other_threads_hold_locks(run_isolated):
    """Counters, metrics, loads and logs take locks for a moment; a child that is forked in that moment takes them, too. What it asks for beside
    loads are counters: the ops themselves take TensorFlow's own locks, in which a child may hang with and without this library."""
    done = run_isolated(
        BEGIN
        + """
    import numpy as np, tensorflow as tf, tftrt
    from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
    ask = tftrt._api._library_in_use().request
    def beside(name, work, in_child):
        stop = False
        def again():
            while not stop: work()
        threads = [threading.Thread(target=again) for _ in range(2)]
        [thread.start() for thread in threads]
        codes = set()
        for _ in range(80):
            codes.add(child(in_child, seconds=20))
            if "hangs" in codes: break
        stop = True
        [thread.join() for thread in threads]
        print(">", name, *codes)
    def load(file, name="e"):
        handle = gen_trt_ops.create_trt_resource_handle(resource_name=name)
        gen_trt_ops.initialize_trt_resource(resource_handle=handle, filename=file, max_cached_engines_count=4)
    # Of an engine that is nowhere: nothing but the library's being loaded has come before.
    beside("refused", lambda: load("/nowhere/x"), tftrt.stats)
    beside("stats", tftrt.stats, tftrt.stats)
    beside("metrics", lambda: ask("metrics"), lambda: ask("metrics"))
    os._exit(0)
    """,
        env={"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert lines(done) == ["> refused 0", "> stats 0", "> metrics 0"]


def test_a_child_ends_where_a_library_waits_for_a_thread_of_its_parent(run_isolated):
    """ONNX Runtime's telemetry has such a thread from 1.29 on (the Python package switches it off; a C++ program may not have)."""
    done = run_isolated(
        BEGIN
        + """
    import tensorflow as tf
    model = converted()
    right(model(tf.ones([4, 32])))
    print("> exits", child(exits))
    os._exit(0)
    """,
        env={"ORT_DISABLE_TELEMETRY": "0"},
    )
    assert lines(done) == ["> exits 7"]
