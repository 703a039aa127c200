//! Where the ops of engines may run: on a GPU, or on a CPU if there is no GPU.
//!
//! TensorFlow's own converter writes "GPU" into every model. On a machine without one, TensorFlow would warn at length at every load, and
//! refuse the model if `tf.config.set_soft_device_placement(False)` was called.

/// The ops that have a kernel on the CPU, too, and do there what they do on a GPU.
const OPS: [&str; 5] = [
    "TRTEngineOp",
    "CreateTRTResourceHandle",
    "InitializeTRTResource",
    "SerializeTRTResource",
    "GetCalibrationDataOp",
];

pub fn placement_is_free(op: &str, giver: &str, device: &str, gpu: bool) -> bool {
    let of_an_engine = OPS.contains(&op) || (op == "DestroyResourceOp" && giver == OPS[1]);
    !gpu && of_an_engine && device.split('/').any(is_gpu)
}

/// Whether this part of a device's name is a GPU: `device:GPU:0`, `device:GPU:*`, `gpu:0`.
fn is_gpu(part: &str) -> bool {
    let part = part.to_ascii_lowercase();
    let kind = part.strip_prefix("device:").unwrap_or(&part);
    kind == "gpu" || kind.starts_with("gpu:")
}

pub fn without_gpu(device: &str) -> String {
    let parts: Vec<&str> = device.split('/').filter(|part| !is_gpu(part)).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_ask_for_a_gpu_only_where_there_is_one() {
        for device in [
            "/device:GPU:*",
            "/device:GPU:0",
            "/job:localhost/replica:0/task:0/device:GPU:1",
            "/gpu:0",
        ] {
            for op in OPS {
                assert!(placement_is_free(op, "", device, false), "{op} {device}");
                assert!(!placement_is_free(op, "", device, true), "{op} {device}");
            }
            assert!(placement_is_free("DestroyResourceOp", "CreateTRTResourceHandle", device, false));
            assert!(!placement_is_free("DestroyResourceOp", "VarHandleOp", device, false));
            assert!(!placement_is_free("MatMul", "", device, false));
        }
        assert!(!placement_is_free("TRTEngineOp", "", "/device:CPU:0", false));
        assert!(!placement_is_free("TRTEngineOp", "", "/job:gpus/device:TPU:0", false));
    }

    #[test]
    fn the_rest_of_a_devices_name_stays() {
        assert_eq!(without_gpu("/device:GPU:*"), "");
        assert_eq!(without_gpu("/job:w/replica:0/task:1/device:GPU:0"), "/job:w/replica:0/task:1");
        assert_eq!(without_gpu("/job:w/gpu:0"), "/job:w");
    }
}
