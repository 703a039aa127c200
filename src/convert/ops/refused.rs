//! Ops that are known, and why no engine holds them. They have no converter; the report gives these words.

const COUNTED: &str = "How large its result is hangs on the values it is given; an engine gives tensors only whose sizes follow from the sizes of its inputs.";
const SELECTED: &str = "How many boxes it selects hangs on their values, and an engine gives tensors only whose sizes follow from the sizes of its inputs; \
     NonMaxSuppressionV4 and V5 with pad_to_max_output_size, and CombinedNonMaxSuppression, can be converted.";
const BITS: &str = "TensorRT has no operations on the bits of integers.";
const FUNCTIONS: &str = "Neither ONNX nor TensorRT has this function.";
const RANDOM: &str = "It gives random numbers, and TensorRT's would not be TensorFlow's.";
const VARIABLES: &str = "It works on a variable. Freezing makes constants of variables that are only read; what is left stays native.";
const SOLVERS: &str = "TensorRT neither solves equations nor decomposes matrices.";
const COMPLEX: &str = "Complex numbers: no engine holds them.";
const STRINGS: &str = "Strings: no engine holds them.";
const TABLES: &str = "It looks things up in a table that TensorFlow keeps.";
const SUMS: &str = "It gathers into one place what several indices send there, and TensorRT's scatter only writes.";
const SETS: &str = "It sorts and compares sets of values, for which TensorRT has nothing.";

const REFUSED: &[(&str, &[&str])] = &[
    (
        COUNTED,
        &[
            "DynamicPartition",
            "DynamicStitch",
            "ListDiff",
            "ParallelDynamicStitch",
            "RaggedGather",
            "RaggedRange",
            "RaggedTensorToSparse",
            "SparseFillEmptyRows",
            "Unique",
            "UniqueV2",
            "UniqueWithCounts",
            "UniqueWithCountsV2",
            "Where",
        ],
    ),
    (
        SELECTED,
        &[
            "NonMaxSuppression",
            "NonMaxSuppressionV2",
            "NonMaxSuppressionV3",
            "NonMaxSuppressionWithOverlaps",
        ],
    ),
    (
        BITS,
        &[
            "BitwiseAnd",
            "BitwiseOr",
            "BitwiseXor",
            "LeftShift",
            "PopulationCount",
            "RightShift",
        ],
    ),
    (
        FUNCTIONS,
        &[
            "BesselI0",
            "BesselI0e",
            "BesselI1",
            "BesselI1e",
            "BesselJ0",
            "BesselJ1",
            "BesselK0",
            "BesselK0e",
            "BesselK1",
            "BesselK1e",
            "BesselY0",
            "BesselY1",
            "Betainc",
            "Dawsn",
            "Digamma",
            "Erfcinv",
            "Erfinv",
            "Expint",
            "FresnelCos",
            "FresnelSin",
            "Igamma",
            "IgammaGradA",
            "Igammac",
            "Lgamma",
            "Ndtri",
            "NextAfter",
            "Polygamma",
            "Spence",
            "Zeta",
        ],
    ),
    (
        RANDOM,
        &[
            "Multinomial",
            "ParameterizedTruncatedNormal",
            "RandomGamma",
            "RandomPoissonV2",
            "RandomShuffle",
            "RandomStandardNormal",
            "RandomUniform",
            "RandomUniformInt",
            "StatelessMultinomial",
            "StatelessRandomNormal",
            "StatelessRandomNormalV2",
            "StatelessRandomUniform",
            "StatelessRandomUniformInt",
            "StatelessRandomUniformIntV2",
            "StatelessRandomUniformV2",
            "StatelessTruncatedNormal",
            "StatelessTruncatedNormalV2",
            "TruncatedNormal",
        ],
    ),
    (
        VARIABLES,
        &[
            "Assign",
            "AssignAddVariableOp",
            "AssignSubVariableOp",
            "AssignVariableOp",
            "ReadVariableOp",
            "ResourceGather",
            "ResourceGatherNd",
            "VarHandleOp",
            "Variable",
            "VariableShape",
            "VariableV2",
        ],
    ),
    (
        SOLVERS,
        &[
            "Cholesky",
            "LogMatrixDeterminant",
            "Lu",
            "MatrixDeterminant",
            "MatrixExponential",
            "MatrixInverse",
            "MatrixLogarithm",
            "MatrixSolve",
            "MatrixSolveLs",
            "MatrixSquareRoot",
            "MatrixTriangularSolve",
            "Qr",
            "SelfAdjointEigV2",
            "Svd",
            "TridiagonalSolve",
        ],
    ),
    (
        COMPLEX,
        &[
            "Angle",
            "Complex",
            "ComplexAbs",
            "Conj",
            "FFT",
            "FFT2D",
            "FFT3D",
            "IFFT",
            "IFFT2D",
            "IFFT3D",
            "IRFFT",
            "IRFFT2D",
            "IRFFT3D",
            "Imag",
            "RFFT",
            "RFFT2D",
            "RFFT3D",
            "Real",
        ],
    ),
    (
        STRINGS,
        &[
            "AsString",
            "DecodeBase64",
            "DecodeJpeg",
            "DecodePng",
            "DecodeRaw",
            "EncodeBase64",
            "ParseExampleV2",
            "RegexFullMatch",
            "RegexReplace",
            "StaticRegexFullMatch",
            "StaticRegexReplace",
            "StringJoin",
            "StringLength",
            "StringLower",
            "StringSplit",
            "StringSplitV2",
            "StringStrip",
            "StringToHashBucketFast",
            "StringToHashBucketStrong",
            "StringToNumber",
            "StringUpper",
            "Substr",
            "UnicodeDecode",
        ],
    ),
    (
        TABLES,
        &[
            "HashTableV2",
            "LookupTableFind",
            "LookupTableFindV2",
            "LookupTableImportV2",
            "LookupTableSizeV2",
            "MutableHashTableV2",
        ],
    ),
    (
        SUMS,
        &[
            "SegmentMax",
            "SegmentMean",
            "SegmentMin",
            "SegmentProd",
            "SegmentSum",
            "SparseSegmentMean",
            "SparseSegmentSqrtN",
            "SparseSegmentSum",
            "SparseTensorDenseMatMul",
            "SparseToDense",
            "UnsortedSegmentMax",
            "UnsortedSegmentMin",
            "UnsortedSegmentProd",
            "UnsortedSegmentSum",
        ],
    ),
    (SETS, &["InTopK", "InTopKV2", "LowerBound", "NthElement", "UpperBound"]),
];

/// Why no engine holds `op`; `None` where nothing is known of it.
pub fn reason(op: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(_, ops)| ops.contains(&op)).map(|(reason, _)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_op_is_refused_once_and_has_no_converter() {
        let mut seen = HashSet::new();
        for op in REFUSED.iter().flat_map(|(_, ops)| ops.iter()) {
            assert!(seen.insert(op), "{op} stands there twice");
            assert!(super::super::find(op).is_none(), "{op} has a converter: take it out");
        }
    }
}
