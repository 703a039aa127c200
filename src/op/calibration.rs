//! The calibration table that a model of TF-TRT's brings (`calibration_data`; contract, section 4).

/// How much of a table is looked at: one of a large network has some thousand lines of about 60 bytes.
const MOST_READ: usize = 1 << 20;

/// Why no range of the table is used, and which table it is.
pub fn unused(table: &[u8]) -> String {
    format!(
        "the node's calibration data ({}) are not used: their ranges go by the names that tensors had in TF-TRT's own network, and engines are built from ONNX here; \
         what is not quantised in the model itself is computed without INT8",
        about(table)
    )
}

/// What the table says of itself. TensorRT writes text: a line `TRT-<version>-<calibrator>`, then a line `<tensor>: <scale in hex>` for each tensor.
fn about(table: &[u8]) -> String {
    let text = String::from_utf8_lossy(&table[..table.len().min(MOST_READ)]);
    let mut lines = text.lines();
    let heading = lines
        .next()
        .and_then(|line| line.strip_prefix("TRT-"))
        .and_then(|line| line.split_once('-'));
    let Some((version, calibrator)) = heading.filter(|(version, _)| !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()))
    else {
        return format!("{} bytes that do not begin as a table of TensorRT's", table.len());
    };
    let is_range = |line: &&str| {
        line.rsplit_once(": ")
            .is_some_and(|(_, scale)| u32::from_str_radix(scale, 16).is_ok())
    };
    let name: String = calibrator.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    format!(
        "a table of TensorRT {}, {name}, {} ranges",
        version.get(..6).unwrap_or(version),
        lines.filter(is_range).count()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    #[test]
    fn a_table_is_named_by_its_heading() {
        let table =
            b"TRT-8601-EntropyCalibration2\nTensorRTInputPH_0: 3c010a14\n(Unnamed Layer* 3) [Activation]_output: 3d0b2c41\nno range\n";
        assert_eq!(about(table), "a table of TensorRT 8601, EntropyCalibration2, 2 ranges");
        assert!(unused(table).contains("TensorRT 8601"));
    }

    #[test]
    fn other_bytes_are_called_so() {
        for other in [&b""[..], b"\xff\x00 no table", b"TRT-", b"TRT-x-y\n", b"TRT--y"] {
            assert_eq!(
                about(other),
                format!("{} bytes that do not begin as a table of TensorRT's", other.len())
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_get_a_short_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            assert!(about(&bytes).len() < 120);
            assert!(about(&[b"TRT-86-", &bytes[..]].concat()).len() < 120);
        }
    }
}
