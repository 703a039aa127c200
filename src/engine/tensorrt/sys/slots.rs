//! The slots of the methods that this crate calls, read once from the table of the loaded version.

use super::table::Table;
use super::version::Version;

/// A method that the loaded version does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class}::{member} is not in the loaded {version} (or is newer than what this build knows of that version)")]
pub struct MissingMethod {
    pub class: &'static str,
    pub member: &'static str,
    pub version: Version,
}

/// Where one method is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub class: &'static str,
    pub member: &'static str,
    index: Option<u16>,
}

impl Slot {
    fn of(table: &Table, class: &'static str, member: &'static str) -> Slot {
        Slot {
            class,
            member,
            index: table.slot(class, member),
        }
    }

    /// # Errors
    /// Where the loaded `version` has no such method.
    pub fn index(&self, version: Version) -> Result<usize, MissingMethod> {
        self.index.map(usize::from).ok_or(MissingMethod {
            class: self.class,
            member: self.member,
            version,
        })
    }

    pub fn is_there(&self) -> bool {
        self.index.is_some()
    }
}

macro_rules! slots {
    ($($group:ident: $type:ident, $class:literal { $($field:ident = $member:literal),* $(,)? })*) => {
        /// Every method that is called, by class.
        #[derive(Debug)]
        pub(super) struct Slots { $(pub $group: $type),* }

        impl Slots {
            pub fn of(table: &Table) -> Slots {
                Slots { $($group: $type { $($field: Slot::of(table, $class, $member)),* }),* }
            }

            #[cfg(test)]
            fn all(&self) -> Vec<Slot> {
                vec![$($(self.$group.$field),*),*]
            }
        }

        $(
            #[derive(Debug)]
            pub(super) struct $type { $(pub $field: Slot),* }
        )*
    };
}

slots! {
    builder: BuilderSlots, "VBuilder" {
        create_network = "createNetworkV2",
        create_config = "createBuilderConfig",
        create_profile = "createOptimizationProfile",
        build = "buildSerializedNetwork",
        set_gpu_allocator = "setGpuAllocator",
    }
    config: ConfigSlots, "VBuilderConfig" {
        set_memory_pool_limit = "setMemoryPoolLimit",
        add_profile = "addOptimizationProfile",
        set_flag = "setFlag",
        clear_flag = "clearFlag",
        get_flag = "getFlag",
        set_optimization_level = "setBuilderOptimizationLevel",
        set_profiling_verbosity = "setProfilingVerbosity",
        set_preview_feature = "setPreviewFeature",
        create_timing_cache = "createTimingCache",
        set_timing_cache = "setTimingCache",
        set_compute_capability_count = "setNbComputeCapabilities",
        set_compute_capability = "setComputeCapability",
    }
    timing_cache: TimingCacheSlots, "VTimingCache" {
        serialize = "serialize",
        combine = "combine",
    }
    profile: ProfileSlots, "VOptimizationProfile" {
        set_dimensions = "setDimensions",
        set_values = "setShapeValues",
        set_values_64 = "setShapeValuesV2",
        is_valid = "isValid",
    }
    network: NetworkSlots, "VNetworkDefinition" {
        input_count = "getNbInputs",
        input = "getInput",
        output_count = "getNbOutputs",
        output = "getOutput",
        layer_count = "getNbLayers",
        set_name = "setName",
    }
    tensor: TensorSlots, "VTensor" {
        name = "getName",
        dimensions = "getDimensions",
        is_shape_tensor = "isShapeTensor",
    }
    memory: MemorySlots, "VHostMemory" {
        data = "data",
        size = "size",
    }
    parser: ParserSlots, "IParser" {
        parse = "parse",
        error_count = "getNbErrors",
        error = "getError",
        delete = "(deleting destructor)",
    }
    parser_error: ParserErrorSlots, "IParserError" {
        code = "code",
        text = "desc",
        file = "file",
        line = "line",
        node = "node",
        node_name = "nodeName",
        operator = "nodeOperator",
    }
    runtime: RuntimeSlots, "VRuntime" {
        deserialize_with_factory = "deserializeCudaEngine(blob,size,pluginFactory)",
        deserialize = "deserializeCudaEngine(blob,size)",
        set_gpu_allocator = "setGpuAllocator",
    }
    engine: EngineSlots, "VCudaEngine" {
        tensor_count = "getNbIOTensors",
        tensor_name = "getIOTensorName",
        tensor_mode = "getTensorIOMode",
        tensor_type = "getTensorDataType",
        tensor_location = "getTensorLocation",
        tensor_shape = "getTensorShape",
        is_shape_io = "isShapeInferenceIO",
        profile_count = "getNbOptimizationProfiles",
        profile_shape = "getProfileShape",
        create_context = "createExecutionContext(strategy)",
        create_context_without_memory = "createExecutionContextWithoutDeviceMemory",
        scratch_size = "getDeviceMemorySize",
        scratch_size_64 = "getDeviceMemorySizeV2",
        create_inspector = "createEngineInspector",
        serialize = "serialize",
    }
    context: ContextSlots, "VExecutionContext" {
        set_profile = "setOptimizationProfileAsync",
        set_input_shape = "setInputShape",
        infer_shapes = "inferShapes",
        tensor_shape = "getTensorShape",
        set_address = "setTensorAddress",
        set_scratch = "setDeviceMemory",
        set_scratch_64 = "setDeviceMemoryV2",
        enqueue = "enqueueV3",
    }
    inspector: InspectorSlots, "VEngineInspector" {
        engine_information = "getEngineInformation",
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::supported_versions;
    use super::*;

    /// A misspelt member would be absent everywhere, and be found out only by a user of that version.
    #[test]
    fn each_is_in_some_version_and_the_needed_ones_in_all() {
        let per_version: Vec<Vec<Slot>> = supported_versions().filter_map(Table::of).map(|t| Slots::of(t).all()).collect();
        assert_eq!(per_version.len(), 6);
        let optional = [
            "setNbComputeCapabilities",
            "setComputeCapability",
            "setShapeValues",
            "setShapeValuesV2",
            "nodeName",
            "nodeOperator",
            "deserializeCudaEngine(blob,size,pluginFactory)",
            "deserializeCudaEngine(blob,size)",
            "createExecutionContext(strategy)",
            "createExecutionContextWithoutDeviceMemory",
            "getDeviceMemorySize",
            "getDeviceMemorySizeV2",
            "setDeviceMemoryV2",
        ];
        for (i, slot) in per_version[0].iter().enumerate() {
            let there = per_version.iter().filter(|slots| slots[i].is_there()).count();
            if optional.contains(&slot.member) {
                assert!((1..6).contains(&there), "{}::{} is in {there} versions", slot.class, slot.member);
            } else {
                assert_eq!(there, 6, "{}::{}", slot.class, slot.member);
            }
        }
    }

    /// A plan may hold code for the host, which TensorRT runs only where it is told so (its default is no), and other libraries to load.
    /// There is no way here to tell it.
    #[test]
    fn nothing_lets_a_plan_bring_code_for_the_host() {
        let slots = Slots::of(Table::of(Version::from_number(8601).expect("a version")).expect("8.6 has a table"));
        for slot in slots.all() {
            for word in ["HostCode", "loadRuntime", "loadLibrary", "PluginRegistry", "setPluginsToSerialize"] {
                assert!(!slot.member.contains(word), "{}::{}", slot.class, slot.member);
            }
        }
    }

    #[test]
    fn an_absent_method_is_an_error_that_names_it() {
        let version = Version::from_number(8601).expect("a version");
        let slots = Slots::of(Table::of(version).expect("8.6 has a table"));
        let missing = slots.profile.set_values_64.index(version).expect_err("8.6 has no setShapeValuesV2");
        let text = missing.to_string();
        assert!(text.contains("VOptimizationProfile::setShapeValuesV2"), "{text}");
        assert!(text.contains("TensorRT 8.6.1"), "{text}");
    }
}
