use super::*;
use half::bf16;

fn constant_of(dtype: DType, data: Vec<u8>) -> Constant {
    let dims = vec![(data.len() / dtype.size()) as i64];
    Constant {
        dtype,
        dims,
        data: data.into(),
    }
}

#[test]
fn integers_are_held_in_int32_with_their_sign() {
    for (dtype, expected) in [(DType::INT8, [-1, -128, 5]), (DType::UINT8, [255, 128, 5])] {
        let held = constant(&constant_of(dtype, vec![0xff, 0x80, 5])).unwrap();
        assert_eq!((held.dtype, held.to_i64s().unwrap()), (DType::INT32, expected.to_vec()));
    }
}

#[test]
fn bfloat16_is_held_in_float32() {
    let data = [1.5, -0.0, f32::INFINITY].map(|x| bf16::from_f32(x).to_le_bytes()).concat();
    let held = constant(&constant_of(DType::BFLOAT16, data)).unwrap().to_f32s().unwrap();
    assert_eq!(
        held.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
        [1.5f32, -0.0, f32::INFINITY].map(f32::to_bits)
    );
}

#[test]
fn float64_is_held_where_no_digit_is_lost() {
    let of = |values: &[f64]| constant(&constant_of(DType::DOUBLE, values.iter().flat_map(|v| v.to_le_bytes()).collect()));
    assert_eq!(
        of(&[0.5, f64::INFINITY, -3.0]).unwrap().to_f32s().unwrap(),
        [0.5, f32::INFINITY, -3.0]
    );
    assert!(of(&[f64::NAN]).unwrap().to_f32s().unwrap()[0].is_nan());
    assert!(of(&[0.1]).unwrap_err().contains("float32 rounds it"));
    assert!(of(&[1e300]).is_err());
}

#[test]
fn what_fits_needs_no_rounding() {
    for (to, from, fits) in [
        (DType::UINT8, DType::BOOL, true),
        (DType::UINT8, DType::INT8, false),
        (DType::INT16, DType::UINT8, true),
        (DType::INT16, DType::UINT16, false),
        (DType::UINT8, DType::FLOAT, false),
        (DType::BFLOAT16, DType::UINT8, true),
        (DType::BFLOAT16, DType::INT16, false),
        (DType::BFLOAT16, DType::HALF, false),
        (DType::BFLOAT16, DType::INT64, false),
        (DType::DOUBLE, DType::HALF, true),
    ] {
        assert_eq!(contains(to, from), fits, "{from} in {to}");
    }
}

#[test]
fn an_op_is_in_one_list() {
    let mut all: Vec<&str> = [MOVES, COMPARES, COMPUTES, COMPUTES_FLOATS].concat();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    let ops: Vec<&str> = crate::convert::supported_ops().collect();
    assert_eq!(all.into_iter().find(|op| !ops.contains(op)), None, "it has no converter");
    assert_eq!(
        EXACT.iter().find(|op| !(COMPUTES.contains(op) || COMPUTES_FLOATS.contains(op))),
        None
    );
}
