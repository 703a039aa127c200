//! Each kind of value as it should be and as it should not.

use super::*;
use std::cell::RefCell;

fn parse(set: &[(&str, &str)]) -> (Settings, Vec<Warning>) {
    Settings::parse(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string()))
}

fn quiet(set: &[(&str, &str)]) -> Settings {
    let (settings, warnings) = parse(set);
    assert_eq!(warnings, []);
    settings
}

#[test]
fn the_table_holds_exactly_what_is_read() {
    let asked = RefCell::new(BTreeSet::new());
    Settings::parse(|name| {
        asked.borrow_mut().insert(name.to_string());
        None
    });
    let table: BTreeSet<String> = VARIABLES
        .iter()
        .filter(|v| !matches!(v.read, ReadAt::Build | ReadAt::Import))
        .map(|v| v.name.to_string())
        .collect();
    assert_eq!(asked.into_inner(), table);
}

#[test]
fn the_tables_defaults_are_those_in_force() {
    assert_eq!(quiet(&[]), Settings::default());
    let defaults: Vec<_> = VARIABLES.iter().map(|v| (v.name, v.default)).collect();
    assert_eq!(quiet(&defaults), Settings::default());
    // Each default matters: every other truth value changes the settings.
    for v in VARIABLES.iter().filter(|v| v.kind == Kind::Bool) {
        let other = if v.default == "true" { "false" } else { "true" };
        assert_ne!(quiet(&[(v.name, other)]), Settings::default(), "{}", v.name);
    }
}

#[test]
fn truth_values_are_read_as_tensorflow_reads_them() {
    for (text, value) in [("true", true), ("TRUE", true), ("1", true), ("False", false), ("0", false)] {
        assert_eq!(quiet(&[(ALLOW_NATIVE, text)]).allow_engine_native_segment_execution, value);
        assert_eq!(quiet(&[(ABORT_BUILD, text)]).abort_cuda_engine_build, value);
    }
}

#[test]
fn a_wrong_value_warns_and_leaves_the_default() {
    for name in VARIABLES.iter().filter(|v| v.kind == Kind::Bool).map(|v| v.name) {
        for wrong in ["yes", " true", "2", "on"] {
            let (settings, warnings) = parse(&[(name, wrong)]);
            assert_eq!(settings, Settings::default());
            let message = warnings[0].to_string();
            for part in [name, wrong, "true, false, 1, 0", "default"] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
    for name in [
        MAX_ENGINES,
        ALGORITHM,
        MAX_CONTEXTS,
        OPTIMIZATION_LEVEL,
        BUILDER_IDLE,
        CACHE_MAX_BYTES,
    ] {
        for wrong in ["many", "1.5", "99999999999999999999"] {
            let (settings, warnings) = parse(&[(name, wrong)]);
            assert_eq!(settings, Settings::default());
            assert!(
                warnings[0].to_string().contains(&format!("{name}: \"{wrong}\" is no whole number")),
                "{warnings:?}"
            );
        }
    }
}

#[test]
fn choices_are_known_by_name() {
    for v in VARIABLES {
        let Kind::Choice(names) = v.kind else { continue };
        assert!(names.contains(&v.default), "{}", v.name);
        let chosen: Vec<Settings> = names.iter().map(|name| quiet(&[(v.name, name)])).collect();
        for (i, (name, settings)) in names.iter().zip(&chosen).enumerate() {
            assert_eq!(quiet(&[(v.name, &name.to_uppercase())]), *settings);
            assert!(
                !chosen[..i].contains(settings),
                "{}: \"{name}\" is no other than one before it",
                v.name
            );
        }
        for wrong in ["other", " inline", "0"] {
            let (settings, warnings) = parse(&[(v.name, wrong)]);
            assert_eq!(settings, Settings::default());
            let message = warnings[0].to_string();
            for part in [v.name, wrong, names.join(", ").as_str(), &format!("the default, {},", v.default)] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
    assert_eq!(quiet(&[(BUILD, "background")]).build, BuildPolicy::Background);
    assert_eq!(quiet(&[(BUILD, "never")]).build, BuildPolicy::Never);
    assert_eq!(quiet(&[(VERBOSITY, "none")]).profiling_verbosity, ProfilingVerbosity::None);
    assert_eq!(quiet(&[(VERBOSITY, "detailed")]).profiling_verbosity, ProfilingVerbosity::Detailed);
    assert_eq!(quiet(&[]).control_flow, ControlFlow::Engine);
    assert_eq!(quiet(&[(CONTROL_FLOW, "Unroll")]).control_flow, ControlFlow::Unroll);
    assert_eq!(quiet(&[(CONTROL_FLOW, "native")]).control_flow, ControlFlow::Native);
    assert_eq!(quiet(&[(HALF_TYPE, "bfloat16")]).half_type, HalfType::BFloat16);
    assert_eq!(quiet(&[(FP16_METHOD, "flags")]).fp16_method, Fp16Method::Flags);
    assert_eq!(quiet(&[(FP16_METHOD, "rewrite")]).fp16_method, Fp16Method::Rewrite);
}

#[test]
fn numbers_outside_of_their_bounds_warn() {
    assert_eq!(quiet(&[(MAX_CONTEXTS, "1")]).max_contexts, 1);
    assert_eq!(quiet(&[(MAX_CONTEXTS, " 16 ")]).max_contexts, 16);
    for level in 0..=5 {
        let settings = quiet(&[(OPTIMIZATION_LEVEL, &level.to_string())]);
        assert_eq!(settings.builder_optimization_level, Some(level));
    }
    assert_eq!(quiet(&[(BUILDER_IDLE, "0")]).builder_idle_seconds, 0);
    assert_eq!(quiet(&[(BUILDER_IDLE, "60")]).builder_idle_seconds, 60);
    for (name, wrong) in [
        (MAX_CONTEXTS, "0"),
        (MAX_CONTEXTS, "-1"),
        (MAX_CONTEXTS, "4294967297"),
        (OPTIMIZATION_LEVEL, "-1"),
        (OPTIMIZATION_LEVEL, "6"),
        (BUILDER_IDLE, "-1"),
        (BUILDER_IDLE, "3601"),
    ] {
        let (settings, warnings) = parse(&[(name, wrong)]);
        assert_eq!(settings, Settings::default());
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].to_string().contains(&format!("{name}: {wrong} is not within")),
            "{warnings:?}"
        );
    }
}

#[test]
fn the_cache_is_somewhere_or_nowhere() {
    assert_eq!(quiet(&[(CACHE_DIR, "none")]).cache_dir, CacheFolder::Nowhere);
    assert_eq!(quiet(&[(CACHE_DIR, "")]).cache_dir, CacheFolder::User);
    assert_eq!(quiet(&[(CACHE_DIR, "/c")]).cache_dir, CacheFolder::At("/c".into()));
    // A folder of that name can still be had.
    assert_eq!(quiet(&[(CACHE_DIR, "./none")]).cache_dir, CacheFolder::At("./none".into()));
}

#[test]
fn engines_are_limited_and_unlimited() {
    assert_eq!(quiet(&[(MAX_ENGINES, "3")]).max_allowed_engines, Some(3));
    assert_eq!(quiet(&[(MAX_ENGINES, "0")]).max_allowed_engines, None);
    assert_eq!(quiet(&[(MAX_ENGINES, "-1")]).max_allowed_engines, None);
}

#[test]
fn the_cache_is_limited_and_unlimited() {
    assert_eq!(quiet(&[(CACHE_MAX_BYTES, "1000")]).cache_max_bytes, Some(1000));
    for word in ["0", "-1", "none"] {
        assert_eq!(quiet(&[(CACHE_MAX_BYTES, word)]).cache_max_bytes, None, "{word}");
    }
}

#[test]
fn lists_are_split_at_commas() {
    let settings = quiet(&[(DENYLIST, "Sub,Exp, Conv2D,"), (FAKELIST, "Where")]);
    assert_eq!(settings.op_denylist.iter().collect::<Vec<_>>(), ["Conv2D", "Exp", "Sub"]);
    assert_eq!(settings.op_fakelist.iter().collect::<Vec<_>>(), ["Where"]);
}

#[test]
fn the_report_is_a_number_or_a_path() {
    let report = |value| quiet(&[(REPORT, value)]).detailed_report;
    assert_eq!(report("1"), Report::Detailed);
    assert_eq!(report("2"), Report::Detailed);
    assert_eq!(report("0"), Report::Summary);
    assert_eq!(report("-1"), Report::Summary);
    assert_eq!(report("/tmp/report.csv"), Report::DetailedAndCsv("/tmp/report.csv".into()));
    let (settings, warnings) = parse(&[(REPORT, "1-1")]);
    assert_eq!((settings.detailed_report, warnings.len()), (Report::Summary, 1));
    for word in ["true", "OFF", "none"] {
        let (settings, warnings) = parse(&[(REPORT, word)]);
        assert_eq!(settings.detailed_report, Report::Summary);
        assert!(warnings[0].to_string().contains("a path for the CSV"), "{warnings:?}");
    }
    assert_eq!(report("./true"), Report::DetailedAndCsv("./true".into()));
}

#[test]
fn what_has_no_effect_is_said() {
    let said = |set: &[(&str, &str)]| without_effect(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string()));
    assert_eq!(said(&[]), []);
    assert_eq!(said(&[(LAYOUT, "0"), (NMS_TOPK, "true"), (ALGORITHM, "")]), []);
    let asked = [(ALGORITHM, "3"), (TRANSPOSE, "True")];
    for (name, value) in asked {
        let words = said(&[(name, value)]);
        assert_eq!(words.len(), 1, "{name}");
        assert_eq!(words[0].variable, name);
        assert!(words[0].message.starts_with(&format!("\"{value}\" has no effect: ")));
    }
    assert_eq!(
        asked.map(|(name, _)| name).to_vec(),
        WITHOUT_EFFECT.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
}

#[test]
fn experimental_features_are_known_by_name() {
    let all = quiet(&[(EXPERIMENTAL, "disable_graph_freezing,reject_all_fp_cast_ops,remove_native_segments")]);
    assert_eq!(
        all.experimental,
        Experimental {
            disable_graph_freezing: true,
            reject_all_fp_cast_ops: true,
            remove_native_segments: true,
        }
    );
    let (settings, warnings) = parse(&[(EXPERIMENTAL, "reject_all_fp_cast_ops,freeze")]);
    assert!(settings.experimental.reject_all_fp_cast_ops);
    assert!(warnings[0].to_string().contains("\"freeze\"") && warnings[0].to_string().contains("remove_native_segments"));
}

#[test]
fn paths_and_numbers() {
    let settings = quiet(&[
        (EXPORT_ENGINES, "/e"),
        (EXPORT_GRAPH, "/g.dot"),
        (ORT_DYLIB, "/o.so"),
        (TENSORRT_LIB, "/t"),
        (ALGORITHM, "-4"),
    ]);
    assert_eq!(settings.export_trt_engines_path, Some("/e".into()));
    assert_eq!(settings.export_graph_viz_path, Some("/g.dot".into()));
    assert_eq!(settings.ort_dylib_path, Some("/o.so".into()));
    assert_eq!(settings.tensorrt_lib, Some("/t".into()));
    assert_eq!(settings.fixed_algorithm_id, Some(0));
}

#[test]
fn a_misspelt_variable_is_named() {
    let names = ["TF_TRT_OP_DENY_LIST", DENYLIST, "PATH", "TF_CPP_VMODULE"].map(str::to_string);
    let warnings = unknown_variables(names.into_iter());
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].variable, "TF_TRT_OP_DENY_LIST");
}
